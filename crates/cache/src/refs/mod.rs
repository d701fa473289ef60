//! Handles on records.

mod immutable;
mod layers;
mod mutable;

pub use immutable::ImmutableRef;
pub use layers::Layer;
pub(crate) use layers::stack;
pub use mutable::MutableRef;
