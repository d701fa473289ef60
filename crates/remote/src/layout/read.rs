//! Reading a layout directory.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};
use serde_json::Value;

use super::catalog::{self, Catalog};
use super::disk;
use super::extent::Extent;
use super::index::Index;
use super::{Layout, blob_path};
use crate::endpoint::{Name, Source};
use crate::error::{Error, Result, What};
use crate::manifest::Manifest;
use crate::provider::{BlobInfo, Origin, Provider};
use crate::verify::Unverified;

const OPERATION: &str = "open layout";
/// The largest `oci-layout` that makes sense, in bytes.
pub(crate) const MAX_MARKER: u64 = 64 * 1024;
/// The largest `index.json` we read, in bytes: some hundred thousand tags.
pub(crate) const MAX_INDEX: u64 = 64 * 1024 * 1024;

#[async_trait]
impl Source for Layout {
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
impl Provider for Layout {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        self.found(blob).await?.open(blob, range, &self.place())
    }

    async fn info(&self, blob: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: Some(self.found(blob).await?.size) })
    }

    fn origin(&self) -> Origin {
        self.origin_of()
    }
}

#[async_trait]
impl Catalog for Layout {
    async fn index(&self) -> Result<Index> {
        self.read_index().await
    }

    async fn bytes(&self, digest: &Digest) -> Result<Option<Bytes>> {
        match self.extent(digest).await? {
            Some(extent) => Ok(Some(extent.read_small(digest, &self.place()).await?)),
            None => Ok(None),
        }
    }

    async fn holds(&self, blob: &Descriptor) -> Result<bool> {
        Self::holds(self, blob.digest(), blob.size()).await
    }

    fn place(&self) -> String {
        Self::place(self)
    }
}

impl Layout {
    /// The file of a blob, opened; nothing where it is missing.
    pub(super) async fn extent(&self, digest: &Digest) -> Result<Option<Extent>> {
        let path = blob_path(self.root(), digest)?;
        let (root, object) = (self.root().to_owned(), format!("{digest} from {}", self.place()));
        let what = || What::new("read blob", &object);
        let opened = disk::blocking(what, {
            let (path, object) = (path.clone(), object.clone());
            move || open_inside(&root, &path, "read blob", &object)
        });
        let opened = opened.await??;
        Ok(opened.map(|(file, size)| Extent { file: Arc::new(file), path: Arc::new(path), offset: 0, size }))
    }

    async fn found(&self, blob: &Descriptor) -> Result<Extent> {
        let missing = || {
            let object = format!("{} from {}", blob.digest(), self.place());
            Error::not_found("read blob", object, "the layout does not hold it")
        };
        self.extent(blob.digest()).await?.ok_or_else(missing)
    }

    /// The index as it is now.
    pub(super) async fn read_index(&self) -> Result<Index> {
        let (root, place) = (self.root().to_owned(), self.place());
        let what = || What::new("read index.json", self.place());
        disk::blocking(what, move || {
            let missing = || Error::invalid("read index.json", &place, "it is missing");
            read_index(&root, &place)?.ok_or_else(missing)
        })
        .await?
    }

    /// Checks `oci-layout` (image-spec "oci-layout file").
    pub(super) async fn check_marker(&self, may_be_missing: bool) -> Result<()> {
        let (root, place) = (self.root().to_owned(), self.place());
        let what = || What::new("open layout", self.place());
        disk::blocking(what, move || check_marker(&root, &place, may_be_missing)).await?
    }
}

/// Reads `index.json`; nothing where it is missing.
pub(super) fn read_index(root: &Path, place: &str) -> Result<Option<Index>> {
    let bytes = read_inside(root, "index.json", MAX_INDEX, "read index.json", place)?;
    bytes.map(|bytes| Index::parse(&bytes, place)).transpose()
}

fn check_marker(root: &Path, place: &str, may_be_missing: bool) -> Result<()> {
    let invalid = |reason: String| Err(Error::invalid(OPERATION, place, reason));
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return invalid("not a directory".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let missing = Error::not_found(OPERATION, place, "no such directory");
            return if may_be_missing { Ok(()) } else { Err(missing) };
        }
        Err(error) => return Err(Error::io(OPERATION, place, root, error)),
    }
    let marker = || read_inside(root, "oci-layout", MAX_MARKER, OPERATION, place);
    if let Some(bytes) = marker()? {
        return check_version(&bytes, place);
    }
    if may_be_missing && is_vacant(root).map_err(|error| Error::io(OPERATION, place, root, error))? {
        return Ok(());
    }
    // Another process may have begun to write it between the two looks: the marker is what it writes first.
    match marker()? {
        Some(bytes) => check_version(&bytes, place),
        None => invalid("not an OCI layout: it has no file oci-layout".to_owned()),
    }
}

/// Checks the content of `oci-layout`.
pub(crate) fn check_version(marker: &[u8], place: &str) -> Result<()> {
    let invalid = |reason: String| Err(Error::invalid(OPERATION, place, reason));
    let marker: Value = match serde_json::from_slice(marker) {
        Ok(marker) => marker,
        Err(error) => return invalid(format!("not an OCI layout: file oci-layout is broken: {error}")),
    };
    match marker.get("imageLayoutVersion").and_then(Value::as_str) {
        Some(version) if version.split('.').next() == Some("1") => Ok(()),
        Some(version) => invalid(format!("imageLayoutVersion {version} is not supported, only 1.x is")),
        None => invalid("not an OCI layout: file oci-layout has no imageLayoutVersion".to_owned()),
    }
}

/// Whether a directory has nothing in it but what a writer of ours may have begun.
fn is_vacant(root: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        if name != super::INGEST && name != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_inside(
    root: &Path,
    name: &str,
    limit: u64,
    operation: &'static str,
    place: &str,
) -> Result<Option<Vec<u8>>> {
    let path = root.join(name);
    let Some((file, size)) = open_inside(root, &path, operation, place)? else { return Ok(None) };
    if size > limit {
        let reason = format!("{name} has {size} bytes, past the limit of {limit}");
        return Err(Error::refused(operation, place, reason));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    let filled = disk::read_at_most(&file, &mut bytes, 0)
        .map_err(|error| Error::io(operation, place, &path, error))?;
    bytes.truncate(filled);
    Ok(Some(bytes))
}

/// Opens a regular file whose real place is below `root`; nothing where it is missing.
fn open_inside(
    root: &Path,
    path: &Path,
    operation: &'static str,
    object: &str,
) -> Result<Option<(File, u64)>> {
    let io = |error| Error::io(operation, object, path, error);
    let real: PathBuf = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if !real.starts_with(fs::canonicalize(root).map_err(io)?) {
        let reason = format!("{} is a link that leads out of the layout", path.display());
        return Err(Error::refused(operation, object, reason));
    }
    // Before it is opened: opening a pipe waits for its other end.
    if !fs::metadata(&real).map_err(io)?.is_file() {
        let reason = format!("{} is not a regular file", path.display());
        return Err(Error::refused(operation, object, reason));
    }
    let file = File::open(&real).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    Ok(Some((file, size)))
}
