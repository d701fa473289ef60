//! Bringing an image's name here: its manifest and its config, and no layer.

use std::io::Read as _;
use std::sync::Arc;

use lazyblob_remote::copy::Platform;
use lazyblob_remote::endpoint::{Name, Source, Target};
use lazyblob_remote::provider::Origin;
use lazyblob_remote::verify::Verifier;
use lazyblob_remote::{Access, Manifest, Provider, Reference};
use oci_spec::image::{Descriptor, Digest};

use super::MAX_DEPTH;
use super::config::{Config, MAX_CONFIG};
use super::open::Image;
use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result, What};
use crate::manager::Manager;
use crate::record::RecordType;
use crate::root::{Pin, Pinned};

/// An image to be pulled.
#[derive(Clone, Debug)]
pub struct Pull {
    /// What it is to be called here.
    pub reference: Reference,
    /// Where it is.
    pub source: Arc<dyn Source>,
    /// What it is called there.
    pub name: Name,
    /// The platform whose manifest and config are brought along; this machine's where nothing is said.
    pub platform: Option<Platform>,
    /// What its records are for.
    pub record_type: RecordType,
}

/// An image that has its name here.
#[derive(Debug)]
pub struct Pulled {
    /// The image, lazy as far as its layers are not here.
    pub image: Image,
    /// It had the name before.
    pub unchanged: bool,
}

impl Manager {
    /// Brings an image's manifest and config here, gives it its name, and makes refs of its layers. No layer is pulled: two
    /// requests, three through an index; one where nothing has changed.
    ///
    /// # Errors
    /// Those of the source; [`Error::Invalid`] for a config that does not fit the manifest; [`Error::NotFound`] for a
    /// platform that the image does not have, naming those it has.
    pub async fn pull(&self, pull: Pull, access: &Access) -> Result<Pulled> {
        let mut pins: Vec<Pinned> = Vec::new();
        let layout = self.store().layout();
        let before = match self.named(&pull.reference).await {
            Ok(digest) => Some(digest),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let root = self.root_of(&pull, before.as_ref()).await?;
        pins.push(self.pin_blob(root.digest())?);
        let platform = pull.platform.clone().unwrap_or_else(Platform::host);
        let mut manifests = vec![root.clone()];
        while let Some(index) = manifests.last().filter(|manifest| manifest.is_index()) {
            if manifests.len() >= MAX_DEPTH {
                let reason = format!("indexes are nested deeper than {MAX_DEPTH}");
                return Err(Error::refused("pull", &pull.reference, reason));
            }
            // Not every index is one of platforms: a build cache has layers in the place of manifests.
            if index.child_manifests().is_empty() {
                break;
            }
            let child = platform.find(index)?.digest().clone();
            pins.push(self.pin_blob(&child)?);
            let here = Source::manifest(layout, &Name::Digest(child.clone())).await;
            let child = match here {
                Ok(child) => child,
                Err(error) if error.is_not_found() => pull.source.manifest(&Name::Digest(child)).await?,
                Err(error) => return Err(error.into()),
            };
            manifests.push(child);
        }
        let origin = pull.source.origin();
        let mut seen: Vec<Digest> = manifests.iter().map(|manifest| manifest.digest().clone()).collect();
        if let Some(config) = manifests.last().and_then(Manifest::config).cloned() {
            pins.push(self.pin_blob(config.digest())?);
            self.bring_config(&config, vec![pull.source.blobs()], access).await?;
            seen.push(config.digest().clone());
        }
        for child in manifests.iter().skip(1).rev() {
            layout.put_manifest(child, &Name::Digest(child.digest().clone())).await?;
        }
        // Hints and records first: a name never speaks of what nobody knows how to get.
        if is_remote(&origin) {
            self.saw(seen, origin.clone()).await?;
        }
        layout.put_manifest(&root, &Name::Digest(root.digest().clone())).await?;
        let opened = self.image_of(&pull.reference, manifests, Some(&pull.source), pull.record_type).await?;
        let unchanged = before.as_ref() == Some(root.digest());
        if !unchanged {
            layout.put_manifest(&root, &Name::Tag(pull.reference.to_string())).await?;
        }
        drop(pins);
        Ok(Pulled { image: opened, unchanged })
    }

    /// The manifest to have the name. Where GETs are metered and the name is here, a HEAD may settle it.
    async fn root_of(&self, pull: &Pull, before: Option<&Digest>) -> Result<Manifest> {
        let here = |digest: &Digest| {
            let name = Name::Digest(digest.clone());
            async move { Source::manifest(self.store().layout(), &name).await.ok() }
        };
        // What a digest names does not change, and need not be asked for.
        if let Name::Digest(digest) = &pull.name
            && let Some(manifest) = here(digest).await
        {
            return Ok(manifest);
        }
        if let Some(before) = before
            && pull.source.meters_gets()
            && pull.source.resolve(&pull.name).await? == *before
            && let Some(manifest) = here(before).await
        {
            return Ok(manifest);
        }
        Ok(pull.source.manifest(&pull.name).await?)
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

    pub(crate) fn pin_blob(&self, digest: &Digest) -> Result<Pinned> {
        let pinned = self.root().live().pin(&[Pin::Blob(digest.clone())])?;
        // Until now another process may have removed it.
        self.store().lost(digest);
        Ok(pinned)
    }

    /// What `config` says.
    pub(crate) async fn read_config(&self, config: &Descriptor) -> Result<Config> {
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
                Config::parse(&bytes, config.digest())
            }
        })
        .await
    }
}

/// Whether `origin` is a place that a later run finds again.
pub(super) fn is_remote(origin: &Origin) -> bool {
    origin.host.contains(['.', ':']) || origin.host == "localhost"
}
