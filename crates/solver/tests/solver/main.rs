//! The solver, with integers.

mod basics;
mod export;
mod why;
