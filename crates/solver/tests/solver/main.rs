//! The solver, with integers.

mod basics;
mod keys;
mod stores;
