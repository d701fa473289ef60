//! File ops, through a real solver and a real cache.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::semicolon_if_nothing_returned)]

mod chains;
mod copies;
mod ends;
mod fixtures;
mod support;
