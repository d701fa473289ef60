//! A backend in memory, for tests and for `serve` without a directory.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use oci_spec::image::Digest;

use super::backend::{Applied, Backend, Change, Ingest, Named};
use super::sync::lock;
use crate::body::ByteStream;
use crate::digest::Hasher;
use crate::error::{Error, Mismatch, Result, What};

/// Bytes of one piece of a blob that is read; small, so that tests can break between pieces.
const PIECE: usize = 64 * 1024;

/// Blobs and names in memory.
#[derive(Debug, Default)]
pub struct Memory {
    blobs: Arc<Mutex<HashMap<Digest, Bytes>>>,
    names: Mutex<Vec<Named>>,
}

impl Memory {
    /// An empty backend.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Backend for Memory {
    async fn names(&self) -> Result<Vec<Named>> {
        Ok(lock(&self.names).clone())
    }

    async fn change(&self, repository: &str, change: Change, applied: Applied) -> Result<()> {
        let mut names = lock(&self.names);
        change.apply(repository, &mut names);
        applied();
        Ok(())
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(lock(&self.blobs).get(digest).map(|bytes| bytes.len() as u64))
    }

    async fn read(&self, digest: &Digest, range: Range<u64>) -> Result<ByteStream> {
        let blob = lock(&self.blobs).get(digest).cloned();
        let blob = blob.ok_or_else(|| Error::not_found("read blob", digest, "not stored"))?;
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(blob.len());
        let part = blob.slice(at(range.start)..at(range.end).max(at(range.start)));
        let pieces = (0..part.len()).step_by(PIECE).map(move |start| {
            let end = part.len().min(start + PIECE);
            Ok(part.slice(start..end))
        });
        Ok(futures::stream::iter(pieces).boxed())
    }

    async fn ingest(&self) -> Result<Box<dyn Ingest>> {
        Ok(Box::new(Buffer { blobs: Arc::clone(&self.blobs), bytes: BytesMut::new() }))
    }
}

struct Buffer {
    blobs: Arc<Mutex<HashMap<Digest, Bytes>>>,
    bytes: BytesMut,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("position", &self.bytes.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Ingest for Buffer {
    fn position(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn settle(&mut self) {}

    async fn append(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        for piece in pieces {
            self.bytes.extend_from_slice(&piece);
        }
        Ok(())
    }

    async fn commit(self: Box<Self>, expected: &Digest) -> Result<u64> {
        let bytes = self.bytes.freeze();
        let mut hasher = hasher(expected)?;
        hasher.update(&bytes);
        check(expected, hasher)?;
        let size = bytes.len() as u64;
        lock(&self.blobs).insert(expected.clone(), bytes);
        Ok(size)
    }

    async fn discard(self: Box<Self>) {}
}

/// A hasher of the algorithm a client named.
pub(crate) fn hasher(expected: &Digest) -> Result<Hasher> {
    Hasher::new(expected.algorithm()).ok_or_else(|| {
        let reason = format!("digest algorithm {} is not supported", expected.algorithm());
        Error::invalid("store blob", expected, reason)
    })
}

/// Compares what came with what was promised.
pub(crate) fn check(expected: &Digest, hasher: Hasher) -> Result<()> {
    let actual = hasher.finish();
    if actual == expected.as_ref() {
        return Ok(());
    }
    let mismatch = Mismatch::Digest { expected: expected.to_string(), actual };
    Err(Error::Integrity { what: What::new("store blob", expected), mismatch })
}
