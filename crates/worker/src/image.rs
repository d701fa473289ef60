//! What is known of an image that a result stands on.

use std::sync::Arc;

use bytes::Bytes;
use lazyblob_cache::image::Resolved;
use lazyblob_cache::record::LayerBlob;
use lazyblob_remote::provider::Origin;
use lazyblob_remote::{Digest, Manifest, Reference, digest};

/// An image that a build begins with. Image ops publish it as a cache option under the [chain id](Self::chain) of its
/// layers: who exports a result finds the config of its base with [`LoadCx::find`](lazyblob_solver::LoadCx::find), by the
/// chain ids of the result's lowest layers.
///
/// As long as it lives, the image's manifests and its config are not pruned.
#[derive(Clone, Debug)]
pub struct BaseImage {
    image: Arc<Resolved>,
    limit: Option<usize>,
}

impl BaseImage {
    /// An image of which the build wants the lowest `limit` layers, or all.
    #[must_use]
    pub fn new(image: Arc<Resolved>, limit: Option<usize>) -> Self {
        Self { image, limit }
    }

    /// What the build calls it.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.image.reference
    }

    /// What the name stands for: an index, where there are several platforms.
    #[must_use]
    pub fn root(&self) -> &Manifest {
        &self.image.root
    }

    /// The manifest of the platform that the build is for. With a limit of layers it has more of them than
    /// [`layers`](Self::layers).
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.image.manifest
    }

    /// The bytes of its config.
    #[must_use]
    pub fn config(&self) -> &Bytes {
        &self.image.config
    }

    /// Its layers as far as the build wants them, the bottom one first.
    #[must_use]
    pub fn layers(&self) -> &[LayerBlob] {
        let layers = &self.image.layers;
        &layers[..self.limit.unwrap_or(usize::MAX).min(layers.len())]
    }

    /// Whether the build wants all of its layers.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.layers().len() == self.image.layers.len()
    }

    /// Where it was found.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.image.origin
    }

    /// The chain id of [its layers](Self::layers) (image-spec config.md); nothing where there are none.
    #[must_use]
    pub fn chain(&self) -> Option<Digest> {
        let diff_ids = self.layers().iter().map(|layer| layer.diff_id.clone());
        diff_ids.reduce(|chain, diff_id| digest::sha256(format!("{chain} {diff_id}").as_bytes()))
    }
}
