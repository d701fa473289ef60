//! The solver, with integers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says where")]

mod access;
mod active;
mod bad_input;
mod basics;
mod cancel;
mod content;
mod definition;
mod drifting;
mod errors;
mod evaluate;
mod exists;
mod export;
mod fair;
mod hand;
mod ignore_cache;
mod keys;
mod lost;
mod maps;
mod merging;
mod options;
mod orders;
mod release;
mod rude;
mod selectors;
mod simulated;
mod sources;
mod stale;
mod status;
mod stores;
mod subbuild;
mod support;
mod told;
mod view;
mod why;
