//! The solver, with integers.

mod access;
mod active;
mod basics;
mod cancel;
mod content;
mod errors;
mod evaluate;
mod sources;
mod support;
