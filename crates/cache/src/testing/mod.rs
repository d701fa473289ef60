//! What tests of this crate, and of what stands on it, are made of.

pub mod adversarial;
pub mod tars;
pub mod tree;

pub use tars::Tar;
pub use tree::Tree;
