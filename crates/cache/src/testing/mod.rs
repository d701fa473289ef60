//! What tests of this crate, and of what stands on it, are made of.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says where")]

pub mod adversarial;
pub mod fuzzing;
pub mod images;
pub mod metadata;
mod powercut;
pub mod snapshotter;
pub mod tars;
pub mod tree;

pub use powercut::PowerCut;
pub use snapshotter::check_snapshotter;
pub use tars::Tar;
pub use tree::Tree;
