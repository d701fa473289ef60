//! One layer: its tar applied to a directory, made of a directory, compressed and uncompressed.
//!
//! What a layer says of the layers below it (image-spec layer.md, "Whiteouts", "Opaque Whiteout") is done at once where
//! they are in the same directory, and kept in one of two forms where they are not: see [`Form`].

mod applied;
mod apply;
mod options;
mod stream;
mod tarball;
mod unpack;

pub use applied::{Applied, Link, Pending, Skipped, Usage};
pub use apply::apply;
pub use options::{Form, Limits, Options};
pub use unpack::unpack;
