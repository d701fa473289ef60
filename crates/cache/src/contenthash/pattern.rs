//! Patterns of paths, for those who choose files by the same rules by which their digests are made.

pub use super::glob::{BadPattern, Glob, has_wildcards};
pub use super::patterns::{Matched, Patterns};
