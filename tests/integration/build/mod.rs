//! `lazyblob build`, as people run it: BuildKit's scenarios of laziness, pushes and caches against registries that count.

mod bad_input;
mod command;
mod exec;
mod interrupted;
mod lazy;
mod running;
mod support;
