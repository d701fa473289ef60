//! The solver, with integers.

mod basics;
