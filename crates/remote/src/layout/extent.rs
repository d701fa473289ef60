//! A run of bytes in a file, read in chunks by blocking threads.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::StreamExt;
use oci_spec::image::{Descriptor, Digest};

use super::disk::{self, CHUNK};
use crate::body::ByteStream;
use crate::error::{Error, Mismatch, Result, What};
use crate::manifest::{self, MAX_MANIFEST};
use crate::verify::Unverified;

/// A blob within a file: the whole of it, or an entry of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    /// The open file.
    pub(crate) file: Arc<File>,
    /// Its name in errors.
    pub(crate) path: Arc<PathBuf>,
    /// Where the blob begins, in bytes.
    pub(crate) offset: u64,
    /// Its size in bytes.
    pub(crate) size: u64,
}

impl Extent {
    /// The bytes of `range` of `blob`. Size is compared at once; the digest is for whoever reads.
    pub(crate) fn open(self, blob: &Descriptor, range: Range<u64>, place: &str) -> Result<Unverified> {
        let what = What::new("read blob", format_args!("{} from {place}", blob.digest()));
        if self.size != blob.size() {
            let mismatch = Mismatch::Size { expected: blob.size(), actual: self.size };
            return Err(Error::Integrity { what, mismatch });
        }
        let end = range.end.min(self.size);
        let start = range.start.min(end);
        Ok(Unverified::new(start..end, self.stream(start..end, what)))
    }

    /// The whole of a manifest or another small document.
    pub(crate) async fn read_small(self, digest: &Digest, place: &str) -> Result<Bytes> {
        if self.size > MAX_MANIFEST {
            return Err(manifest::too_large(&format!("{place}@{digest}"), self.size));
        }
        let what = What::new("read manifest", format_args!("{place}@{digest}"));
        self.read_whole(what).await
    }

    /// All of it, whatever its size.
    pub(crate) async fn read_whole(self, what: What) -> Result<Bytes> {
        let size = self.size;
        let mut whole = BytesMut::new();
        let mut stream = self.stream(0..size, what);
        while let Some(chunk) = stream.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }

    /// One chunk at a time and none ahead, so that dropping the stream ends the reading.
    pub(crate) fn stream(self, range: Range<u64>, what: What) -> ByteStream {
        futures::stream::try_unfold((self, range, what), |(extent, range, what)| async move {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(CHUNK);
            if length == 0 {
                return Ok(None);
            }
            let (file, at) = (Arc::clone(&extent.file), extent.offset + range.start);
            let read = disk::blocking(
                || what.clone(),
                move || {
                    let mut chunk = BytesMut::zeroed(length);
                    let filled = disk::read_at_most(&file, &mut chunk, at)?;
                    chunk.truncate(filled);
                    Ok::<_, std::io::Error>(chunk.freeze())
                },
            );
            let chunk = read.await?.map_err(|source| Error::Io {
                what: what.clone(),
                path: extent.path.as_ref().clone(),
                source,
            })?;
            if chunk.is_empty() {
                // The file shrank since it was opened.
                let mismatch = Mismatch::Size { expected: extent.size, actual: range.start };
                return Err(Error::Integrity { what, mismatch });
            }
            let rest = range.start + chunk.len() as u64..range.end;
            Ok(Some((chunk, (extent, rest, what))))
        })
        .boxed()
    }
}
