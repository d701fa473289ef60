//! An exported image as one end of a copy.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{Descriptor, Digest, Error, Manifest, Provider, Result, Source, body};

use super::image::{ImageExport, Inner};

/// Repositories that one blob is tried to be mounted from: each refusal is a request.
const MOUNTS: usize = 4;

/// An image on its way to a place.
#[derive(Clone, Debug)]
pub(super) struct ExportSource {
    image: Arc<Inner>,
    /// Where it is said to come from.
    origin: Origin,
    /// Where it goes.
    towards: Origin,
}

impl ExportSource {
    /// The image as something that is nowhere else yet, going to `towards`.
    pub(super) fn new(image: &ImageExport, towards: Origin) -> Self {
        let origin = Origin { host: "build".to_owned(), repository: image.digest().to_string() };
        Self { image: Arc::clone(&image.0), origin, towards }
    }

    /// The image as what is in `place` already but for its manifests and configs.
    pub(super) fn within(image: &ImageExport, place: Origin) -> Self {
        Self { image: Arc::clone(&image.0), origin: place.clone(), towards: place }
    }

    fn config(&self, blob: &Digest) -> Option<&bytes::Bytes> {
        self.image.parts.iter().find(|part| part.config.digest() == blob).map(|part| &part.config_bytes)
    }

    /// Repositories that a layer was seen in, those of the target's host first.
    pub(super) fn places(&self, blob: &Descriptor) -> Vec<Origin> {
        let mut places: Vec<Origin> = Vec::new();
        for layers in self.image.parts.iter().filter_map(|part| part.layers.as_ref()) {
            for place in layers.seen_at(blob) {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places.sort_by_key(|place| place.host != self.towards.host);
        places
    }

    fn missing(&self, object: impl std::fmt::Display) -> Error {
        Error::not_found("read image", object, format_args!("{} has no such part", self.origin))
    }
}

#[async_trait]
impl Source for ExportSource {
    async fn manifest(&self, name: &Name) -> Result<Manifest> {
        let Name::Digest(digest) = name else { return Ok(self.image.root.clone()) };
        let parts = self.image.parts.iter().map(|part| &part.manifest);
        let found = std::iter::once(&self.image.root).chain(parts).find(|known| known.digest() == digest);
        found.cloned().ok_or_else(|| self.missing(digest))
    }

    async fn resolve(&self, name: &Name) -> Result<Digest> {
        self.manifest(name).await.map(|manifest| manifest.digest().clone())
    }

    fn blobs(&self) -> Arc<dyn Provider> {
        Arc::new(self.clone())
    }

    async fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }
}

#[async_trait]
impl Provider for ExportSource {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        if let Some(bytes) = self.config(blob.digest()) {
            let at = |end: u64| usize::try_from(end).unwrap_or(usize::MAX).min(bytes.len());
            let (start, end) = (at(range.start), at(range.end));
            return Ok(Unverified::new(range, body::once(bytes.slice(start.min(end)..end))));
        }
        let mut missing = self.missing(blob.digest());
        for layers in self.image.parts.iter().filter_map(|part| part.layers.as_ref()) {
            if layers.info(blob).await.is_err() {
                continue;
            }
            match layers.open(blob, range.clone()).await {
                // Platforms may share a layer that only one of them knows the way to.
                Err(error) if error.is_not_found() => missing = error,
                opened => return opened,
            }
        }
        Err(missing)
    }

    async fn info(&self, blob: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: Some(blob.size()) })
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }

    fn fetches(&self) -> bool {
        true
    }

    /// The target itself is not among them: whether it has a blob is asked, not mounted.
    fn seen_at(&self, blob: &Descriptor) -> Vec<Origin> {
        let mut places = self.places(blob);
        places.retain(|place| *place != self.towards);
        let mut near = 0;
        places.retain(|place| {
            let is_near = place.host == self.towards.host;
            near += usize::from(is_near);
            !is_near || near <= MOUNTS
        });
        places
    }
}
