//! Results of ops, kept in the cache.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use lazyblob_cache::layer::{Algorithm, Compression, Family, LayerType};
use lazyblob_cache::refs::BlobOptions;
use lazyblob_cache::{DescHandler, DescHandlers, Error, GetOptions, ImmutableRef, Missing, RecordId};
use lazyblob_remote::Digest;
use lazyblob_solver::{LoadCx, LoadError, ResultId, ResultStore, StoreError, StoredResult};

use crate::result::WorkerRef;
use crate::worker::Worker;

/// What the empty tree is called: it is no record. Records are called by 32 hex digits.
pub(crate) const SCRATCH: &str = "scratch";

/// How blobs are made of results that are given away and have none.
const BLOBS: BlobOptions = BlobOptions {
    layer: LayerType { family: Family::Oci, algorithm: Algorithm::Gzip, foreign: false },
    compression: Compression::GZIP,
    threads: 1,
};

/// The results of ops as records of the cache, by the ids of these.
///
/// A record is written when its op makes it, and stays until it is pruned, whoever drops a handle on it; there is nothing
/// more to be saved. Loading pulls nothing: what is not here is looked for among what the ancestors of a vertex can bring,
/// then among the places the cache remembers.
#[derive(Clone, Debug)]
pub struct Results(Worker);

impl Results {
    /// The results of ops of `worker`.
    #[must_use]
    pub fn new(worker: &Worker) -> Self {
        Self(worker.clone())
    }

    /// A handle on a record, with what brings the blobs that are not here. Those are asked for once.
    async fn open(&self, cx: &LoadCx, id: &RecordId) -> Result<ImmutableRef, Error> {
        let manager = self.0.manager();
        let missing = match manager.get(id, GetOptions::default()).await {
            Err(error) => match error.root() {
                Error::NeedsRemoteProviders { missing } => digests(missing),
                _ => return Err(error),
            },
            opened => return opened,
        };
        let found = cx.find::<DescHandler>(&missing).await;
        let unknown: Vec<Digest> = missing.into_iter().filter(|digest| !found.contains_key(digest)).collect();
        let mut handlers: DescHandlers = found.into_iter().collect();
        if !unknown.is_empty() {
            let access = self.0.access(cx);
            handlers = handlers.union(&manager.handlers_from_hints(&unknown, &access).await?);
        }
        manager.get(id, GetOptions { handlers, ..GetOptions::default() }).await
    }
}

#[async_trait]
impl ResultStore<WorkerRef> for Results {
    async fn save(
        &self,
        result: &WorkerRef,
        created_at: Option<SystemTime>,
    ) -> Result<StoredResult, StoreError> {
        let id = match result.tree() {
            Some(tree) => ResultId::new(Arc::<str>::from(tree.id().as_str())),
            None => ResultId::new(SCRATCH),
        };
        Ok(StoredResult { id, created_at: created_at.unwrap_or_else(SystemTime::now) })
    }

    async fn load(&self, cx: &LoadCx, id: &ResultId) -> Result<WorkerRef, LoadError> {
        if id.as_str() == SCRATCH {
            return Ok(WorkerRef::scratch());
        }
        let id = RecordId::parse(id.as_str()).map_err(LoadError::gone)?;
        self.open(cx, &id).await.map(WorkerRef::new).map_err(unloaded)
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        if id.as_str() == SCRATCH {
            return Ok(true);
        }
        let Ok(id) = RecordId::parse(id.as_str()) else { return Ok(false) };
        Ok(self.0.manager().record(&id).await.map_err(StoreError::new)?.is_some())
    }

    /// The empty tree has no form that can be given away: it is not worth it.
    async fn remotes(&self, cx: &LoadCx, id: &ResultId, make: bool) -> Result<Vec<ImmutableRef>, LoadError> {
        let loaded = self.load(cx, id).await?;
        let Some(tree) = loaded.tree() else { return Ok(Vec::new()) };
        let has_blobs =
            tree.blob_chain().is_some() && tree.layers().iter().all(|layer| layer.blob().is_some());
        if !has_blobs && !make {
            return Ok(Vec::new());
        }
        let access = self.0.access(cx);
        let making = Box::pin(tree.make_blobs(&BLOBS, &access));
        let made = cx.cancellation().run_until_cancelled(making).await;
        made.unwrap_or_else(|| Err(cancelled(id))).map_err(unloaded)?;
        Ok(vec![tree.clone()])
    }
}

/// What an error of the cache says of a result. One that merely lacks somebody to bring it is kept: who comes later may
/// know the way.
fn unloaded(error: Error) -> LoadError {
    let is_gone = error.is_not_found() || matches!(error.root(), Error::Lost { .. });
    if is_gone { LoadError::gone(error) } else { LoadError::failed(error) }
}

fn digests(missing: &[Missing]) -> Vec<Digest> {
    missing.iter().map(|blob| blob.descriptor.digest().clone()).collect()
}

fn cancelled(id: &ResultId) -> Error {
    Error::Cancelled { what: lazyblob_remote::What::new("make blobs of", id) }
}
