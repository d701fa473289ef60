//! What becomes of results: images in registries, layouts, archives and the cache, and files.
#![allow(missing_docs, clippy::unwrap_used)]

mod archives;
mod compression;
mod configs;
mod debian;
mod files;
mod foreign;
mod pushing;
mod reproducible;
mod support;
mod tools;
