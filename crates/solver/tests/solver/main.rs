//! The solver, with integers.

mod access;
mod active;
mod basics;
mod cancel;
mod content;
mod errors;
mod evaluate;
mod fair;
mod ignore_cache;
mod maps;
mod release;
mod selectors;
mod sources;
mod stale;
mod status;
mod support;
