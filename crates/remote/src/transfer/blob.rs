//! A blob to be read from one of several sources, resumed inside where a source breaks.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::StreamExt;
use oci_spec::image::Descriptor;

use super::Retry;
use crate::access::Access;
use crate::body::{self, ByteStream};
use crate::error::{Error, Result, What};
use crate::provider::Provider;
use crate::verify::Verified;

/// A source that brings fewer bytes than this between its failures is not getting anywhere.
const OF_USE: u64 = 64 * 1024;

/// One blob and where it may be had. Reading it costs nothing until the first byte is asked for.
#[derive(Clone, Debug)]
pub struct Blob {
    descriptor: Descriptor,
    sources: Vec<Arc<dyn Provider>>,
    retry: Retry,
    access: Access,
}

impl Blob {
    /// A blob that the first of `sources` is asked for, the others if that one fails for good.
    #[must_use]
    pub fn new(
        descriptor: Descriptor,
        sources: Vec<Arc<dyn Provider>>,
        retry: Retry,
        access: Access,
    ) -> Self {
        Self { descriptor, sources, retry, access }
    }

    /// What the blob must be.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// How often it is tried.
    #[must_use]
    pub fn retry(&self) -> &Retry {
        &self.retry
    }

    /// On whose behalf it is read.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Tells the sources that one of them brought something else. Says whether reading the blob once more is of use.
    pub(crate) fn distrust(&self) -> bool {
        self.sources.iter().any(|source| source.distrust(&self.descriptor))
    }

    /// Reads the whole blob from the beginning and verifies it. See [`Blob::read_from`].
    ///
    /// # Errors
    /// Those of [`Blob::read_from`]; the stream ends with [`Error::Integrity`] where the bytes are not the blob's.
    pub async fn read(&self) -> Result<Verified> {
        let source = self.sources.first().map(|source| source.origin().to_string()).unwrap_or_default();
        Verified::new(&self.descriptor, source, self.read_from(0).await?)
    }

    /// Reads the blob from `offset` to its end; whoever takes the bytes verifies them together with those before.
    /// Returns once the first bytes are there, so that a caller opens nothing at a target before its source has
    /// answered. A connection that breaks is resumed at the offset reached; bytes already passed on are not asked for
    /// again, except where a source ignores ranges: then they come again and are dropped here.
    ///
    /// # Errors
    /// The last source's error when no source is left; all sources are named in the trace.
    pub async fn read_from(&self, offset: u64) -> Result<ByteStream> {
        let mut reading = Reading {
            blob: self.clone(),
            remaining: self.sources.iter().rev().map(Arc::clone).collect(),
            offset,
            failures: 0,
            proven: offset,
            promised: 0..0,
            body: None,
        };
        let first = reading.next().await?;
        let rest = futures::stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        });
        Ok(match first {
            Some(bytes) => body::once(bytes).chain(rest).boxed(),
            None => body::once(Bytes::new()),
        })
    }

    /// Reads the whole blob into memory; for configs and other small ones of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] for a larger blob, and those of [`Blob::read`].
    pub async fn read_whole(&self, limit: u64) -> Result<Bytes> {
        let size = self.descriptor.size();
        if size > limit {
            let reason = format!("{size} bytes are past the limit of {limit}");
            return Err(Error::refused("read blob", self.descriptor.digest(), reason));
        }
        let mut stream = self.read().await?;
        let mut whole = bytes::BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
        while let Some(chunk) = stream.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }
}

/// A read under way.
struct Reading {
    blob: Blob,
    /// Sources still worth asking, the current one last.
    remaining: Vec<Arc<dyn Provider>>,
    /// Bytes handed on so far.
    offset: u64,
    /// Failures since the source last showed that it is of use.
    failures: u32,
    /// Where that was.
    proven: u64,
    /// What the open body is to bring of the blob.
    promised: Range<u64>,
    body: Option<ByteStream>,
}

impl Reading {
    /// The next bytes, from whichever source has them.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.step().await {
                Ok(Some(bytes)) => {
                    self.offset += bytes.len() as u64;
                    if self.offset - self.proven >= OF_USE {
                        (self.failures, self.proven) = (0, self.offset);
                    }
                    self.blob.access.progress.advance(&self.blob.descriptor, self.offset);
                    return Ok(Some(bytes));
                }
                // A host may answer with less than was asked for (RFC 9110 §15.3.7): that is no failure.
                Ok(None) if self.kept_its_promise() => self.body = None,
                // An early end without an error: the body was cut where its length was not known.
                Ok(None) if self.offset < self.blob.descriptor.size() && self.offset > 0 => {
                    let cause =
                        format!("ended after {} of {} bytes", self.offset, self.blob.descriptor.size());
                    let what = self.what();
                    self.recover(Error::broken(what.operation, what.object, &cause.into())).await?;
                }
                Ok(None) => return Ok(None),
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// Whether the body brought a part of the blob that it had announced, and that was worth a request.
    fn kept_its_promise(&self) -> bool {
        let Range { start, end } = self.promised;
        self.offset == end && end < self.blob.descriptor.size() && end - start >= OF_USE
    }

    async fn step(&mut self) -> Result<Option<Bytes>> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let body = self.open().await?;
                self.body.insert(body)
            }
        };
        body.next().await.transpose()
    }

    async fn open(&mut self) -> Result<ByteStream> {
        let size = self.blob.descriptor.size();
        // Nobody needs to be asked for nothing.
        if self.offset >= size {
            return Ok(body::once(Bytes::new()));
        }
        let Some(source) = self.remaining.last() else {
            let what = self.what();
            return Err(Error::not_found(what.operation, what.object, "no source is known"));
        };
        let opened = source.open(&self.blob.descriptor, self.offset..size).await?;
        let start = opened.range().start;
        self.promised = self.offset.max(start)..opened.range().end.max(self.offset);
        if start > self.offset {
            let reason = format!("asked for bytes from {}, got them from {start}", self.offset);
            let what = self.what();
            return Err(Error::invalid(what.operation, what.object, reason));
        }
        Ok(skip(opened.into_stream(), self.offset - start))
    }

    /// After a failure: the same source after a wait, else the next source at the same offset.
    async fn recover(&mut self, error: Error) -> Result<()> {
        self.body = None;
        self.failures += 1;
        let error = match self.blob.retry.pause(&self.blob.access, self.failures, error).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let dropped = self.remaining.pop();
        if self.remaining.is_empty() {
            return Err(error);
        }
        self.failures = 0;
        let origin = dropped.map(|source| source.origin().to_string()).unwrap_or_default();
        tracing::debug!(%error, origin, "source dropped");
        self.blob.access.progress.note(&format!("{error}; going on with the next source"));
        Ok(())
    }

    fn name(&self) -> String {
        self.remaining.last().map(|source| source.origin().to_string()).unwrap_or_default()
    }

    fn what(&self) -> What {
        What::new("read blob", format_args!("{} from {}", self.blob.descriptor.digest(), self.name()))
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// Drops the first `skip` bytes: the source began earlier than asked.
fn skip(stream: ByteStream, mut skip: u64) -> ByteStream {
    if skip == 0 {
        return stream;
    }
    stream
        .filter_map(move |item| {
            let item = item.map(|mut bytes| {
                let cut = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                skip -= cut as u64;
                bytes.split_off(cut)
            });
            std::future::ready(match item {
                Ok(bytes) if bytes.is_empty() => None,
                other => Some(other),
            })
        })
        .boxed()
}
