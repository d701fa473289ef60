//! Writing blobs: the one way bytes become visible in a layout.
//!
//! ```text
//! first byte of the source → <ingest dir>/blob-….partial → all verified → fdatasync
//!                          → rename to blobs/<alg>/<hex> → fsync of blobs/<alg>
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::StreamExt;
use oci_spec::image::{Descriptor, Digest};

use super::disk;
use super::sink::Sink;
use super::temp::{self, TempFile};
use crate::error::{Error, Result, What};
use crate::transfer::Blob;
use crate::verify::Verifier;

const PREFIX: &str = "blob-";

/// Where blobs are written, and where they are while they are not whole.
#[derive(Clone, Debug)]
pub struct Ingests {
    root: PathBuf,
    dir: PathBuf,
}

impl Ingests {
    /// Blobs of the layout at `root`; unfinished ones are in `dir`, which must be on the same file system.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), dir: dir.into() }
    }

    /// The directory of unfinished blobs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins writing `blob`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a digest that cannot be verified, [`Error::Io`].
    pub async fn begin(&self, blob: &Descriptor) -> Result<Ingest> {
        let verifier = Verifier::new(blob)?;
        Ok(Ingest { verifier, writing: self.writing(blob).await? })
    }

    /// Reads `blob` and stores it. No file is created before the source's first byte is there. The bytes are hashed
    /// once, on their way out of the source.
    ///
    /// # Errors
    /// The source's, [`Error::Integrity`], [`Error::Io`]; nothing is left of the blob then.
    pub async fn receive(&self, blob: &Blob) -> Result<()> {
        let mut bytes = blob.read().await?;
        let mut writing = self.writing(blob.descriptor()).await?;
        while let Some(chunk) = bytes.next().await {
            writing.sink.write(chunk?).await?;
        }
        writing.publish().await
    }

    /// Stores bytes that are in memory.
    ///
    /// # Errors
    /// As [`Ingests::receive`].
    pub async fn store(&self, blob: &Descriptor, bytes: Bytes) -> Result<()> {
        let mut ingest = self.begin(blob).await?;
        ingest.write(bytes).await?;
        ingest.commit().await
    }

    /// Removes what killed processes left; what living ones write stays.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the runtime is shutting down.
    pub async fn sweep(&self) -> Result<()> {
        let dir = self.dir.clone();
        let what = || What::new("clean up", self.dir.display());
        disk::blocking(what, move || temp::sweep(&dir, "")).await
    }

    /// Removes the directory of unfinished blobs if it is empty.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the runtime is shutting down.
    pub async fn tidy(&self) -> Result<()> {
        let dir = self.dir.clone();
        let what = || What::new("clean up", self.dir.display());
        // It is not empty while another process writes, and need not exist.
        disk::blocking(what, move || drop(fs::remove_dir(&dir))).await
    }

    /// A new temporary file in the directory of unfinished blobs.
    pub(crate) fn temporary(&self, prefix: &str) -> std::io::Result<TempFile> {
        TempFile::create(&self.dir, prefix)
    }

    async fn writing(&self, blob: &Descriptor) -> Result<Writing> {
        let place = blob_path(&self.root, blob.digest())?;
        let what = What::new("write blob", format_args!("{} to {}", blob.digest(), self.root.display()));
        let ingests = self.clone();
        let temp = disk::blocking(|| what.clone(), move || ingests.temporary(PREFIX))
            .await?
            .map_err(|source| Error::Io { what: what.clone(), path: self.dir.clone(), source })?;
        let sink = Sink::new(Arc::clone(temp.file()), temp.path().to_owned(), what.clone(), 0, ());
        Ok(Writing { what, place, sink, temp })
    }
}

/// A blob being written. Dropping it removes what was written; only [`Ingest::commit`] makes it visible.
#[derive(Debug)]
#[must_use = "nothing is stored before commit"]
pub struct Ingest {
    verifier: Verifier,
    writing: Writing,
}

impl Ingest {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::Integrity`] as soon as there are too many, [`Error::Io`].
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let what = &self.writing.what;
        self.verifier.update(&chunk).map_err(|mismatch| Error::Integrity { what: what.clone(), mismatch })?;
        self.writing.sink.write(chunk).await
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.verifier.position()
    }

    /// Verifies the whole, makes it durable and then visible.
    ///
    /// # Errors
    /// [`Error::Integrity`] for other bytes than promised, [`Error::Io`]; nothing is left of the blob then.
    pub async fn commit(self) -> Result<()> {
        let Self { verifier, writing } = self;
        verifier.finish().map_err(|mismatch| Error::Integrity { what: writing.what.clone(), mismatch })?;
        writing.publish().await
    }
}

/// The file behind an ingest, without regard to what is in it.
#[derive(Debug)]
struct Writing {
    what: What,
    place: PathBuf,
    sink: Sink,
    temp: TempFile,
}

impl Writing {
    async fn publish(mut self) -> Result<()> {
        self.sink.flush().await?;
        let Self { what, place, temp, .. } = self;
        let path = place.clone();
        let published = disk::blocking(
            || what.clone(),
            move || {
                if let Some(dir) = place.parent() {
                    disk::create_dirs(dir)?;
                }
                temp.persist(&place)
            },
        );
        published.await?.map_err(|source| Error::Io { what, path, source })
    }
}

/// Where a blob is in the layout at `root` (image-spec "Image Layout", "Blobs").
///
/// # Errors
/// [`Error::Invalid`] for a digest whose algorithm we do not know: neither its form nor its content can be checked.
pub fn blob_path(root: &Path, digest: &Digest) -> Result<PathBuf> {
    let (algorithm, hex) = (digest.algorithm(), digest.digest());
    let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match algorithm.digest_hexlen() {
        Some(length) if is_hex && hex.len() == length as usize => {
            Ok(root.join("blobs").join(algorithm.as_ref()).join(hex))
        }
        Some(_) => Err(Error::invalid("find blob", digest, "malformed digest")),
        None => {
            let reason = format!("digest algorithm {algorithm} is not supported");
            Err(Error::invalid("find blob", digest, reason))
        }
    }
}
