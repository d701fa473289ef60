//! Reading a cache: its manifest, and the one blob that says what it knows.

use std::collections::HashMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lazyblob_cache::layer::{Algorithm, LayerType};
use lazyblob_cache::record::LayerBlob;
use lazyblob_remote::buildcache::{self, Config, MAX_CONFIG};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::transfer::{Blob, Settings};
use lazyblob_remote::{Access, Descriptor, Digest, Manifest, Source, media};
use serde::Deserialize;

use crate::error::{Error, Result};

/// More images than this in one index are absurd.
const MAX_IMAGES: usize = 1000;

/// What one config knows, and the layers that its manifest has.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) config: Config,
    /// Of each layer of the config what is known of its blob; nothing where the manifest does not have it.
    pub(super) layers: Vec<Option<Described>>,
}

/// A layer as a manifest describes it.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) blob: LayerBlob,
    pub(super) description: Option<String>,
    pub(super) created_at: Option<SystemTime>,
}

/// Reads what is called `name`: a cache, an image with its own, or an index of such. Nothing where there is no such thing,
/// or where it has no cache.
pub(super) async fn read(
    source: &dyn Source,
    name: &Name,
    settings: &Settings,
    access: &Access,
) -> Result<Vec<Part>> {
    let reader = Reader { source, settings, access };
    let root = match source.manifest(name).await {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        manifest => manifest?,
    };
    if root.is_build_cache() {
        return Ok(vec![reader.cache(&root).await?]);
    }
    let images = if root.is_index() { reader.images(&root).await? } else { vec![root] };
    let mut parts = Vec::new();
    for image in images {
        parts.extend(reader.inline(&image).await?);
    }
    Ok(parts)
}

struct Reader<'a> {
    source: &'a dyn Source,
    settings: &'a Settings,
    access: &'a Access,
}

/// What of an image's config concerns its cache.
#[derive(Deserialize)]
struct ImageConfig {
    #[serde(default, rename = "moby.buildkit.cache.v0")]
    cache: Option<String>,
    #[serde(default)]
    rootfs: Option<RootFs>,
    #[serde(default)]
    history: Option<Vec<Step>>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    created_by: Option<String>,
    #[serde(default)]
    empty_layer: bool,
}

impl Reader<'_> {
    async fn blob(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        let blob =
            Blob::new(blob.clone(), &[self.source.blobs()], self.settings.clone(), self.access.clone());
        Ok(blob.read_whole(MAX_CONFIG).await?.into())
    }

    /// A cache in either form.
    async fn cache(&self, root: &Manifest) -> Result<Part> {
        let is_config =
            |child: &&Descriptor| media::bare(child.media_type().as_ref()) == media::BUILDKIT_CACHE;
        let children = || root.config().into_iter().chain(root.layers()).chain(root.entries());
        let object = format!("{} from {}", root.digest(), self.source.origin());
        let config = children().find(is_config);
        let config = config.ok_or_else(|| Error::failed("read build cache", &object, "it has no config"))?;
        let bytes = self.blob(config).await?;
        let config = parsed(move || Config::parse(&bytes, &object)).await?;
        let mut by_digest: HashMap<&Digest, Option<Described>> = HashMap::new();
        for child in children().filter(|child| !is_config(child)) {
            by_digest.entry(child.digest()).or_insert_with(|| described(child));
        }
        let layers = config.layers.iter().map(|layer| by_digest.get(&layer.blob).cloned().flatten());
        Ok(Part { layers: layers.collect(), config })
    }

    /// The images of an index. Those that cannot be had are left out: an index may be sparse.
    async fn images(&self, root: &Manifest) -> Result<Vec<Manifest>> {
        let children = root.child_manifests();
        if children.len() > MAX_IMAGES {
            let reason = format!("its index names more than {MAX_IMAGES} images");
            return Err(Error::failed("read build cache", root.digest(), reason));
        }
        let mut images = Vec::new();
        for child in children {
            match self.source.manifest(&Name::Digest(child.digest().clone())).await {
                Err(error) if error.is_not_found() => {}
                Ok(image) if image.is_index() => {}
                image => images.push(image?),
            }
        }
        Ok(images)
    }

    /// The cache that an image has of its own.
    async fn inline(&self, image: &Manifest) -> Result<Option<Part>> {
        let Some(config) = image.config() else { return Ok(None) };
        // Attestations and artifacts have none.
        if !matches!(media::bare(config.media_type().as_ref()), media::OCI_CONFIG | media::DOCKER_CONFIG) {
            return Ok(None);
        }
        let bytes = self.blob(config).await?;
        let object = format!("{} from {}", config.digest(), self.source.origin());
        let layers = image.layers().to_vec();
        parsed(move || inline(&bytes, &layers, &object)).await
    }
}

