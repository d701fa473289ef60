//! Commands, run through a solver and a cache, with an executor that only plays them.

mod caches;
mod ends;
mod mounts;
mod processes;
mod secrets;
mod support;
