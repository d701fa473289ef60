//! A cache that a job brings, which may be slow or broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use crate::testing::Gate;
use crate::{CacheIndex, CacheSource, KeyId, Link, LoadCx, LoadError, Record, ResultId, StoreError};

/// Hands on what another cache says, and counts what it is asked.
pub struct Import {
    cache: Arc<CacheIndex<i64>>,
    gate: Option<Gate>,
    broken: AtomicBool,
    lookups: AtomicUsize,
    loads: AtomicUsize,
}

impl Import {
    /// A source that answers with what this cache has.
    #[must_use]
    pub fn of(cache: &Arc<CacheIndex<i64>>) -> Self {
        Self {
            cache: Arc::clone(cache),
            gate: None,
            broken: AtomicBool::new(false),
            lookups: AtomicUsize::new(0),
            loads: AtomicUsize::new(0),
        }
    }

    /// The cache whose answers it hands on.
    #[must_use]
    pub fn cache(&self) -> &Arc<CacheIndex<i64>> {
        &self.cache
    }

    /// Waits here before each answer about keys and records.
    #[must_use]
    pub fn waiting_at(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Fails whatever it is asked about keys and records, from now on or no more.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// How often it was asked about keys or records.
    pub fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }

    /// How many loads were asked for.
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    async fn look_up(&self) -> Result<(), StoreError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::new("the import is broken"));
        }
        Ok(())
    }
}

#[async_trait]
impl CacheSource<i64> for Import {
    fn name(&self) -> &str {
        self.cache.name()
    }

    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError> {
        self.look_up().await?;
        self.cache.targets(from, link).await
    }

    async fn records(&self, key: KeyId) -> Result<Vec<Record>, StoreError> {
        self.look_up().await?;
        self.cache.records(key).await
    }

    async fn load(&self, cx: &LoadCx, record: &Record) -> Result<i64, LoadError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.cache.load(cx, record).await
    }

    async fn remotes(&self, cx: &LoadCx, record: &Record, make: bool) -> Result<Vec<i64>, LoadError> {
        self.cache.remotes(cx, record, make).await
    }

    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError> {
        self.cache.links_to(key).await
    }

    async fn forget(&self, results: &[ResultId]) -> Result<(), StoreError> {
        self.cache.forget(results).await
    }
}
