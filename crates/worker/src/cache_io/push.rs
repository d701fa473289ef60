//! Blobs on their way to the place a cache goes to.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::transfer::{Transfers, Wanted};
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{Access, Descriptor, Digest, Provider, body};
use lazyblob_remote::{Error, Target};

/// A layer that the target is to have.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// The blob, as its source knows it.
    pub(super) blob: Descriptor,
    /// The ways to it.
    pub(super) sources: Vec<Arc<dyn Provider>>,
    /// Its lowest place in a stack.
    pub(super) height: u32,
}

/// Brings layers to `target`, all at once. Returns those that cannot be had any more, with why; whatever else goes wrong is
/// the target's trouble, or the caller's, and ends it.
pub(super) async fn bring(
    layers: &HashMap<Digest, Layer>,
    wanted: &[&Digest],
    target: &Arc<dyn Target>,
    transfers: &Transfers,
    access: &Access,
) -> lazyblob_remote::Result<HashMap<Digest, String>> {
    access.progress.expect(wanted.len());
    let mut bringing: FuturesUnordered<_> = wanted
        .iter()
        .filter_map(|digest| layers.get(digest))
        .map(|layer| async {
            let failed: Arc<Mutex<Option<Error>>> = Arc::default();
            let sources = layer.sources.iter().map(|source| {
                Arc::new(Noting { source: Arc::clone(source), failed: Arc::clone(&failed) })
                    as Arc<dyn Provider>
            });
            let wanted = Wanted {
                blob: layer.blob.clone(),
                sources: sources.collect(),
                target: Arc::clone(target),
                height: layer.height,
                shared: 1,
                access: access.clone(),
            };
            let brought = transfers.bring(wanted).await;
            let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            (layer.blob.digest(), brought, failed)
        })
        .collect();
    let mut gone = HashMap::new();
    while let Some((digest, brought, failed)) = bringing.next().await {
        match (brought, failed) {
            (Ok(_), _) => {}
            (Err(error), Some(source)) if !matches!(error.root(), Error::Cancelled { .. }) => {
                gone.insert(digest.clone(), source.to_string());
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(gone)
}

/// Brings a few bytes to `target`.
pub(super) async fn put(
    blob: &Descriptor,
    bytes: Bytes,
    target: &Arc<dyn Target>,
    transfers: &Transfers,
    access: &Access,
) -> lazyblob_remote::Result<()> {
    access.progress.expect(1);
    let wanted = Wanted {
        blob: blob.clone(),
        sources: vec![Arc::new(Small(bytes))],
        target: Arc::clone(target),
        height: 0,
        shared: 1,
        access: access.clone(),
    };
    transfers.bring(wanted).await.map(drop)
}

/// Bytes that were made here.
#[derive(Debug)]
struct Small(Bytes);

#[async_trait]
impl Provider for Small {
    async fn open(&self, _: &Descriptor, range: Range<u64>) -> lazyblob_remote::Result<Unverified> {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let bytes = self.0.slice(at(range.start)..at(range.end).max(at(range.start)));
        Ok(Unverified::new(range, body::once(bytes)))
    }

    async fn info(&self, _: &Descriptor) -> lazyblob_remote::Result<BlobInfo> {
        Ok(BlobInfo { size: Some(self.0.len() as u64) })
    }

    fn origin(&self) -> Origin {
        Origin { host: "build cache".to_owned(), repository: "config".to_owned() }
    }
}

/// A source that takes note of why it could not bring a blob: so it is told from a target that could not take it.
#[derive(Debug)]
struct Noting {
    source: Arc<dyn Provider>,
    failed: Arc<Mutex<Option<Error>>>,
}

#[async_trait]
impl Provider for Noting {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> lazyblob_remote::Result<Unverified> {
        self.source.open(blob, range).await.map_err(|error| {
            let error = Arc::new(error);
            let kept = Error::Shared(Arc::clone(&error));
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
            Error::Shared(error)
        })
    }

    async fn info(&self, blob: &Descriptor) -> lazyblob_remote::Result<BlobInfo> {
        self.source.info(blob).await
    }

    fn distrust(&self, blob: &Descriptor) -> bool {
        self.source.distrust(blob)
    }

    fn avoid(&self, blob: &Descriptor) -> bool {
        self.source.avoid(blob)
    }

    fn origin(&self) -> Origin {
        self.source.origin()
    }

    fn host(&self) -> Option<&str> {
        self.source.host()
    }

    fn fetches(&self) -> bool {
        self.source.fetches()
    }

    fn seen_at(&self, blob: &Descriptor) -> Vec<Origin> {
        self.source.seen_at(blob)
    }
}
