//! The image source: a name becomes a tree of which nothing was pulled yet.
//!
//! To be asked for a cache map it finds out what the name stands for: manifest and config, through an index if there is
//! one. Both maps carry a [`DescHandler`] for each layer, by its digest, so that any result above it that lacks the layer
//! is loaded with it, and the [`BaseImage`] by its chain id. Running it makes the ref, without a request.

mod place;
mod platforms;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lazyblob_cache::image::{Resolutions, Resolved};
use lazyblob_cache::{DescHandler, GetOptions};
use lazyblob_solver::{CacheMap, CacheOpts, LoadCx, Op, OpCx, OpError, Progress};

use place::Found;
pub(crate) use place::Place;

use crate::error::Error;
use crate::image::BaseImage;
use crate::keys::image_keys;
use crate::llb::ImageSource;
use crate::llb::pb::Platform;
use crate::result::WorkerRef;
use crate::session::Routed;
use crate::worker::Worker;

/// Brings in an image, of a registry or of a layout.
pub(crate) struct ImageOp {
    worker: Worker,
    /// As it is written.
    identifier: String,
    image: ImageSource,
    place: Place,
    /// Normalised.
    platform: Platform,
    /// Those of the build.
    resolutions: Resolutions,
    /// Its layers, whoever pulls them, are shown at its vertex.
    routed: Mutex<Option<Routed>>,
    /// Somebody was told that it is being looked for.
    told: AtomicBool,
}

impl ImageOp {
    pub(crate) fn new(
        worker: &Worker,
        identifier: &str,
        image: &ImageSource,
        platform: Platform,
        resolutions: &Resolutions,
    ) -> Self {
        Self {
            worker: worker.clone(),
            identifier: identifier.to_owned(),
            image: image.clone(),
            place: Place::Registry,
            platform,
            resolutions: resolutions.clone(),
            routed: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// The same in another place.
    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// The image; it is told that it is being looked for.
    async fn known(&self, cx: &LoadCx) -> Result<Found, OpError> {
        let about = |action: &str, done| Progress {
            id: self.image.reference.to_string().into(),
            action: action.into(),
            current: 0,
            total: None,
            done,
        };
        // Whoever asks again is answered from what was found.
        let is_first = !self.told.swap(true, Ordering::Relaxed);
        if is_first {
            cx.progress(about("resolving", false));
        }
        let found = cx.cancellation().run_until_cancelled(self.find(cx)).await;
        if is_first {
            let is_found = matches!(found, Some(Ok(_)));
            cx.progress(about(if is_found { "resolved" } else { "resolving" }, true));
        }
        match found {
            None => Err(OpError::Cancelled),
            Some(Err(error)) => Err(failed(error)),
            Some(Ok(found)) => Ok(found),
        }
    }

    fn options(&self, found: &Found) -> CacheOpts {
        let mut opts = CacheOpts::default();
        let (handlers, image) = (self.handlers(found), &found.image);
        for layer in &image.layers {
            let digest = layer.descriptor.digest();
            if let Some(handler) = handlers.get(digest) {
                opts.insert::<DescHandler>(digest.clone(), Arc::clone(handler));
            }
        }
        let base = BaseImage::new(Arc::clone(image), self.image.layer_limit);
        if let Some(chain) = base.chain() {
            opts.insert(chain, Arc::new(base));
        }
        opts
    }

    /// From now on what is pulled of it is shown at the vertex of `cx`.
    fn route(&self, image: &Resolved, cx: &LoadCx) {
        let layers = image.layers.iter().map(|layer| layer.descriptor.digest().clone()).collect();
        let routed = self.worker.sessions().routes().enter(layers, cx);
        let before = self.routed.lock().unwrap_or_else(PoisonError::into_inner).replace(routed);
        drop(before);
    }
}

#[async_trait]
impl Op<WorkerRef> for ImageOp {
    fn kind(&self) -> &str {
        "image"
    }

    async fn cache_map(&self, cx: &OpCx<WorkerRef>, index: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        let found = self.known(cx).await?;
        let image = &found.image;
        self.route(image, cx);
        let limit = self.image.layer_limit;
        let [by_root, by_layers] = image_keys(image.root.digest(), &self.platform, limit, &image.config);
        let more = index == 0 && by_root != by_layers;
        let mut map = CacheMap::new(if index == 0 { by_root } else { by_layers }, 0);
        map.opts = self.options(&found);
        map.more = more;
        Ok(map)
    }

    async fn exec(&self, cx: &OpCx<WorkerRef>, _: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        let found = self.known(cx).await?;
        let (manager, image) = (self.worker.manager(), &found.image);
        manager.keep_resolved(image).await.map_err(|error| failed(error.into()))?;
        let layers = image.new_layers(self.image.layer_limit);
        if layers.is_empty() {
            return Ok(vec![WorkerRef::scratch()]);
        }
        let mut options = GetOptions { handlers: self.handlers(&found), ..GetOptions::default() };
        match self.place {
            Place::Registry => options.image_ref = Some(self.image.reference.to_string()),
            Place::Layout(_) => options.description = Some(format!("pulled from {}", self.identifier)),
        }
        let tree = manager.import(layers, None, options).await.map_err(|error| failed(error.into()))?;
        Ok(vec![WorkerRef::new(tree)])
    }
}

/// An error of an op without inputs.
fn failed(error: Error) -> OpError {
    match &error {
        Error::Cache(cause) if matches!(cause.root(), lazyblob_cache::Error::Cancelled { .. }) => {
            OpError::Cancelled
        }
        _ => OpError::failed(error),
    }
}

impl fmt::Debug for ImageOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageOp").field("identifier", &self.identifier).finish_non_exhaustive()
    }
}
