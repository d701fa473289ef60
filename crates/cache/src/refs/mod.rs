//! Handles on records.

mod blobs;
mod immutable;
mod layers;
mod mutable;
mod rewritten;

pub use blobs::BlobOptions;
pub use immutable::ImmutableRef;
pub use layers::Layer;
pub(crate) use layers::stack;
pub use mutable::MutableRef;
