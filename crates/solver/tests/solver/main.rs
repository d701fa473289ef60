//! The solver, with integers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod access;
mod active;
mod bad_input;
mod basics;
mod cancel;
mod content;
mod errors;
mod evaluate;
mod hand;
mod ignore_cache;
mod lost;
mod maps;
mod merging;
mod options;
mod selectors;
mod sources;
mod subbuild;
mod support;
