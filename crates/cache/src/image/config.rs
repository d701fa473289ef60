//! What concerns us of an image's config (image-spec config.md).

use lazyblob_remote::{Manifest, media};
use oci_spec::image::Digest;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::record::LayerBlob;

/// The largest config that is read, in bytes.
pub(crate) const MAX_CONFIG: u64 = 8 * 1024 * 1024;

/// Media types of configs that have a `rootfs`.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// An image's config, as far as it concerns layers.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The operating system, as in `linux`.
    #[serde(default)]
    pub os: String,
    /// The processor, as in `amd64`.
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    rootfs: Option<RootFs>,
}

#[derive(Clone, Debug, Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "nothing_is_none")]
    diff_ids: Vec<Digest>,
}

/// `null` is written for an image of no layers.
fn nothing_is_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    Ok(Option::<Vec<Digest>>::deserialize(deserializer)?.unwrap_or_default())
}

impl Config {
    /// Whether `manifest` is of an image with a root file system, and not of something else that registries keep.
    pub(crate) fn belongs_to(manifest: &Manifest) -> bool {
        let media_type = manifest.config().map(|config| config.media_type().to_string());
        media_type.is_some_and(|media_type| IMAGE_CONFIGS.contains(&media::bare(&media_type)))
    }

    pub(crate) fn parse(bytes: &[u8], digest: &Digest) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::invalid("read config", digest, format_args!("not an image's config: {error}"))
        })
    }

    /// The layers of `manifest`, each with what it uncompresses to.
    ///
    /// # Errors
    /// [`Error::Invalid`] where manifest and config speak of different numbers of layers.
    pub fn layers(&self, manifest: &Manifest) -> Result<Vec<LayerBlob>> {
        let diff_ids = self.rootfs.as_ref().map_or(&[][..], |rootfs| &rootfs.diff_ids);
        if diff_ids.len() != manifest.layers().len() {
            let (layers, named) = (manifest.layers().len(), diff_ids.len());
            let reason = format!("the manifest has {layers} layers, and its config names {named} diffIDs");
            return Err(Error::invalid("read image", manifest.digest(), reason));
        }
        let pairs = manifest.layers().iter().zip(diff_ids);
        Ok(pairs
            .map(|(descriptor, diff_id)| LayerBlob {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
            })
            .collect())
    }
}
