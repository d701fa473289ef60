//! OCI image layouts in directories (image-spec "Image Layout"), as source and as target.
//!
//! ```text
//! <dir>/oci-layout           {"imageLayoutVersion":"1.0.0"}
//! <dir>/index.json           roots and tags; replaced by rename under a flock of <dir>
//! <dir>/blobs/<alg>/<hex>    manifests, configs, layers; each appears whole and durable, or not at all
//! <dir>/.ingest/             unfinished blobs, flocked by who writes them; gone when there are none: see [`ingest`]
//! ```
//!
//! A layout may be sparse: an index or a manifest may name blobs that are not there.

pub(crate) mod catalog;
pub(crate) mod disk;
pub(crate) mod extent;
pub mod flock;
mod held;
pub(crate) mod index;
pub mod ingest;
pub(crate) mod read;
pub(crate) mod sink;
pub(crate) mod temp;
pub(crate) mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use oci_spec::image::{Descriptor, Digest};
use tokio::sync::OnceCell;

pub use index::REF_NAME;
pub use ingest::{
    Begun, Cut, Damaged, Follower, Ingest, IngestSettings, Ingests, Partial, Received, Removed, Tail,
    Waiting, blob_path,
};

use crate::error::Result;
use crate::manifest::Manifest;
use crate::provider::Origin;

/// Where a layout has its unfinished blobs.
const INGEST: &str = ".ingest";

/// An OCI image layout. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Layout {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    ingests: Ingests,
    removed: Mutex<Vec<Removed>>,
    /// Set once `oci-layout` and `index.json` are known to exist.
    prepared: OnceCell<()>,
}

impl Layout {
    /// Opens an existing layout.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] without a directory, [`crate::Error::Invalid`] where it is not a layout of version
    /// 1, [`crate::Error::Io`].
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self::at(dir.into());
        layout.check_marker(false).await?;
        Ok(layout)
    }

    /// Opens a layout or makes ready to create it with the first blob or manifest written. An empty directory becomes
    /// a layout, one with other things in it does not. Removes unfinished blobs that nobody has gone on with for a day.
    ///
    /// # Errors
    /// As [`Layout::open`], except that the layout may be missing; [`crate::Error::Refused`] where its `.ingest` is a link.
    pub async fn create_or_open(dir: impl Into<PathBuf>) -> Result<Self> {
        Self::create_or_open_with(dir, IngestSettings::default()).await
    }

    /// As [`Layout::create_or_open`], with other settings for unfinished blobs.
    ///
    /// # Errors
    /// Those of [`Layout::create_or_open`].
    pub async fn create_or_open_with(dir: impl Into<PathBuf>, settings: IngestSettings) -> Result<Self> {
        let root = dir.into();
        let ingests = Ingests::new(root.clone(), root.join(INGEST)).with_settings(settings);
        let layout = Self::with(root, ingests);
        layout.check_marker(true).await?;
        let removed = layout.inner.ingests.sweep().await?;
        *layout.inner.removed.lock().unwrap_or_else(PoisonError::into_inner) = removed;
        Ok(layout)
    }

    /// Creates directory, `oci-layout` and `index.json` where they are missing, before anything is written.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub async fn create(&self) -> Result<()> {
        self.prepare().await
    }

    /// Unfinished blobs that were removed when this was opened, for whoever is to be told. Given once.
    #[must_use]
    pub fn take_removed(&self) -> Vec<Removed> {
        std::mem::take(&mut *self.inner.removed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same layout with its unfinished blobs in `dir`, which must be on the same file system and may be a link.
    #[must_use]
    pub fn with_ingest_dir(self, dir: impl Into<PathBuf>) -> Self {
        let root = self.inner.root.clone();
        let ingests = Ingests::new(root.clone(), dir).through_links();
        let ingests = ingests.with_settings(self.inner.ingests.settings());
        Self::with(root, ingests)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The way blobs are written here.
    #[must_use]
    pub fn ingests(&self) -> &Ingests {
        &self.inner.ingests
    }

    /// Tags and untagged roots in the order of the index, each with its descriptor as the index has it.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a broken index or entry, [`crate::Error::Io`].
    pub async fn roots(&self) -> Result<Vec<(Option<String>, Descriptor)>> {
        let index = self.read_index().await?;
        let place = self.place();
        index.entries().map(|entry| Ok((entry.tag().map(str::to_owned), entry.descriptor(&place)?))).collect()
    }

    /// Keeps a stored manifest reachable without a tag.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Invalid`] for a broken index.
    pub async fn add_root(&self, manifest: &Manifest) -> Result<()> {
        self.prepare().await?;
        let manifest = manifest.clone();
        self.update_index(move |index| index.add_root(&manifest)).await
    }

    /// Removes a tag. What it named stays until somebody collects garbage.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::Invalid`] for a broken index.
    pub async fn untag(&self, tag: &str) -> Result<()> {
        let tag = tag.to_owned();
        self.update_index(move |index| index.untag(&tag)).await
    }

    /// Whether the blob is there in its full size.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] for one that leads out of the layout, [`crate::Error::Io`].
    pub async fn holds(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.extent(digest).await?.is_some_and(|extent| extent.size == size))
    }

    fn at(root: PathBuf) -> Self {
        let ingests = Ingests::new(root.clone(), root.join(INGEST));
        Self::with(root, ingests)
    }

    fn with(root: PathBuf, ingests: Ingests) -> Self {
        Self {
            inner: Arc::new(Inner { root, ingests, removed: Mutex::default(), prepared: OnceCell::new() }),
        }
    }

    fn place(&self) -> String {
        format!("oci:{}", self.inner.root.display())
    }

    fn origin_of(&self) -> Origin {
        Origin { host: "oci".to_owned(), repository: self.inner.root.display().to_string() }
    }
}
