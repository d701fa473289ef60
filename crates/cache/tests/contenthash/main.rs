//! Digests of trees.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot set up its trees has failed")]

mod changes;
mod directories;
mod fixtures;
mod keeping;
mod links;
mod reads;
mod selectors;
mod shared;
mod support;
mod vectors;
