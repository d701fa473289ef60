//! A key store that counts every call and fails when it is told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use crate::{Batch, KeyId, KeyStore, Link, MemoryKeys, ResultId, StoreError, StoredResult};

/// Keys in memory, with a count of all that is asked.
#[derive(Debug, Default)]
pub struct Meter {
    keys: MemoryKeys,
    calls: AtomicUsize,
    walks: AtomicUsize,
    broken: AtomicBool,
    blind: AtomicBool,
}

impl Meter {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many calls there were, whatever they asked.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How often it was asked for the links from or to a key: what a build alone never asks.
    pub fn walks(&self) -> usize {
        self.walks.load(Ordering::SeqCst)
    }

    /// Fails whatever it is asked, from now on or no more.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// Fails when it is asked for the links from or to a key, from now on or no more.
    pub fn set_blind(&self, blind: bool) {
        self.blind.store(blind, Ordering::SeqCst);
    }

    fn call(&self) -> Result<&MemoryKeys, StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            Err(StoreError::new("the key store is broken"))
        } else {
            Ok(&self.keys)
        }
    }

    fn walk(&self) -> Result<&MemoryKeys, StoreError> {
        self.walks.fetch_add(1, Ordering::SeqCst);
        let keys = self.call()?;
        if self.blind.load(Ordering::SeqCst) {
            Err(StoreError::new("the key store is blind"))
        } else {
            Ok(keys)
        }
    }
}

#[async_trait]
impl KeyStore for Meter {
    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError> {
        self.call()?.targets(from, link).await
    }

    async fn results(&self, key: KeyId) -> Result<Vec<StoredResult>, StoreError> {
        self.call()?.results(key).await
    }

    async fn links_from(&self, key: KeyId) -> Result<Vec<(Link, KeyId)>, StoreError> {
        self.walk()?.links_from(key).await
    }

    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError> {
        self.walk()?.links_to(key).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.call()?.commit(batch).await
    }

    async fn release(&self, results: &[ResultId]) -> Result<(), StoreError> {
        self.call()?.release(results).await
    }

    async fn all_results(&self) -> Result<Vec<ResultId>, StoreError> {
        self.call()?.all_results().await
    }

    async fn keys_of(&self, result: &ResultId) -> Result<Vec<KeyId>, StoreError> {
        self.call()?.keys_of(result).await
    }
}
