//! `lazyblob build`, as people run it: BuildKit's scenarios of laziness, pushes and caches against registries that count.

mod interrupted;
mod lazy;
mod running;
mod support;
