//! Finding out what an image is: its manifests and its config, and no layer. It gets no name here.

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use lazyblob_remote::copy::Platform;
use lazyblob_remote::endpoint::{Name, Source, Target};
use lazyblob_remote::provider::Origin;
use lazyblob_remote::verify::Verifier;
use lazyblob_remote::{Access, Manifest, Provider, Reference};
use oci_spec::image::{Descriptor, Digest};

use super::MAX_DEPTH;
use super::config::{Config, MAX_CONFIG};
use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result, What};
use crate::manager::{Manager, NewLayer};
use crate::record::LayerBlob;
use crate::root::Pinned;

/// An image somebody wants to know.
#[derive(Clone, Debug)]
pub struct Resolve {
    /// What people call it.
    pub reference: Reference,
    /// Where it is.
    pub source: Arc<dyn Source>,
    /// What it is called there.
    pub name: Name,
    /// Platforms that would do, the best first: of an index the first that it has is taken.
    pub platforms: Vec<Platform>,
}

/// An image that is known. As long as it lives, its manifests and its config are not pruned, in any process.
#[derive(Debug)]
pub struct Resolved {
    /// What people call it.
    pub reference: Reference,
    /// What the name stands for: an index, where there are several platforms.
    pub root: Manifest,
    /// The manifest of one platform.
    pub manifest: Manifest,
    /// The bytes of its config.
    pub config: Bytes,
    /// Its layers, the bottom one first.
    pub layers: Vec<LayerBlob>,
    /// Where it was found.
    pub origin: Origin,
    /// From the root to the manifest.
    manifests: Vec<Manifest>,
    _pins: Vec<Pinned>,
}

impl Manager {
    /// Brings an image's manifests and its config here. No layer is pulled: two requests, three through an index. What a
    /// digest names is taken from here, without any request, if the repository it is asked for in is known to have had it;
    /// that another repository has it says nothing about this one.
    ///
    /// # Errors
    /// Those of the source; [`Error::Invalid`] for what is no image of files, and for a config that does not fit its
    /// manifest; [`Error::NotFound`] for platforms that the image does not have, naming those it has.
    pub async fn resolve_image(&self, ask: &Resolve, access: &Access) -> Result<Resolved> {
        let root = self.root_to_resolve(ask).await?;
        self.resolve_from(root, ask, access).await
    }

    /// The image that `ask` is about, below the `root` that its name stands for.
    pub(super) async fn resolve_from(
        &self,
        root: Manifest,
        ask: &Resolve,
        access: &Access,
    ) -> Result<Resolved> {
        let find = |index: &Manifest| find(&ask.platforms, index);
        let (manifests, mut pins) = self.below(root, &ask.reference, &*ask.source, find).await?;
        let (Some(root), Some(manifest)) = (manifests.first().cloned(), manifests.last().cloned()) else {
            return Err(Error::not_found("resolve", &ask.reference, "it has no manifest"));
        };
        let files = manifest.config().filter(|_| Config::belongs_to(&manifest));
        let Some(config) = files.cloned() else {
            let reason = format!("it is no image of files: {}", kind_of(&manifest));
            return Err(Error::invalid("resolve", &ask.reference, reason));
        };
        pins.push(self.pin_blob(config.digest())?);
        self.bring_config(&config, vec![ask.source.blobs()], access).await?;
        let bytes = self.config_bytes(&config).await?;
        let layers = Config::parse(&bytes, config.digest())?.layers(&manifest)?;
        let origin = ask.source.origin();
        if super::pull::is_remote(&origin) {
            let mut seen: Vec<Digest> = manifests.iter().map(|manifest| manifest.digest().clone()).collect();
            seen.push(config.digest().clone());
            self.saw(seen, origin.clone()).await?;
        }
        let resolved = Resolved {
            reference: ask.reference.clone(),
            root,
            manifest,
            config: bytes,
            layers,
            origin,
            manifests,
            _pins: pins,
        };
        self.keep_resolved(&resolved).await?;
        Ok(resolved)
    }

    /// Has the manifests and the config of `image` here, if somebody has removed them since it was resolved. Sends no
    /// request.
    ///
    /// # Errors
    /// [`Error::Io`]; those of the store.
    pub async fn keep_resolved(&self, image: &Resolved) -> Result<()> {
        if let Some(config) = image.manifest.config()
            && !self.store().holds(config).await?
        {
            self.store().put(config, image.config.clone()).await?;
        }
        // What is below first: a manifest that is here never lacks its children for long.
        for manifest in image.manifests.iter().rev() {
            if !self.store().holds(manifest.descriptor()).await? {
                let name = Name::Digest(manifest.digest().clone());
                self.store().layout().put_manifest(manifest, &name).await?;
                self.store().stored(manifest.descriptor());
            }
        }
        Ok(())
    }

