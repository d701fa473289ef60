//! Writing a layout directory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use oci_spec::image::{Descriptor, Digest};

use super::catalog::{self, Catalog};
use super::disk;
use super::held::Held;
use super::index::{Index, check_tag};
use super::read::read_index;
use super::{Ingests, Layout};
use crate::endpoint::{Mounted, Name, Target};
use crate::error::{Error, Result, What};
use crate::manifest::Manifest;
use crate::provider::{Origin, Provider};
use crate::transfer::Blob;

/// image-spec "oci-layout file".
pub(crate) const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

#[async_trait]
impl Target for Layout {
    /// The digest of the manifest called `name` if it is here with everything it names.
    async fn resolve(&self, name: &Name) -> Result<Option<Digest>> {
        if !self.exists().await? {
            return Ok(None);
        }
        catalog::whole(self, name).await
    }

    async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.exists().await? && self.holds(blob.digest(), blob.size()).await?)
    }

    async fn mount(&self, _: &Descriptor, _: &Origin) -> Result<Mounted> {
        Ok(Mounted::No { session: None })
    }

    /// Stores the blob. One that is here in its full size stays as it is, and the source is not asked.
    async fn put_blob(&self, blob: &Blob, _: Option<String>) -> Result<()> {
        if self.has_blob(blob.descriptor()).await? {
            return Ok(());
        }
        self.prepare().await?;
        self.ingests().receive(blob).await.map(drop)
    }

    /// Stores the manifest. A tag and [`Name::Only`] make an entry in the index; a digest alone makes one only for a
    /// manifest with a subject, which nothing else here would name. Children may be missing.
    async fn put_manifest(&self, manifest: &Manifest, name: &Name) -> Result<()> {
        check_name(manifest, name, &Layout::place(self))?;
        self.prepare().await?;
        self.put_manifest_blob(manifest).await?;
        let entry = manifest.clone();
        match name {
            Name::Tag(tag) => {
                let tag = tag.clone();
                self.update_index(move |index| index.tag(&tag, &entry)).await
            }
            Name::Only => self.update_index(move |index| index.add_root(&entry)).await,
            Name::Digest(_) if manifest.subject().is_some() => {
                self.update_index(move |index| index.add_root(&entry)).await
            }
            Name::Digest(_) => Ok(()),
        }
    }

    async fn finish(&self) -> Result<()> {
        self.ingests().tidy().await
    }

    async fn hold(&self, blob: &Descriptor) -> Result<Option<Arc<dyn Provider>>> {
        let extent = self.extent(blob.digest()).await?;
        let held = |extent| Held { blob: blob.clone(), extent, origin: self.origin_of() };
        Ok(extent.map(|extent| Arc::new(held(extent)) as Arc<dyn Provider>))
    }

    fn origin(&self) -> Origin {
        self.origin_of()
    }
}

impl Layout {
    /// Whether there is an index yet.
    async fn exists(&self) -> Result<bool> {
        let index = self.root().join("index.json");
        disk::blocking(|| What::new("open layout", Layout::place(self)), move || index.exists()).await
    }

    /// Creates directory, `oci-layout` and `index.json` where they are missing.
    pub(super) async fn prepare(&self) -> Result<()> {
        let prepare = || async {
            let (root, ingests) = (self.root().to_owned(), self.ingests().clone());
            let what = || What::new("create layout", Layout::place(self));
            let prepared = disk::blocking(what, move || prepare(&root, &ingests)).await?;
            prepared.map_err(|error| Error::io("create layout", Layout::place(self), self.root(), error))
        };
        self.inner.prepared.get_or_try_init(prepare).await.copied()
    }

    /// Stores a manifest's bytes; a copy of the right size and with other content is replaced.
    async fn put_manifest_blob(&self, manifest: &Manifest) -> Result<()> {
        if self.holds(manifest.digest(), manifest.descriptor().size()).await?
            && self.bytes(manifest.digest()).await?.is_some_and(|bytes| bytes == manifest.bytes())
        {
            return Ok(());
        }
        self.ingests().store(manifest.descriptor(), manifest.bytes().clone()).await
    }

    /// Changes the index under the layout's lock, so that writers in several processes do not lose each other's tags.
    pub(super) async fn update_index(&self, change: impl FnOnce(&mut Index) + Send + 'static) -> Result<()> {
        let (root, ingests, place) = (self.root().to_owned(), self.ingests().clone(), Layout::place(self));
        let what = || What::new("write index.json", Layout::place(self));
        disk::blocking(what, move || update_index(&root, &ingests, &place, change)).await?
    }
}

/// A manifest put by digest must have it; a tag must be one.
pub(crate) fn check_name(manifest: &Manifest, name: &Name, place: &str) -> Result<()> {
    match name {
        Name::Tag(tag) => check_tag(tag, place),
        Name::Digest(digest) if digest != manifest.digest() => {
            let reason = format!("its digest is {}", manifest.digest());
            Err(Error::invalid("put manifest", format_args!("{place}@{digest}"), reason))
        }
        Name::Digest(_) | Name::Only => Ok(()),
    }
}

fn prepare(root: &Path, ingests: &Ingests) -> io::Result<()> {
    disk::create_dirs(root)?;
    let lock = File::open(root)?;
    lock.lock()?;
    // The marker first: what is killed in between is taken up by the next writer.
    for (name, content) in [("oci-layout", MARKER.to_vec()), ("index.json", Index::empty().to_bytes())] {
        if !root.join(name).try_exists()? {
            replace(&root.join(name), &content, ingests)?;
        }
    }
    disk::create_dirs(&root.join("blobs").join("sha256"))
}

fn update_index(root: &Path, ingests: &Ingests, place: &str, change: impl FnOnce(&mut Index)) -> Result<()> {
    const OPERATION: &str = "write index.json";
    let path = root.join("index.json");
    let io = |error| Error::io(OPERATION, place, &path, error);
    let lock = File::open(root).map_err(io)?;
    lock.lock().map_err(io)?;
    let before = read_index(root, place)?.unwrap_or_else(Index::empty);
    let mut after = before.clone();
    change(&mut after);
    if after == before {
        return Ok(());
    }
    replace(&path, &after.to_bytes(), ingests).map_err(io)
}

fn replace(path: &Path, content: &[u8], ingests: &Ingests) -> io::Result<()> {
    let temp = ingests.temporary("json-")?;
    temp.file().write_all_at(content, 0)?;
    temp.persist(path)
}
