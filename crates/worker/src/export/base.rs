//! What an image is made of.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lazyblob_cache::record::LayerBlob;

use crate::error::Result;
use crate::image::BaseImage;
use crate::llb::pb::Platform;
use crate::result::WorkerRef;

/// The result of a build for one platform.
#[derive(Clone, Debug)]
pub struct Part {
    /// The platform.
    pub platform: Platform,
    /// Its files.
    pub result: WorkerRef,
    /// The image's config as JSON, if one is given.
    pub config: Option<Bytes>,
    /// The image it began with.
    pub base: Option<BaseImage>,
    /// Says what goes into the config of the cache that made it.
    pub inline_cache: Option<Arc<dyn InlineCache>>,
}

impl Part {
    /// A result with nothing said about it.
    #[must_use]
    pub fn new(platform: Platform, result: WorkerRef) -> Self {
        Self { platform, result, config: None, base: None, inline_cache: None }
    }
}

/// A cache that is kept in an image's own config. It is asked when the layers of the image are known: they are its blobs.
#[async_trait]
pub trait InlineCache: Send + Sync + fmt::Debug {
    /// What the field of the config has for an image of `layers`, the bottom one first; nothing where there is nothing to
    /// keep.
    ///
    /// # Errors
    /// What the image cannot be made with.
    async fn of_layers(&self, layers: &[LayerBlob]) -> Result<Option<String>>;
}
