//! Keys in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::StoreError;
use crate::key::{KeyId, Link};
use crate::store::{Batch, KeyStore, ResultId, StoredResult};

/// A key store that lives as long as its process.
#[derive(Debug, Default)]
pub struct MemoryKeys(Mutex<Tables>);

#[derive(Clone, Debug, Default)]
struct Tables {
    links: HashMap<KeyId, BTreeMap<Link, BTreeSet<KeyId>>>,
    back: HashMap<KeyId, BTreeSet<(KeyId, Link)>>,
    results: HashMap<KeyId, Vec<StoredResult>>,
    by_result: BTreeMap<ResultId, BTreeSet<KeyId>>,
}

impl MemoryKeys {
    /// A store with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another store with what is in this one now.
    #[cfg(test)]
    pub(crate) fn copied(&self) -> Self {
        Self(Mutex::new(self.tables().clone()))
    }

    /// Held for one operation, never across an await.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn commit(&mut self, batch: Batch) {
        for (from, link, to) in batch.links {
            self.back.entry(to).or_default().insert((from, link.clone()));
            self.links.entry(from).or_default().entry(link).or_default().insert(to);
        }
        for (key, result) in batch.results {
            let of_key = self.results.entry(key).or_default();
            match of_key.iter_mut().find(|known| known.id == result.id) {
                Some(known) => known.created_at = result.created_at,
                None => of_key.push(result.clone()),
            }
            self.by_result.entry(result.id).or_default().insert(key);
        }
    }

    fn release(&mut self, results: &[ResultId]) {
        let mut bare: Vec<KeyId> = Vec::new();
        for result in results {
            for key in self.by_result.remove(result).into_iter().flatten() {
                if let Some(of_key) = self.results.get_mut(&key) {
                    of_key.retain(|known| known.id != *result);
                    if of_key.is_empty() {
                        self.results.remove(&key);
                    }
                }
                bare.push(key);
            }
        }
        // A key that leads to nothing goes, and so may those it was reached from.
        while let Some(key) = bare.pop() {
            if self.results.contains_key(&key) || self.links.contains_key(&key) {
                continue;
            }
            for (from, link) in self.back.remove(&key).into_iter().flatten() {
                let Some(links) = self.links.get_mut(&from) else { continue };
                if let Some(targets) = links.get_mut(&link) {
                    targets.remove(&key);
                    if targets.is_empty() {
                        links.remove(&link);
                    }
                }
                if links.is_empty() {
                    self.links.remove(&from);
                }
                bare.push(from);
            }
        }
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError> {
        let tables = self.tables();
        let of = |key| tables.links.get(key).and_then(|links| links.get(link)).into_iter().flatten().copied();
        if let [only] = from {
            return Ok(of(only).collect());
        }
        let mut seen = HashSet::new();
        Ok(from.iter().flat_map(of).filter(|key| seen.insert(*key)).collect())
    }

    async fn results(&self, key: KeyId) -> Result<Vec<StoredResult>, StoreError> {
        Ok(self.tables().results.get(&key).cloned().unwrap_or_default())
    }

    async fn links_from(&self, key: KeyId) -> Result<Vec<(Link, KeyId)>, StoreError> {
        let tables = self.tables();
        let links = tables.links.get(&key).into_iter().flatten();
        Ok(links.flat_map(|(link, targets)| targets.iter().map(|to| (link.clone(), *to))).collect())
    }

    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError> {
        Ok(self.tables().back.get(&key).into_iter().flatten().cloned().collect())
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.tables().commit(batch);
        Ok(())
    }

    async fn release(&self, results: &[ResultId]) -> Result<(), StoreError> {
        self.tables().release(results);
        Ok(())
    }

    async fn all_results(&self) -> Result<Vec<ResultId>, StoreError> {
        Ok(self.tables().by_result.keys().cloned().collect())
    }

    async fn keys_of(&self, result: &ResultId) -> Result<Vec<KeyId>, StoreError> {
        Ok(self.tables().by_result.get(result).into_iter().flatten().copied().collect())
    }
}
