//! The same layer, compressed in another way.

use std::io::{Read, Write};
use std::path::PathBuf;

use lazyblob_remote::{What, digest};
use oci_spec::image::Digest;
use tokio_util::sync::CancellationToken;

use super::compress::{Compressed, Compressor};
use super::stream::Source as _;
use super::uncompressed;
use crate::error::{Error, Mismatch, Result};

/// Compresses a layer anew. `blob` is compressed in any way, which its first bytes tell; `diff_id` is what it must be
/// uncompressed. `out` has got nothing yet. Returns what the new blob is and where it went.
///
/// Blocks, and streams: it holds a few pieces at a time; decompression has a thread of its own. Nothing that went to
/// `out` may be seen by anybody before this returned without error, for only then the diffID is known to be right.
///
/// # Errors
/// [`Error::Integrity`] with the two diffIDs if the content is another one; [`Error::Invalid`] for a blob that is
/// damaged or cut short, and for an `out` that has got something; [`Error::Refused`] beyond the default limit on the
/// ratio; [`Error::Cancelled`]; [`Error::Io`].
pub fn convert<W: Write>(
    blob: impl Read + Send,
    diff_id: &Digest,
    out: Compressor<W>,
    cancel: &CancellationToken,
) -> Result<(Compressed, W)> {
    let what = What::new("convert layer", digest::short(diff_id));
    let mut out = out.hashing(diff_id.algorithm())?;
    uncompressed::read(blob, &what, cancel, |mut pipe| {
        loop {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled { what: what.clone() });
            }
            let piece = pipe.chunk()?;
            if piece.is_empty() {
                break;
            }
            let count = piece.len();
            out.write_all(piece).map_err(|source| {
                let path = PathBuf::from("output");
                Error::Io { what: what.clone(), path, source }
            })?;
            pipe.consume(count);
        }
        if cancel.is_cancelled() {
            return Err(Error::Cancelled { what: what.clone() });
        }
        let (compressed, out) = out.finish()?;
        if compressed.diff_id != *diff_id {
            let (expected, actual) = (diff_id.to_string(), compressed.diff_id.to_string());
            let mismatch = Mismatch::DiffId { expected, actual };
            return Err(Error::Integrity { what: what.clone(), mismatch });
        }
        Ok((compressed, out))
    })
}
