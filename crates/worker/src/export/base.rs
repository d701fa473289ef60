//! What an image is made of.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use lazyblob_solver::Exported;

use crate::image::BaseImage;
use crate::llb::pb::Platform;
use crate::result::WorkerRef;

/// The result of a build for one platform.
#[derive(Clone)]
pub struct Part {
    /// The platform.
    pub platform: Platform,
    /// Its files.
    pub result: WorkerRef,
    /// The image's config as JSON, if one is given.
    pub config: Option<Bytes>,
    /// The image it began with.
    pub base: Option<BaseImage>,
    /// The cache that made it, if the image is to have it in its config ([`inline`](crate::cache_io::inline)).
    pub inline_cache: Option<Arc<Exported<WorkerRef>>>,
}

impl Part {
    /// A result with nothing said about it.
    #[must_use]
    pub fn new(platform: Platform, result: WorkerRef) -> Self {
        Self { platform, result, config: None, base: None, inline_cache: None }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("platform", &self.platform)
            .field("result", &self.result)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}
