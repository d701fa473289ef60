//! An image of the store, opened: its manifests, its config, and a handle on its top layer.

use std::collections::HashMap;
use std::sync::Arc;

use lazyblob_remote::copy::Platform;
use lazyblob_remote::endpoint::{Name, Source};
use lazyblob_remote::provider::Origin;
use lazyblob_remote::{Access, Manifest, Reference};
use oci_spec::image::Digest;

use super::MAX_DEPTH;
use super::config::Config;
use super::pull::is_remote;
use super::source::StoreSource;
use crate::error::{Error, Result};
use crate::handler::{DescHandler, DescHandlers};
use crate::manager::{GetOptions, Manager, NewLayer};
use crate::record::{self, LayerBlob, RecordType};
use crate::refs::ImmutableRef;
use crate::root::Pinned;

/// An image by its name. As long as it lives, nothing of it is pruned, in any process.
#[derive(Debug)]
pub struct Image {
    /// What it is called here.
    pub reference: Reference,
    /// The manifest that has the name: an index, where there are several platforms.
    pub root: Manifest,
    /// The manifest of one platform.
    pub manifest: Manifest,
    /// Its config; nothing for what is no image of files.
    pub config: Option<Config>,
    /// Its layers, the bottom one first.
    pub layers: Vec<LayerBlob>,
    /// A handle on all of them; nothing where there are none.
    pub top: Option<ImmutableRef>,
    _pins: Vec<Pinned>,
}

impl Image {
    /// A handle on its layers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for something that registries keep and that has no file system.
    pub fn files(&self) -> Result<Option<&ImmutableRef>> {
        if self.config.is_none() {
            let reason = format!("it is no image of files: {}", self.manifest.media_type());
            return Err(Error::invalid("open", &self.reference, reason));
        }
        Ok(self.top.as_ref())
    }
}

impl Manager {
    /// Opens the image called `reference`, which is in the store. The manifest and config of a platform that are not here
    /// are fetched from where the image was seen; layers are not.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a name that is not here; otherwise as [`Manager::pull`].
    pub async fn open_image(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        access: &Access,
    ) -> Result<Image> {
        let source = StoreSource::new(self, reference, access, None).await?;
        let mut manifests = vec![Source::manifest(&source, &Name::Only).await?];
        let host = Platform::host();
        while let Some(index) = manifests.last().filter(|manifest| manifest.is_index()) {
            if index.child_manifests().is_empty() || manifests.len() > MAX_DEPTH {
                break;
            }
            let child = platform.unwrap_or(&host).find(index)?.digest().clone();
            manifests.push(Source::manifest(&source, &Name::Digest(child)).await?);
        }
        if let Some(config) = manifests.last().and_then(Manifest::config)
            && !self.store().holds(config).await?
        {
            // Not by way of what reads the image's blobs: that would bring it here itself, and wait for this.
            self.bring_config(config, source.sources(config.digest()).await?, access).await?;
        }
        self.image_of(reference, manifests, None, RecordType::Regular).await
    }

    /// The digest that has the name `reference` here.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn named(&self, reference: &Reference) -> Result<Digest> {
        let name = Name::Tag(reference.to_string());
        let found = Source::resolve(self.store().layout(), &name).await;
        found.map_err(|error| match error.is_not_found() {
            true => Error::not_found(
                "find image",
                format_args!("store:{reference}"),
                "there is no such name in the store",
            ),
            false => error.into(),
        })
    }

    /// Makes refs of the layers of the last of `manifests`, whose config is here. `source` has just been seen to have
    /// them.
    pub(super) async fn image_of(
        &self,
        reference: &Reference,
        manifests: Vec<Manifest>,
        source: Option<&Arc<dyn Source>>,
        record_type: RecordType,
    ) -> Result<Image> {
        let (Some(root), Some(manifest)) = (manifests.first().cloned(), manifests.last().cloned()) else {
            return Err(Error::not_found("open image", reference, "it has no manifest"));
        };
        let mut pins = Vec::new();
        for each in &manifests {
            pins.push(self.pin_blob(each.digest())?);
        }
        let config = match manifest.config().filter(|_| Config::belongs_to(&manifest)) {
            Some(config) => {
                pins.push(self.pin_blob(config.digest())?);
                Some(self.read_config(config).await?)
            }
            None => None,
        };
        let layers = config.as_ref().map(|config| config.layers(&manifest)).transpose()?.unwrap_or_default();
        let top = if layers.is_empty() {
            None
        } else {
            Some(self.layers_of(reference, &manifest, &layers, source, record_type).await?)
        };
        Ok(Image { reference: reference.clone(), root, manifest, config, layers, top, _pins: pins })
    }

    async fn layers_of(
        &self,
        reference: &Reference,
        manifest: &Manifest,
        layers: &[LayerBlob],
        source: Option<&Arc<dyn Source>>,
        record_type: RecordType,
    ) -> Result<ImmutableRef> {
        let seen = match source {
            Some(source) => vec![source.origin()],
            None => self.seen_at(manifest.digest()).await?,
        };
        let sources: Vec<record::Source> =
            seen.iter().filter(|origin| is_remote(origin)).cloned().map(record::Source::from).collect();
        // What was made here has been nowhere, but its layers may have been: where, their records say.
        let mut known = match seen.is_empty() {
            true => self.remembered(&layers.iter().map(digest_of).collect::<Vec<_>>()).await?,
            false => HashMap::new(),
        };
        // Where nothing is remembered its name may still say where it is. That is a guess, and not written down.
        let called = reference.repository();
        let called = Origin { host: called.host().to_owned(), repository: called.path().to_owned() };
        let place = seen.into_iter().next().unwrap_or(called);
        let handler = match source {
            _ if is_remote(&place) => Some(self.handler_at(place)),
            // A place that no later run finds again is good for as long as this handle lives.
            Some(source) => Some(DescHandler::of(source.blobs())),
            None => None,
        };
        let handler = handler.map(Arc::new);
        let handlers: DescHandlers = layers
            .iter()
            .map(digest_of)
            .filter_map(|layer| {
                let place = known.remove(&layer).and_then(|places| places.into_iter().next());
                let own = place.map(|place| Arc::new(self.handler_at(place)));
                Some((layer, own.or_else(|| handler.clone())?))
            })
            .collect();
        let new =
            layers.iter().map(|blob| NewLayer { blob: blob.clone(), sources: sources.clone() }).collect();
        let options = GetOptions {
            handlers,
            image_ref: Some(reference.to_string()),
            record_type,
            ..GetOptions::default()
        };
        self.import(new, None, options).await
    }
}

fn digest_of(layer: &LayerBlob) -> Digest {
    layer.descriptor.digest().clone()
}
