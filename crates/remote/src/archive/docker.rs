//! Reading what `docker save` and its like write.
//!
//! The archive has no image manifest, only a config and layers. One is made from them, the same bytes each time: layers
//! are as they lie in the archive, named by diffID where they are plain, hashed once where they are compressed.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::StreamExt;
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::docker_manifest::{self, Item, MAX_DOCUMENT};
use super::entries::{Entries, clean};
use super::oci::document;
use crate::digest::{self, Hasher};
use crate::endpoint::{Name, Source};
use crate::error::{Error, Result, What};
use crate::layout::extent::Extent;
use crate::manifest::Manifest;
use crate::media;
use crate::provider::{BlobInfo, Origin, Provider};
use crate::verify::Unverified;

const OPERATION: &str = "open archive";

/// A docker-archive. Clones share the open file.
#[derive(Clone, Debug)]
pub struct DockerArchive {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    place: String,
    entries: Entries,
    items: Vec<Item>,
    /// Made when asked for: compressed layers must be hashed.
    images: Vec<OnceCell<Image>>,
}

/// The manifest made for an image, and where its blobs are.
#[derive(Debug)]
struct Image {
    manifest: Manifest,
    blobs: HashMap<Digest, Extent>,
}

impl DockerArchive {
    /// Opens an archive: one pass over its headers, and `manifest.json`.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a file, [`Error::Invalid`] where it is no docker-archive, [`Error::Refused`] for
    /// names and links that lead out of it, [`Error::Io`].
    pub async fn open(file: impl Into<PathBuf>) -> Result<Self> {
        let path = file.into();
        let place = format!("docker-archive:{}", path.display());
        let entries = Entries::read(&path, &place).await?;
        let document = document(&entries, docker_manifest::NAME, MAX_DOCUMENT, &place).await?;
        let items: Vec<Item> = serde_json::from_slice(&document).map_err(|error| {
            Error::invalid(OPERATION, &place, format_args!("{} is broken: {error}", docker_manifest::NAME))
        })?;
        let images = items.iter().map(|_| OnceCell::new()).collect();
        Ok(Self { inner: Arc::new(Inner { path, place, entries, items, images }) })
    }

    /// The path of the archive.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The names of the images, as the archive spells them.
    #[must_use]
    pub fn tags(&self) -> Vec<&str> {
        self.inner.items.iter().flat_map(|item| &item.repo_tags).map(String::as_str).collect()
    }

    /// The image called `name`.
    async fn find(&self, name: &Name) -> Result<&Image> {
        let Inner { items, place, .. } = self.inner.as_ref();
        let found = match name {
            Name::Tag(tag) => docker_manifest::called(items, tag),
            Name::Only => (0..items.len()).collect(),
            Name::Digest(digest) => {
                for position in 0..items.len() {
                    let image = self.image(position).await?;
                    if image.manifest.digest() == digest {
                        return Ok(image);
                    }
                }
                Vec::new()
            }
        };
        let names = match self.tags() {
            tags if tags.is_empty() => "it has no names".to_owned(),
            tags => format!("it holds {}", tags.join(", ")),
        };
        match (found.as_slice(), name) {
            ([position], _) => self.image(*position).await,
            ([], Name::Only) => Err(Error::not_found("find image", place, "it holds no image")),
            ([], _) => Err(Error::not_found("find image", format_args!("{place}:{name}"), names)),
            (several, _) => {
                let reason = format!("{} images could be meant; {names}", several.len());
                Err(Error::invalid("find image", place, reason))
            }
        }
    }

    async fn image(&self, position: usize) -> Result<&Image> {
        let Inner { items, images, .. } = self.inner.as_ref();
        images[position].get_or_try_init(|| self.make(&items[position])).await
    }