    /// What is asked for, from here if that is as good.
    pub(super) async fn root_to_resolve(&self, ask: &Resolve) -> Result<Manifest> {
        let digest = match &ask.name {
            Name::Digest(digest) if self.was_there(digest, &*ask.source).await? => digest.clone(),
            // Where GETs are metered and a HEAD is not, that settles what the tag stands for.
            name if ask.source.meters_gets() => ask.source.resolve(name).await?,
            name => return Ok(ask.source.manifest(name).await?),
        };
        let name = Name::Digest(digest);
        match Source::manifest(self.store().layout(), &name).await {
            Ok(manifest) => Ok(manifest),
            Err(error) if error.is_not_found() => Ok(ask.source.manifest(&name).await?),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether `source` is known to have had `digest`.
    async fn was_there(&self, digest: &Digest, source: &dyn Source) -> Result<bool> {
        Ok(self.seen_at(digest).await?.contains(&source.origin()))
    }

    /// The manifests from `root` to that of one platform, each pinned, from here or from `source`. `find` chooses of an
    /// index; one that is no index of manifests is the last.
    pub(super) async fn below(
        &self,
        root: Manifest,
        reference: &Reference,
        source: &dyn Source,
        find: impl Fn(&Manifest) -> Result<Digest>,
    ) -> Result<(Vec<Manifest>, Vec<Pinned>)> {
        let mut pins = vec![self.pin_blob(root.digest())?];
        let mut manifests = vec![root];
        while let Some(index) = manifests.last().filter(|manifest| manifest.is_index()) {
            if manifests.len() >= MAX_DEPTH {
                let reason = format!("indexes are nested deeper than {MAX_DEPTH}");
                return Err(Error::refused("pull", reference, reason));
            }
            // Not every index is one of platforms: a build cache has layers in the place of manifests.
            if index.child_manifests().is_empty() {
                break;
            }
            let child = find(index)?;
            pins.push(self.pin_blob(&child)?);
            let here = Source::manifest(self.store().layout(), &Name::Digest(child.clone())).await;
            let child = match here {
                Ok(child) => child,
                Err(error) if error.is_not_found() => source.manifest(&Name::Digest(child)).await?,
                Err(error) => return Err(error.into()),
            };
            manifests.push(child);
        }
        Ok((manifests, pins))
    }

    /// Brings a config here, one of a size that is read.
    pub(super) async fn bring_config(
        &self,
        config: &Descriptor,
        sources: Vec<Arc<dyn Provider>>,
        access: &Access,
    ) -> Result<()> {
        if config.size() > MAX_CONFIG {
            let reason = format!("its config has {} bytes, past the limit of {MAX_CONFIG}", config.size());
            return Err(Error::refused("pull config", config.digest(), reason));
        }
        if !self.store().holds(config).await? {
            self.bring(config, sources, 0, access).await?;
        }
        Ok(())
    }

    /// What `config` says.
    pub(crate) async fn read_config(&self, config: &Descriptor) -> Result<Config> {
        Config::parse(&self.config_bytes(config).await?, config.digest())
    }

    /// The bytes of a config that is here, verified.
    async fn config_bytes(&self, config: &Descriptor) -> Result<Bytes> {
        let (store, config) = (self.store().clone(), config.clone());
        let what = What::new("read config", config.digest());
        blocking(|| what.clone(), {
            let what = what.clone();
            move || {
                let mut bytes = Vec::new();
                let read = store.open_file(&config)?.take(MAX_CONFIG).read_to_end(&mut bytes);
                read.during("read config", config.digest(), &store.path(config.digest())?)?;
                let mut verifier = Verifier::new(&config)?;
                let verified = verifier.update(&bytes).and_then(|()| verifier.finish());
                verified.map_err(|mismatch| Error::Integrity { what, mismatch })?;
                Ok(bytes.into())
            }
        })
        .await
    }
}

impl Resolved {
    /// Its layers as new ones, so many from the bottom, with where they can be had again.
    #[must_use]
    pub fn new_layers(&self, limit: Option<usize>) -> Vec<NewLayer> {
        let sources = Some(&self.origin).filter(|origin| super::pull::is_remote(origin));
        let sources: Vec<_> = sources.cloned().map(Into::into).into_iter().collect();
        let layers = self.layers.iter().take(limit.unwrap_or(usize::MAX));
        layers.map(|blob| NewLayer { blob: blob.clone(), sources: sources.clone() }).collect()
    }
}

/// The first of `platforms` that `index` has.
fn find(platforms: &[Platform], index: &Manifest) -> Result<Digest> {
    let mut missing = None;
    for platform in platforms {
        match platform.find(index) {
            Ok(entry) => return Ok(entry.digest().clone()),
            Err(error) => missing = missing.or(Some(error)),
        }
    }
    let none = || Error::invalid("resolve", index.digest(), "no platform was asked for");
    Err(missing.map_or_else(none, Error::from))
}

/// What `manifest` says it is of.
fn kind_of(manifest: &Manifest) -> &str {
    manifest.artifact_type().unwrap_or_else(|| manifest.media_type())
}
