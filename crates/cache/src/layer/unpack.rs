//! A compressed layer, decompressed, hashed and applied in one pass.

use std::io::Read;
use std::path::Path;

use lazyblob_remote::What;
use lazyblob_remote::digest::Hasher;
use oci_spec::image::{Descriptor, Digest};
use tokio_util::sync::CancellationToken;

use super::apply::apply_bytes;
use super::stream::{Bytes, Pipe};
use super::{Applied, Options};
use crate::error::{Error, Mismatch, Result};

/// Applies the layer `descriptor` names to `dir`, which exists. Blocks; decompression has a thread of its own, and takes
/// 2 MiB of memory (zstd: its window besides).
///
/// Whether `blob` is gzip (several members and padding too), zstd (several frames, some to be skipped) or a bare tar is
/// told by its first bytes. All of it is read, what comes behind the tar's end as well: the digest is over all
/// uncompressed bytes. The blob itself is not verified here. Nothing is synced: that is for who unpacks many layers.
///
/// `blob` is to end its own waits when `cancel` is: this looks at it between reads.
///
/// # Errors
/// * [`Error::Integrity`]: the uncompressed bytes are not `diff_id`.
/// * [`Error::Invalid`]: stream or tar are malformed or cut off, something follows the compressed stream, or an entry makes
///   no sense where it is; the message names it.
/// * [`Error::Refused`]: a limit of the options, or a name that leads out of `dir`.
/// * [`Error::Io`]: a file, with its path; or the reader, called `blob`, whose error is the source as it was.
/// * [`Error::Cancelled`].
///
/// After an error `dir` has part of the tree, and is to be thrown away.
pub fn unpack(
    blob: impl Read + Send,
    descriptor: &Descriptor,
    diff_id: &Digest,
    dir: &Path,
    options: &Options,
    cancel: &CancellationToken,
) -> Result<Applied> {
    unpack_while_it_comes(blob, descriptor, diff_id, dir, options, cancel, &CancellationToken::new())
}

/// As [`unpack`], for a `blob` that may keep its reader waiting: `useless` is cancelled when the layer proves no good, and
/// `blob` is to end its waits then. So what is wrong with a layer is told at once, however slowly the rest of it comes.
///
/// # Errors
/// Those of [`unpack`].
pub fn unpack_while_it_comes(
    blob: impl Read + Send,
    descriptor: &Descriptor,
    diff_id: &Digest,
    dir: &Path,
    options: &Options,
    cancel: &CancellationToken,
    useless: &CancellationToken,
) -> Result<Applied> {
    let what = What::new("unpack layer", descriptor.digest());
    let Some(hasher) = Hasher::new(diff_id.algorithm()) else {
        let reason = format!("a diffID by {} cannot be checked", diff_id.algorithm());
        return Err(Error::Invalid { what, reason });
    };
    let media_type = descriptor.media_type().to_string();
    let applied = std::thread::scope(|scope| {
        let (feed, pipe) = Pipe::new(what.clone());
        let feeder = scope.spawn(|| feed.run(blob, &media_type, &options.limits, cancel));
        let bytes = Bytes::new(pipe, hasher, options.limits.size, what.clone(), cancel);
        let applied = apply_bytes(bytes, dir, options, &what, cancel);
        if applied.is_err() {
            useless.cancel();
        }
        match feeder.join() {
            Ok(()) => applied,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    if applied.diff_id != *diff_id {
        let mismatch =
            Mismatch::DiffId { expected: diff_id.to_string(), actual: applied.diff_id.to_string() };
        return Err(Error::Integrity { what, mismatch });
    }
    Ok(applied)
}
