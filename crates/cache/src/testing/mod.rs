//! What tests of this crate, and of what stands on it, are made of.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says where")]

pub mod metadata;
mod powercut;

pub use powercut::PowerCut;
