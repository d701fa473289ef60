//! `lazyblob build`, as people run it: BuildKit's scenarios of laziness, pushes and caches against registries that count.

mod buildkit_keys;
mod caches;
mod lazy;
mod lost;
mod support;
mod together;
