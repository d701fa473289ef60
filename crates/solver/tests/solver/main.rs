//! The solver, with integers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says where")]

mod access;
mod active;
mod basics;
mod cancel;
mod content;
mod errors;
mod evaluate;
mod fair;
mod ignore_cache;
mod maps;
mod orders;
mod release;
mod selectors;
mod simulated;
mod sources;
mod stale;
mod status;
mod support;
