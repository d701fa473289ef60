//! The same layer, compressed in another way.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use lazyblob_remote::digest;
use oci_spec::image::Digest;
use tokio_util::sync::CancellationToken;

use super::compress::{Compressed, Compressor};
use super::plain_read::{Watched, plain};
use crate::error::{Error, Mismatch, Result, What};

const PIECE: usize = 128 * 1024;
const OPERATION: &str = "convert layer";

/// Compresses a layer anew. `blob` is compressed in any way, which its first bytes tell; `diff_id` is what it must be
/// uncompressed. `out` has got nothing yet. Returns what the new blob is and where it went.
///
/// Blocks, and streams: it holds a few pieces at a time. Nothing that went to `out` may be seen by anybody before this
/// returned without error, for only then the diffID is known to be right.
///
/// # Errors
/// [`Error::Integrity`] with the two diffIDs if the content is another one; [`Error::Invalid`] for a blob that is
/// damaged or cut short, and for an `out` that has got something; [`Error::Cancelled`]; [`Error::Io`].
pub fn convert<W: Write>(
    blob: impl Read,
    diff_id: &Digest,
    out: Compressor<W>,
    cancel: &CancellationToken,
) -> Result<(Compressed, W)> {
    let read = |error| unreadable(diff_id, cancel, error);
    let mut plain = plain(Watched { inner: blob, cancel }).map_err(read)?;
    let mut out = out.hashing(diff_id.algorithm())?;
    let mut piece = vec![0; PIECE];
    loop {
        let count = match plain.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read(error)),
        };
        out.write_all(&piece[..count]).map_err(|source| Error::Io {
            what: what(diff_id),
            path: PathBuf::from("output"),
            source,
        })?;
    }
    if cancel.is_cancelled() {
        return Err(Error::Cancelled { what: what(diff_id) });
    }
    let (compressed, out) = out.finish()?;
    if compressed.diff_id != *diff_id {
        let mismatch =
            Mismatch::DiffId { expected: diff_id.to_string(), actual: compressed.diff_id.to_string() };
        return Err(Error::Integrity { what: what(diff_id), mismatch });
    }
    Ok((compressed, out))
}

/// What kept a layer from being read: it, its reader, or the caller.
fn unreadable(diff_id: &Digest, cancel: &CancellationToken, source: io::Error) -> Error {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    match source.kind() {
        _ if cancel.is_cancelled() => Error::Cancelled { what: what(diff_id) },
        InvalidData | InvalidInput | UnexpectedEof | Other if source.raw_os_error().is_none() => {
            Error::Invalid { what: what(diff_id), reason: source.to_string() }
        }
        _ => Error::Io { what: what(diff_id), path: Path::new("input").to_owned(), source },
    }
}

fn what(diff_id: &Digest) -> What {
    What::new(OPERATION, digest::short(diff_id))
}
