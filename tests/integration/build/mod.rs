//! `lazyblob build`, as people run it: BuildKit's scenarios of laziness, pushes and caches against registries that count.

mod buildkit_keys;
mod cache_content;
mod caches;
mod exports;
mod inline;
mod lazy;
mod lost;
mod merges;
mod support;
mod together;
