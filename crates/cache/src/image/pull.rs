//! Bringing an image's name here: its manifest and its config, and no layer.

use std::sync::Arc;

use lazyblob_remote::copy::Platform;
use lazyblob_remote::endpoint::{Name, Source, Target};
use lazyblob_remote::provider::Origin;
use lazyblob_remote::{Access, Manifest, Reference};
use oci_spec::image::Digest;

use super::open::Image;
use crate::error::Result;
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
        let layout = self.store().layout();
        let before = match self.named(&pull.reference).await {
            Ok(digest) => Some(digest),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let root = self.root_of(&pull, before.as_ref()).await?;
        let platform = pull.platform.clone().unwrap_or_else(Platform::host);
        let find = |index: &Manifest| Ok(platform.find(index)?.digest().clone());
        let (manifests, mut pins) = self.below(root.clone(), &pull.reference, &*pull.source, find).await?;
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

    pub(crate) fn pin_blob(&self, digest: &Digest) -> Result<Pinned> {
        let pinned = self.root().live().pin(&[Pin::Blob(digest.clone())])?;
        // Until now another process may have removed it.
        self.store().lost(digest);
        Ok(pinned)
    }
}

/// Whether `origin` is a place that a later run finds again.
pub(super) fn is_remote(origin: &Origin) -> bool {
    origin.host.contains(['.', ':']) || origin.host == "localhost"
}
