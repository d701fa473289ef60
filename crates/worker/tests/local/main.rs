//! Local directories as sources, and keys of what trees contain.
#![allow(clippy::unwrap_used, clippy::panic)]

mod again;
mod changing;
mod choosing;
mod contents;
mod killed;
mod kinds;
mod support;
