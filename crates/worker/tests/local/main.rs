//! Local directories as sources, and keys of what trees contain.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod again;
mod changing;
mod choosing;
mod contents;
mod killed;
mod kinds;
mod owners;
mod support;
