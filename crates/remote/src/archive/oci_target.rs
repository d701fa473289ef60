//! Writing an OCI layout into a tar file, many blobs at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use oci_spec::image::{Descriptor, Digest};
use tokio::sync::Semaphore;

use super::writer::{Writer, header};
use crate::body;
use crate::endpoint::{Mounted, Name, Target};
use crate::error::{Error, Mismatch, Result, What};
use crate::layout::blob_path;
use crate::layout::catalog::{self, Catalog};
use crate::layout::extent::Extent;
use crate::layout::index::Index;
use crate::layout::sink::Sink;
use crate::layout::write::{MARKER, check_name};
use crate::manifest::Manifest;
use crate::provider::Origin;
use crate::transfer::Blob;
use crate::verify::Verified;

/// A new `oci-archive`. The file appears at [`Target::finish`], replacing one of that name, and not before; dropped
/// earlier, it leaves nothing.
#[derive(Debug)]
pub struct OciArchiveTarget {
    writer: Arc<Writer>,
    blobs: Mutex<HashMap<Digest, Arc<Region>>>,
    index: Mutex<Index>,
}

/// The place of a blob. A second try writes to the same.
#[derive(Debug)]
struct Region {
    /// Where the header goes; the content follows it.
    start: u64,
    header: Bytes,
    size: u64,
    /// One writer at a time; the permit travels with the writes, so that none is under way when the next begins.
    writers: Arc<Semaphore>,
    complete: AtomicBool,
}

impl OciArchiveTarget {
    /// Begins an archive that will be called `file`.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a directory to be in, [`Error::Invalid`] where it is one, [`Error::Io`].
    pub async fn create(file: impl Into<PathBuf>) -> Result<Self> {
        let path = file.into();
        let place = format!("oci-archive:{}", path.display());
        let writer = Writer::create(path, place).await?;
        writer
            .blocking(|writer| {
                writer.append("oci-layout", MARKER)?;
                writer.append_dir("blobs/")?;
                writer.append_dir("blobs/sha256/")
            })
            .await?;
        Ok(Self { writer, blobs: Mutex::default(), index: Mutex::new(Index::empty()) })
    }

    /// The name the archive will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.writer.target()
    }

    /// Keeps a stored manifest reachable without a tag.
    pub fn add_root(&self, manifest: &Manifest) {
        lock(&self.index).add_root(manifest);
    }

    /// Writes a blob's verified bytes to its region.
    async fn write(
        &self,
        blob: &Descriptor,
        mut bytes: impl Stream<Item = Result<Bytes>> + Unpin,
    ) -> Result<()> {
        self.writer.check_open()?;
        let what = What::new("write blob", format_args!("{} to {}", blob.digest(), self.writer.place()));
        let region = self.region(blob)?;
        let closed = |_| Error::Cancelled { what: what.clone() };
        let permit = Arc::clone(&region.writers).acquire_owned().await.map_err(closed)?;
        if region.complete.load(Ordering::Acquire) {
            return Ok(());
        }
        let (file, path) = (Arc::clone(self.writer.file()), self.writer.temp_path().to_owned());
        let mut sink = Sink::new(file, path, what, region.start, permit);
        sink.write(region.header.clone()).await?;
        while let Some(chunk) = bytes.next().await {
            sink.write(chunk?).await?;
        }
        sink.flush().await?;
        region.complete.store(true, Ordering::Release);
        Ok(())
    }

    /// The region of a blob, new or known.
    fn region(&self, blob: &Descriptor) -> Result<Arc<Region>> {
        let (digest, size) = (blob.digest(), blob.size());
        let name = blob_path(Path::new(""), digest)?.display().to_string();
        let header = header(&name, size).map_err(|error| self.writer.failed(error))?;
        let mut blobs = lock(&self.blobs);
        let region = blobs.entry(digest.clone()).or_insert_with(|| {
            let start = self.writer.reserve(&header, size);
            let (writers, complete) = (Arc::new(Semaphore::new(1)), AtomicBool::new(false));
            Arc::new(Region { start, header: header.into(), size, writers, complete })
        });
        if region.size != size {
            let what = What::new("write blob", format_args!("{digest} to {}", self.writer.place()));
            let mismatch = Mismatch::Size { expected: region.size, actual: size };
            return Err(Error::Integrity { what, mismatch });
        }
        Ok(Arc::clone(region))
    }

    /// The region of a blob that is complete.
    fn complete(&self, digest: &Digest) -> Option<Arc<Region>> {
        let region = lock(&self.blobs).get(digest).map(Arc::clone)?;
        region.complete.load(Ordering::Acquire).then_some(region)
    }
}

#[async_trait]
impl Target for OciArchiveTarget {
    /// Only what was put here counts; a file that will be replaced is not looked at.
    async fn resolve(&self, name: &Name) -> Result<Option<Digest>> {
        catalog::whole(self, name).await
    }

    async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        self.holds(blob).await
    }

    async fn mount(&self, _: &Descriptor, _: &Origin) -> Result<Mounted> {
        Ok(Mounted::No { session: None })
    }

    async fn put_blob(&self, blob: &Blob, _: Option<String>) -> Result<()> {
        if self.has_blob(blob.descriptor()).await? {
            return Ok(());
        }
        // A blob that cannot be read reserves nothing.
        self.write(blob.descriptor(), blob.read().await?).await
    }

    /// As in a layout directory: tag and [`Name::Only`] make an entry in the index, a digest makes one only for a
    /// manifest with a subject.
    async fn put_manifest(&self, manifest: &Manifest, name: &Name) -> Result<()> {
        check_name(manifest, name, self.writer.place())?;
        let bytes = body::once(manifest.bytes().clone());
        let bytes = Verified::new(manifest.descriptor(), self.writer.place(), bytes)?;
        self.write(manifest.descriptor(), bytes).await?;
        match name {
            Name::Tag(tag) => lock(&self.index).tag(tag, manifest),
            Name::Only => self.add_root(manifest),
            Name::Digest(_) if manifest.subject().is_some() => self.add_root(manifest),
            Name::Digest(_) => {}
        }
        Ok(())
    }

    async fn finish(&self) -> Result<()> {
        let incomplete = lock(&self.blobs)
            .iter()
            .find(|(_, region)| !region.complete.load(Ordering::Acquire))
            .map(|(digest, _)| digest.clone());
        if let Some(digest) = incomplete {
            return Err(Error::invalid(
                "write archive",
                self.writer.place(),
                format_args!("{digest} is not complete"),
            ));
        }
        if self.writer.is_finished() {
            return Ok(());
        }
        let index = lock(&self.index).to_bytes();
        let finish = move |writer: &Writer| {
            writer.append("index.json", &index)?;
            writer.finish()
        };
        self.writer.blocking(finish).await
    }

    fn origin(&self) -> Origin {
        Origin { host: "oci-archive".to_owned(), repository: self.path().display().to_string() }
    }
}

#[async_trait]
impl Catalog for OciArchiveTarget {
    async fn index(&self) -> Result<Index> {
        Ok(lock(&self.index).clone())
    }

    async fn bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let Some(region) = self.complete(digest) else { return Ok(None) };
        let extent = Extent {
            file: Arc::clone(self.writer.file()),
            path: Arc::new(self.writer.temp_path().to_owned()),
            offset: region.start + region.header.len() as u64,
            size: region.size,
        };
        Ok(Some(extent.read_small(digest, self.writer.place()).await?))
    }

    async fn holds(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.complete(blob.digest()).is_some_and(|region| region.size == blob.size()))
    }

    fn place(&self) -> String {
        self.writer.place().to_owned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
