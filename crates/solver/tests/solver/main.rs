//! The solver, with integers.

mod access;
mod active;
mod basics;
mod cancel;
mod content;
mod errors;
mod evaluate;
mod ignore_cache;
mod maps;
mod selectors;
mod sources;
mod support;
