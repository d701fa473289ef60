//! The solver, with integers.

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
