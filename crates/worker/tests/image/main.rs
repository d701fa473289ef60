//! Images as sources: what is asked of a registry and what is not, through the solver, with the cache on disk.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod layouts;
mod lazy;
mod lost;
mod resolving;
mod support;
