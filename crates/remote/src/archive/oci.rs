//! Reading an OCI layout in a tar file.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};

use super::entries::Entries;
use crate::endpoint::{Name, Source};
use crate::error::{Error, Result, What};
use crate::layout::blob_path;
use crate::layout::catalog::{self, Catalog};
use crate::layout::extent::Extent;
use crate::layout::index::Index;
use crate::layout::read;
use crate::manifest::Manifest;
use crate::provider::{BlobInfo, Origin, Provider};
use crate::verify::Unverified;

/// An OCI layout in an uncompressed tar file. Clones share the open file.
#[derive(Clone, Debug)]
pub struct OciArchive {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    entries: Entries,
    index: Index,
}

impl OciArchive {
    /// Opens an archive: one pass over its headers, and `index.json`.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a file, [`Error::Invalid`] where it is no layout of version 1 in a tar file,
    /// [`Error::Refused`] for links and for names that lead out of it, [`Error::Io`].
    pub async fn open(file: impl Into<PathBuf>) -> Result<Self> {
        let path = file.into();
        let place = place(&path);
        let entries = Entries::read(&path, &place).await?;
        if let Some(link) = entries.link() {
            let reason = format!("entry {} is a link", link.escape_debug());
            return Err(Error::refused("open archive", place, reason));
        }
        let marker = document(&entries, "oci-layout", read::MAX_MARKER, &place).await?;
        read::check_version(&marker, &place)?;
        let index = document(&entries, "index.json", read::MAX_INDEX, &place).await?;
        let index = Index::parse(&index, &place)?;
        Ok(Self { inner: Arc::new(Inner { path, entries, index }) })
    }

    /// The path of the archive.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn extent(&self, digest: &Digest) -> Result<Option<Extent>> {
        let name = blob_path(Path::new(""), digest)?;
        Ok(name.to_str().and_then(|name| self.inner.entries.extent(name)))
    }

    fn found(&self, blob: &Descriptor) -> Result<Extent> {
        let missing = || {
            let object = format!("{} from {}", blob.digest(), place(self.path()));
            Error::not_found("read blob", object, "the archive does not hold it")
        };
        self.extent(blob.digest())?.ok_or_else(missing)
    }

    fn origin_of(&self) -> Origin {
        Origin { host: "oci-archive".to_owned(), repository: self.path().display().to_string() }
    }
}

#[async_trait]
impl Source for OciArchive {
    async fn manifest(&self, name: &Name) -> Result<Manifest> {
        catalog::manifest(self, name).await
    }

    async fn resolve(&self, name: &Name) -> Result<Digest> {
        catalog::resolve(self, name).await
    }

    fn blobs(&self) -> Arc<dyn Provider> {
        Arc::new(self.clone())
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        catalog::referrers(self, subject).await
    }

    fn origin(&self) -> Origin {
        self.origin_of()
    }
}

#[async_trait]
impl Provider for OciArchive {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        self.found(blob)?.open(blob, range, &place(self.path()))
    }

    async fn info(&self, blob: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: Some(self.found(blob)?.size) })
    }

    fn origin(&self) -> Origin {
        self.origin_of()
    }
}

#[async_trait]
impl Catalog for OciArchive {
    async fn index(&self) -> Result<Index> {
        Ok(self.inner.index.clone())
    }

    async fn bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        match self.extent(digest)? {
            Some(extent) => Ok(Some(extent.read_small(digest, &place(self.path())).await?)),
            None => Ok(None),
        }
    }

    async fn holds(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.extent(blob.digest())?.is_some_and(|extent| extent.size == blob.size()))
    }

    fn place(&self) -> String {
        place(self.path())
    }
}

fn place(path: &Path) -> String {
    format!("oci-archive:{}", path.display())
}

/// The whole of a document of at most `limit` bytes.
pub(super) async fn document(entries: &Entries, name: &str, limit: u64, place: &str) -> Result<Bytes> {
    let Some(extent) = entries.extent(name) else {
        return Err(Error::invalid("open archive", place, format_args!("it has no file {name}")));
    };
    if extent.size > limit {
        let reason = format!("{name} has {} bytes, past the limit of {limit}", extent.size);
        return Err(Error::refused("open archive", place, reason));
    }
    extent.read_whole(What::new("open archive", place)).await
}
