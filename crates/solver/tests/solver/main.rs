//! The solver, with integers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says where")]

mod access;
mod active;
mod basics;
mod cancel;
mod content;
mod definition;
mod errors;
mod evaluate;
mod ignore_cache;
mod keys;
mod maps;
mod selectors;
mod sources;
mod status;
mod stores;
mod support;
mod view;
