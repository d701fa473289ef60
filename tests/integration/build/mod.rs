//! `lazyblob build`, as people run it: BuildKit's scenarios of laziness, pushes and caches against registries that count.

mod bad_input;
mod buildkit_keys;
mod cache_content;
mod caches;
mod command;
mod ends;
mod exec;
mod exports;
mod hub;
mod inline;
mod interrupted;
mod lazy;
mod lost;
mod merges;
mod parts;
mod running;
mod support;
mod together;
