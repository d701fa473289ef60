//! The solver, with integers.

mod bad_input;
mod basics;
mod hand;
mod lost;
mod merging;
mod options;
mod subbuild;
