//! File ops, through a real solver and a real cache.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod chains;
mod copies;
mod ends;
mod fixtures;
mod support;
