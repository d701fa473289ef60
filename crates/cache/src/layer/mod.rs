//! One layer: its tar applied to a directory, made of a directory, compressed and uncompressed.
//!
//! What a layer says of the layers below it (image-spec layer.md, "Whiteouts", "Opaque Whiteout") is done at once where
//! they are in the same directory, and kept in one of two forms where they are not: see [`Form`].

mod applied;
mod apply;
mod compare;
mod compress;
mod compression;
mod convert;
mod diff;
mod file_list;
mod options;
mod retime;
mod stream;
mod tarball;
mod uncompressed;
mod unpack;
mod write_tar;
pub(crate) mod xattr;

pub use applied::{Applied, Link, Pending, Skipped, Usage};
pub use apply::apply;
pub(crate) use compare::compare;
pub use compress::{Compressed, Compressor};
pub use compression::{Algorithm, Compression, Family, LayerType};
pub use convert::convert;
pub use diff::{Diffed, diff, tar_of};
pub use file_list::file_list;
pub use options::{Form, Limits, Options};
pub use retime::{Retimer, retimed};
pub use unpack::{unpack, unpack_while_it_comes};
