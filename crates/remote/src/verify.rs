//! Verification in the reader, so that nobody can forget it: first size, then digest.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use oci_spec::image::Descriptor;

use crate::body::ByteStream;
use crate::digest::Hasher;
use crate::error::{Error, Mismatch, Result, What};

/// Bytes as one response brought them. They may be a part of a blob or another blob altogether; only an ingest or
/// [`Verified`] accepts them.
pub struct Unverified {
    range: Range<u64>,
    stream: ByteStream,
    by: Option<String>,
}

impl Unverified {
    /// Bytes of `range` (end exclusive) of a blob. Where a server ignored the range asked for, `range` begins at zero.
    #[must_use]
    pub fn new(range: Range<u64>, stream: ByteStream) -> Self {
        Self { range, stream, by: None }
    }

    /// The same, from another host than the source's own: a mirror.
    #[must_use]
    pub fn by(mut self, host: String) -> Self {
        self.by = Some(host);
        self
    }

    /// The host that brought them, if it is another than the source's own.
    #[must_use]
    pub fn brought_by(&self) -> Option<&str> {
        self.by.as_deref()
    }

    /// Where the bytes begin and end within the blob.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The bytes; whoever takes them verifies them.
    #[must_use]
    pub fn into_stream(self) -> ByteStream {
        self.stream
    }
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").field("range", &self.range).finish_non_exhaustive()
    }
}

/// Counts and hashes the bytes of one blob.
#[derive(Clone, Debug)]
pub struct Verifier {
    expected: String,
    size: u64,
    seen: u64,
    hasher: Hasher,
}

impl Verifier {
    /// A verifier for `blob`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a digest algorithm we cannot compute.
    pub fn new(blob: &Descriptor) -> Result<Self> {
        let algorithm = blob.digest().algorithm();
        let hasher = Hasher::new(algorithm).ok_or_else(|| {
            Error::invalid("verify", blob.digest(), format!("digest algorithm {algorithm} is not supported"))
        })?;
        Ok(Self::resume(blob, hasher, 0))
    }

    /// A verifier for `blob` whose first `seen` bytes have gone through `hasher`.
    pub(crate) fn resume(blob: &Descriptor, hasher: Hasher, seen: u64) -> Self {
        Self { expected: blob.digest().to_string(), size: blob.size(), seen, hasher }
    }

    /// The hasher of the bytes so far.
    pub(crate) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// [`Mismatch::Size`] as soon as there are more bytes than the descriptor allows.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        self.seen += bytes.len() as u64;
        if self.seen > self.size {
            return Err(Mismatch::Size { expected: self.size, actual: self.seen });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Bytes taken in so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.seen
    }

    /// Says whether what came is the blob.
    ///
    /// # Errors
    /// [`Mismatch::Size`], or [`Mismatch::Digest`] where the size is right.
    pub fn finish(self) -> Result<(), Mismatch> {
        if self.seen != self.size {
            return Err(Mismatch::Size { expected: self.size, actual: self.seen });
        }
        let actual = self.hasher.finish();
        if actual == self.expected {
            Ok(())
        } else {
            Err(Mismatch::Digest { expected: self.expected, actual })
        }
    }
}

/// A whole blob whose stream ends with an error unless every byte was right. A reader that makes bytes visible must
/// wait for the end of the stream.
pub struct Verified {
    what: What,
    verifier: Option<Verifier>,
    stream: ByteStream,
}

impl Verified {
    /// Verifies `stream`, which must bring the whole of `blob`; `source` is named in errors.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a digest algorithm we cannot compute.
    pub fn new(blob: &Descriptor, source: impl fmt::Display, stream: ByteStream) -> Result<Self> {
        let what = What::new("read blob", format_args!("{} from {source}", blob.digest()));
        Ok(Self { what, verifier: Some(Verifier::new(blob)?), stream })
    }

    fn fail(&mut self, mismatch: Mismatch) -> Error {
        self.verifier = None;
        Error::Integrity { what: self.what.clone(), mismatch }
    }
}

impl Stream for Verified {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.verifier.is_none() {
            return Poll::Ready(None);
        }
        let next = ready!(self.stream.poll_next_unpin(cx));
        Poll::Ready(match next {
            Some(Ok(bytes)) => match self.verifier.as_mut().map(|verifier| verifier.update(&bytes)) {
                Some(Err(mismatch)) => Some(Err(self.fail(mismatch))),
                _ => Some(Ok(bytes)),
            },
            Some(Err(error)) => {
                self.verifier = None;
                Some(Err(error))
            }
            None => match self.verifier.take().map(Verifier::finish) {
                Some(Err(mismatch)) => Some(Err(self.fail(mismatch))),
                _ => None,
            },
        })
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("what", &self.what).finish_non_exhaustive()
    }
}
