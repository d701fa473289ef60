//! The command and the libraries against real registries, real tools and things that go wrong.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

mod architecture;
mod build;
mod caches;
mod cli;
mod counts;
mod peers;
mod peers_serve;
mod referrers;
mod rows;
mod support;
