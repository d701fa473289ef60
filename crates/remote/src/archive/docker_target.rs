//! Writing what `docker load` reads: one platform, layers uncompressed and named by diffID.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};
use tokio::sync::Semaphore;

use super::docker_layer::{self, layer_name};
use super::docker_manifest::{self, Item, MAX_DOCUMENT};
use super::writer::Writer;
use crate::endpoint::{Mounted, Name, Target};
use crate::error::{Error, Mismatch, Result, What};
use crate::manifest::Manifest;
use crate::media;
use crate::provider::Origin;
use crate::reference::Reference;
use crate::transfer::Blob;

/// A new `docker-archive`. The file appears at [`Target::finish`], replacing one of that name, and not before; dropped
/// earlier, it leaves nothing.
#[derive(Debug)]
pub struct DockerArchiveTarget {
    writer: Arc<Writer>,
    /// The size of a layer is known when it has been decompressed, so one is written at a time.
    layers_at_a_time: Arc<Semaphore>,
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    /// Configs by digest; they are small, and written at the end.
    configs: HashMap<Digest, Bytes>,
    /// The diffID of each layer put.
    diff_ids: HashMap<Digest, String>,
    images: Vec<Image>,
}

#[derive(Clone, Debug)]
struct Image {
    manifest: Digest,
    item: Item,
}

impl DockerArchiveTarget {
    /// Begins an archive that will be called `file`.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a directory to be in, [`Error::Invalid`] where it is one, [`Error::Io`].
    pub async fn create(file: impl Into<PathBuf>) -> Result<Self> {
        let path = file.into();
        let place = format!("docker-archive:{}", path.display());
        let writer = Writer::create(path, place).await?;
        let layers_at_a_time = Arc::new(Semaphore::new(1));
        Ok(Self { writer, layers_at_a_time, contents: Mutex::default() })
    }

