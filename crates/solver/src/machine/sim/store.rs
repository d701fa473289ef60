//! A cache in memory that loses results when it is told to.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::FutureExt;

use crate::error::{LoadError, StoreError};
use crate::key::{KeyId, Link};
use crate::ops::LoadCx;
use crate::store::{CacheIndex, KeyStore, MemoryKeys, ResultId, ResultStore, StoredResult};

/// A cache, and its parts.
#[derive(Clone)]
pub(super) struct Cache {
    pub(super) index: Arc<CacheIndex<i64>>,
    pub(super) keys: Arc<MemoryKeys>,
    pub(super) shelf: Arc<Shelf>,
}

impl Cache {
    pub(super) fn new(name: &str) -> Self {
        let keys = Arc::new(MemoryKeys::new());
        let shelf = Arc::new(Shelf::new(name));
        let index = CacheIndex::new(name, Arc::clone(&keys) as _, Arc::clone(&shelf) as _);
        Self { index: Arc::new(index), keys, shelf }
    }

    /// The keys that these lead to.
    pub(super) fn targets(keys: &MemoryKeys, from: &[KeyId], link: &Link) -> HashSet<KeyId> {
        ready(keys.targets(from, link)).unwrap().into_iter().collect()
    }

    pub(super) fn results(keys: &MemoryKeys, key: KeyId) -> Vec<ResultId> {
        ready(keys.results(key)).unwrap().into_iter().map(|result| result.id).collect()
    }
}

/// The value of a future that never waits.
pub(super) fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits in a simulation")
}

/// Keeps integers.
pub(super) struct Shelf {
    name: String,
    results: Mutex<HashMap<ResultId, (i64, bool)>>,
}

impl Shelf {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), results: Mutex::default() }
    }

    fn results(&self) -> MutexGuard<'_, HashMap<ResultId, (i64, bool)>> {
        self.results.lock().unwrap()
    }

    pub(super) fn has(&self, id: &ResultId) -> bool {
        self.get(id).is_ok()
    }

    /// Loses a result; what is said of it is left.
    pub(super) fn lose(&self, id: &ResultId) {
        if let Some((_, there)) = self.results().get_mut(id) {
            *there = false;
        }
    }

    fn get(&self, id: &ResultId) -> Result<i64, LoadError> {
        match self.results().get(id) {
            Some((value, true)) => Ok(*value),
            _ => Err(LoadError::gone(format!("no result {id}"))),
        }
    }
}

#[async_trait]
impl ResultStore<i64> for Shelf {
    async fn save(&self, result: &i64, created_at: Option<SystemTime>) -> Result<StoredResult, StoreError> {
        let mut results = self.results();
        let number = results.len();
        let id = ResultId::new(format!("{}-{number}", self.name));
        // Some are equally old.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64 / 2);
        let created_at = created_at.unwrap_or(now);
        results.insert(id.clone(), (*result, true));
        Ok(StoredResult { id, created_at })
    }

    async fn load(&self, _: &LoadCx, id: &ResultId) -> Result<i64, LoadError> {
        self.get(id)
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        Ok(self.get(id).is_ok())
    }

    async fn remotes(&self, _: &LoadCx, id: &ResultId, _: bool) -> Result<Vec<i64>, LoadError> {
        self.get(id).map(|value| vec![value])
    }
}
