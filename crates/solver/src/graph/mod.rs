//! Build graphs as they are handed in, and as they are looked at.

mod definition;

pub use definition::Graph;