    /// The name the archive will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.writer.target()
    }

    fn accepts_layer(&self, layer: &Descriptor) -> Result<()> {
        let kind = media::bare(layer.media_type().as_ref());
        if media::is_foreign(kind) {
            return Err(self.refusal(&format!("layer {} must not be distributed", layer.digest())));
        }
        if !is_layer(kind) {
            return Err(self.refusal(&format!("a docker-archive holds images only, this is {kind}")));
        }
        Ok(())
    }

    fn refusal(&self, reason: &str) -> Error {
        Error::invalid("write archive", self.writer.place(), reason)
    }

    async fn put_layer(&self, blob: &Blob) -> Result<()> {
        let digest = blob.descriptor().digest();
        let closed = |_| Error::Cancelled {
            what: What::new("write layer", format_args!("{digest} to {}", self.writer.place())),
        };
        let turn = Arc::clone(&self.layers_at_a_time).acquire_owned().await.map_err(closed)?;
        let known = {
            let contents = self.contents();
            if contents.diff_ids.contains_key(digest) {
                return Ok(());
            }
            contents.diff_ids.values().cloned().collect()
        };
        let (diff_id, turn) = docker_layer::add(&self.writer, blob, known, turn).await?;
        self.contents().diff_ids.insert(digest.clone(), diff_id);
        // Whoever waits for the same layer finds it now.
        drop(turn);
        Ok(())
    }

    /// The config and layers of a manifest as names in the archive, compared with each other.
    fn item(&self, manifest: &Manifest) -> Result<Item> {
        let place = self.writer.place();
        let object = format!("{} to {place}", manifest.digest());
        let missing = |blob: &Descriptor| {
            Error::invalid("put manifest", &object, format_args!("{} was not put before", blob.digest()))
        };
        let contents = self.contents();
        let config = manifest.config().ok_or_else(|| self.refusal("it has no config"))?;
        let bytes = contents.configs.get(config.digest()).ok_or_else(|| missing(config))?;
        let diff_ids = docker_manifest::diff_ids(bytes, &format!("{} for {place}", config.digest()))?;
        if diff_ids.len() != manifest.layers().len() {
            let reason =
                format!("its config has {} diffIDs for {} layers", diff_ids.len(), manifest.layers().len());
            return Err(Error::invalid("put manifest", object, reason));
        }
        let mut layers = Vec::new();
        for (layer, expected) in manifest.layers().iter().zip(diff_ids) {
            let actual = contents.diff_ids.get(layer.digest()).ok_or_else(|| missing(layer))?;
            if *actual != expected.as_ref() {
                let what = What::new("put manifest", format_args!("{object}, layer {}", layer.digest()));
                let mismatch = Mismatch::DiffId { expected: expected.to_string(), actual: actual.clone() };
                return Err(Error::Integrity { what, mismatch });
            }
            layers.push(layer_name(actual));
        }
        Ok(Item { config: config_name(config.digest()), repo_tags: Vec::new(), layers })
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing panics while it is held.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Target for DockerArchiveTarget {
    /// Only what was put here counts; a file that will be replaced is not looked at.
    async fn resolve(&self, name: &Name) -> Result<Option<Digest>> {
        let contents = self.contents();
        let mut images = contents.images.iter();
        let found = match name {
            Name::Tag(tag) => {
                let tag = repo_tag(tag, self.writer.place())?;
                images.find(|image| image.item.repo_tags.contains(&tag))
            }
            Name::Digest(digest) => images.find(|image| image.manifest == *digest),
            Name::Only => images.next().filter(|_| contents.images.len() == 1),
        };
        Ok(found.map(|image| image.manifest.clone()))
    }

    async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        let contents = self.contents();
        Ok(contents.diff_ids.contains_key(blob.digest()) || contents.configs.contains_key(blob.digest()))
    }

    async fn mount(&self, _: &Descriptor, _: &Origin) -> Result<Mounted> {
        Ok(Mounted::No { session: None })
    }

    /// Stores a config or a layer, whatever its compression; anything else is not part of an image.
    async fn put_blob(&self, blob: &Blob, _: Option<String>) -> Result<()> {
        self.writer.check_open()?;
        if is_config(blob.descriptor().media_type().as_ref()) {
            let bytes = blob.read_whole(MAX_DOCUMENT).await?;
            self.contents().configs.insert(blob.descriptor().digest().clone(), bytes);
            return Ok(());
        }
        self.accepts_layer(blob.descriptor())?;
        self.put_layer(blob).await
    }

    /// An index, a build cache, an artifact, and layers that must not be distributed are refused.
    fn accepts(&self, manifest: &Manifest) -> Result<()> {
        if manifest.is_build_cache() {
            return Err(self.refusal("a build cache cannot be in a docker-archive; use oci-archive"));
        }
        if manifest.is_index() {
            let reason = "a docker-archive holds one platform; choose it with --platform, or use oci-archive";
            return Err(self.refusal(reason));
        }
        let config = manifest.config().map(|config| config.media_type().as_ref()).unwrap_or_default();
        if !is_config(config) {
            return Err(self.refusal(&format!("a docker-archive holds images only, this is {config}")));
        }
        manifest.layers().iter().try_for_each(|layer| self.accepts_layer(layer))
    }

    /// Adds an image whose config and layers were put before. A tag is a reference, `latest` where it has no tag of its
    /// own; with [`Name::Only`] the image has no name.
    async fn put_manifest(&self, manifest: &Manifest, name: &Name) -> Result<()> {
        self.writer.check_open()?;
        self.accepts(manifest)?;
        let tag = match name {
            Name::Tag(tag) => Some(repo_tag(tag, self.writer.place())?),
            Name::Only => None,
            Name::Digest(_) => {
                let reason = "a docker-archive holds images by name, not parts of an index; choose one with --platform";
                return Err(self.refusal(reason));
            }
        };
        let item = self.item(manifest)?;
        let mut contents = self.contents();
        if let Some(tag) = &tag {
            for image in &mut contents.images {
                image.item.repo_tags.retain(|other| other != tag);
            }
        }
        let known = contents.images.iter().position(|image| image.manifest == *manifest.digest());
        let position = known.unwrap_or_else(|| {
            contents.images.push(Image { manifest: manifest.digest().clone(), item });
            contents.images.len() - 1
        });
        contents.images[position].item.repo_tags.extend(tag);
        Ok(())
    }

    async fn finish(&self) -> Result<()> {
        if self.writer.is_finished() {
            return Ok(());
        }
        let (items, configs) = {
            let contents = self.contents();
            let items: Vec<Item> = contents.images.iter().map(|image| image.item.clone()).collect();
            let used: HashSet<&str> = items.iter().map(|item| item.config.as_str()).collect();
            let configs = contents.configs.iter().map(|(digest, bytes)| (config_name(digest), bytes.clone()));
            let mut configs: Vec<_> = configs.filter(|(name, _)| used.contains(name.as_str())).collect();
            configs.sort_by(|(one, _), (other, _)| one.cmp(other));
            (items, configs)
        };
        if items.is_empty() {
            return Err(self.refusal("no image was put"));
        }
        let document = serde_json::to_vec(&items)
            .map_err(|error| Error::invalid("write archive", self.writer.place(), error))?;
        let finish = move |writer: &Writer| {
            for (name, bytes) in configs {
                writer.append(&name, &bytes)?;
            }
            writer.append(docker_manifest::NAME, &document)?;
            writer.finish()
        };
        self.writer.blocking(finish).await
    }

    fn origin(&self) -> Origin {
        Origin { host: "docker-archive".to_owned(), repository: self.path().display().to_string() }
    }
}

fn config_name(digest: &Digest) -> String {
    format!("{}.json", digest.digest())
}

fn is_config(media_type: &str) -> bool {
    matches!(media::bare(media_type), media::OCI_CONFIG | media::DOCKER_CONFIG)
}

fn is_layer(media_type: &str) -> bool {
    let known = ["application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"];
    known.iter().any(|known| {
        media_type.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '.']))
    })
}

/// A tag as docker's tools expect it: a repository and a tag.
fn repo_tag(tag: &str, place: &str) -> Result<String> {
    let reference: Reference = tag.parse()?;
    if reference.digest().is_some() {
        let reason = "an image in a docker-archive has a name and a tag, no digest";
        return Err(Error::invalid("tag", format_args!("{place}:{tag}"), reason));
    }
    let named = tag.rsplit('/').next().is_some_and(|last| last.contains(':'));
    Ok(if named { tag.to_owned() } else { format!("{tag}:{}", reference.identifier()) })
}