    async fn make(&self, item: &Item) -> Result<Image> {
        let Inner { entries, place, .. } = self.inner.as_ref();
        let config = document(entries, &self.named(&item.config)?, MAX_DOCUMENT, place).await?;
        let diff_ids = docker_manifest::diff_ids(&config, place)?;
        if diff_ids.len() != item.layers.len() {
            let reason =
                format!("its config has {} diffIDs for {} layers", diff_ids.len(), item.layers.len());
            return Err(Error::invalid(OPERATION, place, reason));
        }
        let mut blobs = HashMap::new();
        let config_blob =
            Descriptor::new(media::OCI_CONFIG.into(), config.len() as u64, digest::sha256(&config));
        if let Some(extent) = entries.extent(&self.named(&item.config)?) {
            blobs.insert(config_blob.digest().clone(), extent);
        }
        let mut layers = Vec::new();
        for (name, diff_id) in item.layers.iter().zip(diff_ids) {
            let missing = || Error::invalid(OPERATION, place, format_args!("layer {name} is missing"));
            let extent = entries.extent(&self.named(name)?).ok_or_else(missing)?;
            let layer = self.layer(&extent, diff_id).await?;
            blobs.insert(layer.digest().clone(), extent);
            layers.push(layer);
        }
        let document = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config_blob, "layers": layers,
        });
        let manifest = Manifest::parse(document.to_string().into(), None, None, place)?;
        Ok(Image { manifest, blobs })
    }

    /// The descriptor of a layer as it lies in the archive.
    async fn layer(&self, extent: &Extent, diff_id: Digest) -> Result<Descriptor> {
        let what = || What::new("read layer", format_args!("{diff_id} from {}", self.inner.place));
        let mut first = Bytes::new();
        if extent.size >= 4 {
            let mut magic = extent.clone().stream(0..4, what());
            first = magic.next().await.transpose()?.unwrap_or_default();
        }
        let media_type = match first.as_ref() {
            [0x1f, 0x8b, ..] => media::OCI_LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => media::OCI_LAYER_ZSTD,
            _ => return Ok(Descriptor::new(media::OCI_LAYER.into(), extent.size, diff_id)),
        };
        let mut hasher = Hasher::Sha256(Sha256::new());
        let mut bytes = extent.clone().stream(0..extent.size, what());
        while let Some(chunk) = bytes.next().await {
            hasher.update(&chunk?);
        }
        let digest: Digest =
            hasher.finish().parse().map_err(|error| Error::invalid("read layer", &diff_id, error))?;
        Ok(Descriptor::new(MediaType::from(media_type), extent.size, digest))
    }

    /// A name out of `manifest.json` as the index of the archive has it.
    fn named(&self, name: &str) -> Result<String> {
        let refused = || {
            let reason = format!("{} leads out of the archive", name.escape_debug());
            Error::refused(OPERATION, &self.inner.place, reason)
        };
        let climbs = name.split('/').any(|part| part == "..");
        clean(name).filter(|_| !climbs).ok_or_else(refused)
    }

    async fn found(&self, blob: &Descriptor) -> Result<Extent> {
        let made = self.inner.images.iter().filter_map(OnceCell::get);
        for image in made {
            if let Some(extent) = image.blobs.get(blob.digest()) {
                return Ok(extent.clone());
            }
        }
        for position in 0..self.inner.items.len() {
            if let Some(extent) = self.image(position).await?.blobs.get(blob.digest()) {
                return Ok(extent.clone());
            }
        }
        let object = format!("{} from {}", blob.digest(), self.inner.place);
        Err(Error::not_found("read blob", object, "the archive does not hold it"))
    }

    fn origin_of(&self) -> Origin {
        Origin { host: "docker-archive".to_owned(), repository: self.path().display().to_string() }
    }
}

#[async_trait]
impl Source for DockerArchive {
    /// The manifest made for an image. A tag is `REPO:TAG` as the archive has it or as it would be spelled in full, or
    /// `TAG` alone where that names one image.
    async fn manifest(&self, name: &Name) -> Result<Manifest> {
        Ok(self.find(name).await?.manifest.clone())
    }

    async fn resolve(&self, name: &Name) -> Result<Digest> {
        Ok(self.find(name).await?.manifest.digest().clone())
    }

    fn blobs(&self) -> Arc<dyn Provider> {
        Arc::new(self.clone())
    }

    async fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn origin(&self) -> Origin {
        self.origin_of()
    }
}

#[async_trait]
impl Provider for DockerArchive {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        self.found(blob).await?.open(blob, range, &self.inner.place)
    }

    async fn info(&self, blob: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: Some(self.found(blob).await?.size) })
    }

    fn origin(&self) -> Origin {
        self.origin_of()
    }
}
