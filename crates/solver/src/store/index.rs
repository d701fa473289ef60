//! Keys and results together.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::error::{LoadError, StoreError};
use crate::key::{KeyId, Link};
use crate::ops::LoadCx;
use crate::store::{Batch, CacheSource, KeyStore, Record, ResultId, ResultStore, StoredResult};
use crate::value::Value;

/// A key store and the result store its records point into.
pub struct CacheIndex<R: Value> {
    name: Arc<str>,
    keys: Arc<dyn KeyStore>,
    results: Arc<dyn ResultStore<R>>,
}

impl<R: Value> CacheIndex<R> {
    /// An index of this name over these stores.
    pub fn new(name: impl Into<Arc<str>>, keys: Arc<dyn KeyStore>, results: Arc<dyn ResultStore<R>>) -> Self {
        Self { name: name.into(), keys, results }
    }

    /// Where its keys are.
    #[must_use]
    pub fn keys(&self) -> &Arc<dyn KeyStore> {
        &self.keys
    }

    /// Remembers links and, under `keys`, a result: the result first, so that no key leads to nothing. `created_at` is when
    /// it was computed, if that was not just now.
    ///
    /// # Errors
    /// Whatever keeps one of the stores from doing so.
    pub async fn save(
        &self,
        links: Vec<(KeyId, Link, KeyId)>,
        keys: &[KeyId],
        result: Option<&R>,
        created_at: Option<SystemTime>,
    ) -> Result<Option<StoredResult>, StoreError> {
        let stored = match result {
            Some(result) => Some(self.results.save(result, created_at).await?),
            None => None,
        };
        let of_key = |stored: &StoredResult| keys.iter().map(|key| (*key, stored.clone())).collect();
        let batch = Batch { links, results: stored.as_ref().map_or_else(Vec::new, of_key) };
        if !batch.is_empty() {
            self.keys.commit(batch).await?;
        }
        Ok(stored)
    }

    /// Forgets every result that its store has no more, with the keys that lead nowhere then, and says how many. A lazy
    /// result exists.
    ///
    /// # Errors
    /// Whatever keeps one of the stores from knowing or forgetting.
    pub async fn release_unreferenced(&self) -> Result<usize, StoreError> {
        let mut gone = Vec::new();
        for id in self.keys.all_results().await? {
            if !self.results.exists(&id).await? {
                gone.push(id);
            }
        }
        if !gone.is_empty() {
            self.keys.release(&gone).await?;
        }
        Ok(gone.len())
    }
}

#[async_trait]
impl<R: Value> CacheSource<R> for CacheIndex<R> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError> {
        self.keys.targets(from, link).await
    }

    async fn records(&self, key: KeyId) -> Result<Vec<Record>, StoreError> {
        let results = self.keys.results(key).await?;
        Ok(results.into_iter().map(|result| Record { key, result }).collect())
    }

    async fn load(&self, cx: &LoadCx, record: &Record) -> Result<R, LoadError> {
        self.results.load(cx, &record.result.id).await
    }

    async fn remotes(&self, cx: &LoadCx, record: &Record, make: bool) -> Result<Vec<R::Remote>, LoadError> {
        self.results.remotes(cx, &record.result.id, make).await
    }

    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError> {
        self.keys.links_to(key).await
    }

    async fn forget(&self, results: &[ResultId]) -> Result<(), StoreError> {
        self.keys.release(results).await
    }
}
