//! File ops, through a real solver and a real cache.

mod chains;
mod copies;
mod ends;
mod fixtures;
mod support;
