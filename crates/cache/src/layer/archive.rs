//! Archives of files, which are compressed as layers are but need not be one.

use std::io::Read;
use std::path::Path;

use lazyblob_remote::What;
use lazyblob_remote::digest::Hasher;
use oci_spec::image::DigestAlgorithm;
use tokio_util::sync::CancellationToken;

use super::apply::apply_bytes;
use super::stream::{Bytes, Decoder};
use super::tarball::looks_like_tar;
use super::{Applied, Options, uncompressed};
use crate::error::{Error, Result};

/// Whether the bytes begin a tar, as it is or compressed with gzip or zstd. One without entries is none. Blocks, and reads
/// no more than it takes to know.
#[must_use]
pub fn is_archive(blob: impl Read) -> bool {
    let mut head = [0; 512];
    let mut filled = 0;
    let Ok(mut decoder) = Decoder::new(blob, "", What::new("look at", "archive")) else { return false };
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match decoder.read(rest) {
            Ok(0) | Err(_) => return false,
            Ok(read) => filled += read,
        }
    }
    // Zeros are the end of one.
    head.iter().any(|byte| *byte != 0) && looks_like_tar(&head)
}

/// Unpacks an archive into `dir`, which exists. Blocks; decompression has a thread of its own. There is no diffID to
/// compare: it is in what is returned, as sha256.
///
/// # Errors
/// As those of [`unpack`](super::unpack), but for [`Error::Integrity`].
pub fn unpack_archive(
    blob: impl Read + Send,
    dir: &Path,
    options: &Options,
    cancel: &CancellationToken,
) -> Result<Applied> {
    let what = What::new("unpack", "archive");
    let hasher = Hasher::new(&DigestAlgorithm::Sha256)
        .ok_or_else(|| Error::invalid("unpack", "archive", "sha256 cannot be computed"))?;
    uncompressed::read(blob, &what, cancel, |pipe| {
        let bytes = Bytes::new(pipe, hasher, options.limits.size, what.clone(), cancel);
        apply_bytes(bytes, dir, options, &what, cancel)
    })
}
