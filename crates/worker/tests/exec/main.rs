//! Commands, run through a solver and a cache, with an executor that only plays them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that panics says where")]

mod base;
mod caches;
mod ends;
mod lazy;
mod mounts;
mod processes;
mod real;
mod secrets;
mod support;
