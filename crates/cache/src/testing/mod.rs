//! What tests of this crate, and of what stands on it, are made of.

pub mod snapshotter;
pub mod tree;

pub use snapshotter::check_snapshotter;
pub use tree::Tree;
