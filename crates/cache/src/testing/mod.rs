//! What tests of this crate, and of what stands on it, are made of.

pub mod tree;

pub use tree::Tree;
