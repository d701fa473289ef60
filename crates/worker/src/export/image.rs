//! An image made of results: manifests and configs in memory, layers wherever they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lazyblob_cache::layer::Family;
use lazyblob_cache::unlazy::LazyProvider;
use lazyblob_remote::{Access, Descriptor, Digest, Manifest, media};
use serde_json::{Value, json};

use super::base::Part;
use super::config::ConfigOf;
use super::layers::{Layers, described, layers, shown};
use super::manifest::{annotations, index, manifest};
use super::options::{ImageOptions, Place};
use crate::error::{Error, Result};
use crate::image::BaseImage;
use crate::llb::pb::Platform;
use crate::worker::Worker;

/// An image that is made and has not gone anywhere yet. As long as it lives, nothing of it is pruned.
#[derive(Clone, Debug)]
pub struct ImageExport(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) root: Manifest,
    pub(super) parts: Vec<Made>,
}

/// The image of one platform.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) platform: Platform,
    pub(super) manifest: Manifest,
    pub(super) config: Descriptor,
    pub(super) config_bytes: Bytes,
    /// Reads the layers; nothing if there are none.
    pub(super) layers: Option<LazyProvider>,
    pub(super) tree: Option<lazyblob_cache::ImmutableRef>,
}

/// Makes an image of the results of a build, one for each platform: blobs of layers that have none, configs, manifests,
/// and an index where there are several. Reads nothing that is not to be changed.
///
/// A result that is its base, with nothing said that would change it, is that image: its manifest is used as it is.
///
/// # Errors
/// [`Error::Failed`] for a config that is none, annotations that have no place, and no results;
/// [`Error::Cache`] where blobs that are to be read are gone: the cause says which. Those of
/// [`ImmutableRef::make_blobs`](lazyblob_cache::ImmutableRef::make_blobs).
pub async fn image(
    worker: &Worker,
    parts: &[Part],
    options: &ImageOptions,
    access: &Access,
) -> Result<ImageExport> {
    let failed = |reason: &str| Err(Error::failed("export", "image", reason));
    if parts.is_empty() {
        return failed("there is no result");
    }
    let of_index = |place: Place| options.annotations.iter().any(|annotation| annotation.place == place);
    if parts.len() == 1 && of_index(Place::Index) {
        return failed("it is of one platform and has no index to annotate");
    }
    if options.rewrite_timestamp && options.epoch.is_none() {
        return failed("times are to be rewritten, and no SOURCE_DATE_EPOCH says to what");
    }
    let mut made = Vec::with_capacity(parts.len());
    for part in parts {
        made.push(Made::of(worker, part, options, access).await?);
    }
    let root = match made.as_slice() {
        [one] => one.manifest.clone(),
        several => {
            let family = options.family.unwrap_or(Family::Oci);
            let manifests: Vec<_> = several.iter().map(|made| (&made.platform, &made.manifest)).collect();
            index(family, &manifests, &options.annotations)?
        }
    };
    Ok(ImageExport(Arc::new(Inner { root, parts: made })))
}

impl Made {
    async fn of(worker: &Worker, part: &Part, options: &ImageOptions, access: &Access) -> Result<Self> {
        let layers = layers(worker, part, options, access).await?;
        let cache = match &part.inline_cache {
            Some(cache) => cache.of_layers(&layers.named()).await?,
            None => None,
        };
        let provider = match &layers.tree {
            Some(tree) => Some(tree.remote(access)?.provider),
            None => None,
        };
        let platform = part.platform.clone();
        let said = annotations(&options.annotations, Place::Manifest, Some(&platform));
        if let Some(base) = unchanged(part, options, &layers)
            && cache.is_none()
            && said.is_empty()
            && let Some(config) = base.manifest().config()
        {
            return Ok(Self {
                platform,
                manifest: base.manifest().clone(),
                config: config.clone(),
                config_bytes: base.config().clone(),
                layers: provider,
                tree: layers.tree,
            });
        }
        let family = options.family.unwrap_or(Family::Oci);
        let (given, known) = match (&part.config, &part.base) {
            (Some(config), _) => (Some(config), None),
            // Where the result has other layers, the base's history is of another image.
            (None, Some(base)) => {
                let below = base.layers().len();
                (Some(base.config()), Some(if layers.of_base == below { below } else { 0 }))
            }
            (None, None) => (None, None),
        };
        let config_bytes = ConfigOf {
            given: given.map(AsRef::as_ref),
            known,
            platform: &platform,
            layers: &layers.diff_ids,
            epoch: options.epoch,
            inline_cache: cache.as_deref(),
        }
        .make()?;
        let shown: Vec<_> =
            layers.blobs.iter().map(|blob| shown(blob, family, options.prefer_nondist_layers)).collect();
        let manifest = manifest(family, &config_bytes, &shown, &said)?;
        let config = manifest.config().cloned();
        let config = config.ok_or_else(|| Error::failed("export", "image", "it has no config"))?;
        Ok(Self { platform, manifest, config, config_bytes, layers: provider, tree: layers.tree })
    }
}

/// The base of a result that is that image still, if nothing is said that would make it another.
fn unchanged<'a>(part: &'a Part, options: &ImageOptions, layers: &Layers) -> Option<&'a BaseImage> {
    let base = part.base.as_ref()?;
    let family = match media::bare(base.manifest().media_type()) {
        media::OCI_MANIFEST => Family::Oci,
        media::DOCKER_MANIFEST => Family::Docker,
        _ => return None,
    };
    let digests =
        |layers: &[Descriptor]| layers.iter().map(|layer| layer.digest().clone()).collect::<Vec<_>>();
    let stays = options.epoch.is_none()
        && options.family.is_none_or(|wanted| wanted == family)
        && part.config.as_ref().is_none_or(|config| config == base.config())
        && digests(&layers.blobs) == digests(base.manifest().layers())
        && (options.prefer_nondist_layers || !has_foreign(base.manifest()));
    stays.then_some(base)
}

fn has_foreign(manifest: &Manifest) -> bool {
    manifest.layers().iter().any(|layer| media::is_foreign(layer.media_type().as_ref()))
}

impl ImageExport {
    /// The manifest of the image: an index where there are several platforms.
    #[must_use]
    pub fn root(&self) -> &Manifest {
        &self.0.root
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        self.0.root.digest()
    }

    /// What is told of it: `containerimage.digest`, `containerimage.descriptor` and, for one platform,
    /// `containerimage.config.digest`, as BuildKit's metadata files have them.
    #[must_use]
    pub fn response(&self) -> BTreeMap<String, Value> {
        let mut response = BTreeMap::from([
            ("containerimage.digest".to_owned(), json!(self.digest())),
            ("containerimage.descriptor".to_owned(), described(self.0.root.descriptor())),
        ]);
        if let [one] = self.0.parts.as_slice() {
            response.insert("containerimage.config.digest".to_owned(), json!(one.config.digest()));
        }
        response
    }

    /// The digests of all layers of all platforms, each once.
    pub(super) fn layers(&self) -> Vec<Digest> {
        let mut layers: Vec<Digest> = Vec::new();
        for layer in self.0.parts.iter().flat_map(|part| part.manifest.layers()) {
            if !layers.contains(layer.digest()) {
                layers.push(layer.digest().clone());
            }
        }
        layers
    }
}
