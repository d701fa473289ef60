//! Trees in directories of the user's, and whether a root is what it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says where")]

mod places;
mod support;
mod trees;
mod verify;
mod verify_sizes;
mod verify_trees;
