//! A cache that somebody else exported, as a source that a build looks in.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use lazyblob_cache::manager::{LayerAbout, NewLayer};
use lazyblob_cache::{DescHandler, DescHandlers, GetOptions, ImmutableRef, record};
use lazyblob_remote::Access;
use lazyblob_solver::{
    CacheSource, KeyId, KeyStore as _, Link, LoadCx, LoadError, Record, ResultId, StoreError,
};

use super::index::Loaded;
use super::place::Place;
use super::read::{Described, read};
use super::spec::ImportSpec;
use crate::error::Result;
use crate::result::WorkerRef;
use crate::worker::Worker;

/// A cache to look in. It is read when it is asked for the first time, once, however many ask; nothing is sent before.
///
/// One that is not there has nothing in it. One that cannot be read says so to whoever asks, which a solver takes for a miss
/// and a warning. Its results are lazy: their blobs are read with the credentials of whoever reads them, and where the cache
/// was is remembered with them.
pub struct Imported {
    name: String,
    worker: Worker,
    reading: Shared<BoxFuture<'static, std::result::Result<Arc<Ready>, Arc<str>>>>,
}

/// What was read.
#[derive(Default)]
struct Ready {
    loaded: Loaded,
    way: Option<Way>,
}

/// The way to its blobs.
struct Way {
    handler: Arc<DescHandler>,
    hints: Vec<record::Source>,
}

/// The cache that `spec` names, to be put among a job's sources. `access` is on whose behalf its manifest and config are
/// read; layers are read on behalf of whoever wants them.
#[must_use]
pub fn import(worker: &Worker, spec: &ImportSpec, access: &Access) -> Arc<Imported> {
    let place = Place::of(spec, worker.registry());
    let name = place.name();
    let (settings, access) = (worker.manager().transfers().settings().clone(), access.clone());
    let object = name.clone();
    let reading = async move {
        let ready: Result<Ready> = async {
            let (source, name) = match place.open(&access).await {
                Err(crate::Error::Remote(error)) if error.is_not_found() => {
                    tracing::debug!(cache = %object, "there is no such cache");
                    return Ok(Ready::default());
                }
                opened => opened?,
            };
            let parts = read(source.as_ref(), &name, &settings, &access).await?;
            let loaded = Loaded::new(parts, &object).await?;
            let handler = Arc::new(place.handler(source.as_ref()));
            let way = Way { handler, hints: place.hints(source.as_ref()) };
            Ok(Ready { loaded, way: Some(way) })
        }
        .await;
        ready.map(Arc::new).map_err(|error| Arc::from(error.to_string()))
    };
    Arc::new(Imported { name, worker: worker.clone(), reading: reading.boxed().shared() })
}

impl Imported {
    async fn ready(&self) -> std::result::Result<Arc<Ready>, Arc<str>> {
        self.reading.clone().await
    }

    async fn asked(&self) -> std::result::Result<Arc<Ready>, StoreError> {
        self.ready().await.map_err(|error| StoreError::new(error.to_string()))
    }

    /// A lazy ref of the layers of a record.
    async fn open(&self, record: &Record) -> std::result::Result<ImmutableRef, LoadError> {
        let ready = self.ready().await.map_err(|error| LoadError::failed(error.to_string()))?;
        let known = ready.loaded.layers(&record.result.id).zip(ready.way.as_ref());
        let (layers, way) = known.ok_or_else(|| LoadError::gone("the cache has no such result"))?;
        let created = layers.last().and_then(|top| top.created_at).unwrap_or(record.result.created_at);
        // Each layer by what it was made, or an image of them would have another history than where they come from.
        let about = |layer: &Described| LayerAbout {
            description: layer.description.clone(),
            created: layer.created_at.map(millis),
        };
        let about =
            layers.iter().map(|layer| (layer.blob.descriptor.digest().clone(), about(layer))).collect();
        let handlers =
            layers.iter().map(|layer| (layer.blob.descriptor.digest().clone(), Arc::clone(&way.handler)));
        let options = GetOptions {
            handlers: handlers.collect::<DescHandlers>(),
            description: Some(format!("imported from {}", self.name)),
            layers: about,
            created: Some(millis(created)),
            ..GetOptions::default()
        };
        let layers = layers
            .into_iter()
            .map(|layer| NewLayer { blob: layer.blob.clone(), sources: way.hints.clone() })
            .collect();
        let opened = self.worker.manager().import(layers, None, options).await;
        opened.map_err(
            |error| if error.is_not_found() { LoadError::gone(error) } else { LoadError::failed(error) },
        )
    }
}

#[async_trait]
impl CacheSource<WorkerRef> for Imported {
    fn name(&self) -> &str {
        &self.name
    }

    async fn targets(&self, from: &[KeyId], link: &Link) -> std::result::Result<Vec<KeyId>, StoreError> {
        self.asked().await?.loaded.keys.targets(from, link).await
    }

    async fn records(&self, key: KeyId) -> std::result::Result<Vec<Record>, StoreError> {
        let results = self.asked().await?.loaded.keys.results(key).await?;
        Ok(results.into_iter().map(|result| Record { key, result }).collect())
    }

    async fn load(&self, cx: &LoadCx, record: &Record) -> std::result::Result<WorkerRef, LoadError> {
        let opened = cx.cancellation().run_until_cancelled(self.open(record)).await;
        opened.unwrap_or_else(|| Err(LoadError::failed("cancelled"))).map(WorkerRef::new)
    }

    async fn remotes(
        &self,
        cx: &LoadCx,
        record: &Record,
        _make: bool,
    ) -> std::result::Result<Vec<ImmutableRef>, LoadError> {
        let opened = cx.cancellation().run_until_cancelled(self.open(record)).await;
        Ok(vec![opened.unwrap_or_else(|| Err(LoadError::failed("cancelled")))?])
    }

    async fn links_to(&self, key: KeyId) -> std::result::Result<Vec<(KeyId, Link)>, StoreError> {
        self.asked().await?.loaded.keys.links_to(key).await
    }

    async fn forget(&self, results: &[ResultId]) -> std::result::Result<(), StoreError> {
        self.asked().await?.loaded.keys.release(results).await
    }
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imported").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Milliseconds since 1970.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
