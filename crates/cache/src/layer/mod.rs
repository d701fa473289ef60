//! One layer: its tar applied to a directory, made of a directory, compressed and uncompressed.
//!
//! What a layer says of the layers below it (image-spec layer.md, "Whiteouts", "Opaque Whiteout") is done at once where
//! they are in the same directory, and kept in one of two forms where they are not: see [`Form`].

mod applied;
mod options;

pub use applied::{Applied, Link, Pending, Skipped, Usage};
pub use options::{Form, Limits, Options};
/// stub
pub fn unpack(
    _: impl std::io::Read + Send,
    _: &oci_spec::image::Descriptor,
    _: &oci_spec::image::Digest,
    _: &std::path::Path,
    _: &Options,
    _: &tokio_util::sync::CancellationToken,
) -> crate::Result<Applied> {
    Err(crate::Error::not_found("a", "b", "c"))
}