/// A config of tens of megabytes takes a while.
async fn parsed<T: Send + 'static>(
    parse: impl FnOnce() -> lazyblob_remote::Result<T> + Send + 'static,
) -> Result<T> {
    let parsed = tokio::task::spawn_blocking(parse).await;
    Ok(parsed.map_err(|error| Error::failed("read build cache", "its config", error))??)
}

/// The records of an image's config, if it has some.
fn inline(config: &[u8], layers: &[Descriptor], object: &str) -> lazyblob_remote::Result<Option<Part>> {
    let invalid = |error: String| lazyblob_remote::Error::invalid("read build cache", object, error);
    let config: ImageConfig = serde_json::from_slice(config).map_err(|error| invalid(error.to_string()))?;
    let Some(cache) = config.cache.filter(|cache| !cache.is_empty()) else { return Ok(None) };
    let records = STANDARD.decode(cache).map_err(|error| invalid(error.to_string()))?;
    let blobs: Vec<Digest> = layers.iter().map(|layer| layer.digest().clone()).collect();
    let cache = Config::parse_inline(&records, &blobs, object)?;
    let diff_ids = config.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
    // A history may be shorter than the layers, or not be there at all.
    let mut steps = config.history.unwrap_or_default().into_iter().filter(|step| !step.empty_layer);
    let described = layers.iter().enumerate().map(|(at, layer)| {
        let step = steps.next();
        let created_at = step.as_ref().and_then(|step| buildcache::parse_time(step.created.as_deref()?));
        let blob = LayerBlob { descriptor: bare(layer), diff_id: diff_ids.get(at)?.clone() };
        LayerType::parse(layer.media_type().as_ref())?;
        Some(Described { blob, description: step.and_then(|step| step.created_by), created_at })
    });
    Ok(Some(Part { layers: described.collect(), config: cache }))
}

/// What a cache's manifest says of a layer; nothing for what cannot be unpacked.
fn described(layer: &Descriptor) -> Option<Described> {
    let annotation = |name: &str| layer.annotations().as_ref()?.get(name).cloned();
    let kind = LayerType::parse(layer.media_type().as_ref())?;
    let diff_id = match annotation(buildcache::UNCOMPRESSED) {
        Some(diff_id) => diff_id.parse().ok()?,
        None if kind.algorithm == Algorithm::None => layer.digest().clone(),
        None => return None,
    };
    Some(Described {
        blob: LayerBlob { descriptor: bare(layer), diff_id },
        description: annotation(buildcache::DESCRIPTION),
        created_at: annotation(buildcache::CREATED_AT).and_then(|at| buildcache::parse_time(&at)),
    })
}

/// The descriptor as it is kept: what says when the layer was made and by what stays, so that it is exported the same again.
fn bare(layer: &Descriptor) -> Descriptor {
    const KEPT: [&str; 2] = [buildcache::CREATED_AT, buildcache::DESCRIPTION];
    let mut kept = Descriptor::new(layer.media_type().clone(), layer.size(), layer.digest().clone());
    kept.set_urls(layer.urls().clone());
    let annotations: HashMap<String, String> = layer
        .annotations()
        .iter()
        .flatten()
        .filter(|(name, _)| KEPT.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !annotations.is_empty() {
        kept.set_annotations(Some(annotations));
    }
    kept
}
