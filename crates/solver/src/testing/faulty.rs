//! A key store that fails when it is told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use crate::{Batch, KeyId, KeyStore, Link, MemoryKeys, ResultId, StoreError, StoredResult};

/// Keys in memory, and one call that goes wrong.
pub struct FaultyKeys {
    keys: MemoryKeys,
    calls: AtomicUsize,
    fails: AtomicUsize,
    panics: AtomicBool,
}

impl Default for FaultyKeys {
    fn default() -> Self {
        Self {
            keys: MemoryKeys::new(),
            calls: AtomicUsize::new(0),
            fails: AtomicUsize::new(usize::MAX),
            panics: AtomicBool::new(false),
        }
    }
}

impl FaultyKeys {
    /// An empty one that does not fail.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to count calls anew, and fails at this one, the first being 0. Panics there instead, if told so.
    pub fn fail_at(&self, call: usize, panics: bool) {
        self.panics.store(panics, Ordering::SeqCst);
        self.fails.store(call, Ordering::SeqCst);
        self.calls.store(0, Ordering::SeqCst);
    }

    /// Fails no more.
    pub fn mend(&self) {
        self.fail_at(usize::MAX, false);
    }

    /// How many calls there were since it was last told when to fail.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Whether it has failed since then.
    pub fn has_failed(&self) -> bool {
        self.calls() > self.fails.load(Ordering::SeqCst)
    }

    #[allow(clippy::panic, reason = "it was told to")]
    fn call(&self) -> Result<(), StoreError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call != self.fails.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.panics.load(Ordering::SeqCst) {
            panic!("call {call} panics");
        }
        Err(StoreError::new(format!("call {call} fails")))
    }
}

#[async_trait]
impl KeyStore for FaultyKeys {
    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError> {
        self.call()?;
        self.keys.targets(from, link).await
    }

    async fn results(&self, key: KeyId) -> Result<Vec<StoredResult>, StoreError> {
        self.call()?;
        self.keys.results(key).await
    }

    async fn links_from(&self, key: KeyId) -> Result<Vec<(Link, KeyId)>, StoreError> {
        self.call()?;
        self.keys.links_from(key).await
    }

    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError> {
        self.call()?;
        self.keys.links_to(key).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.call()?;
        self.keys.commit(batch).await
    }

    async fn release(&self, results: &[ResultId]) -> Result<(), StoreError> {
        self.call()?;
        self.keys.release(results).await
    }

    async fn all_results(&self) -> Result<Vec<ResultId>, StoreError> {
        self.call()?;
        self.keys.all_results().await
    }

    async fn keys_of(&self, result: &ResultId) -> Result<Vec<KeyId>, StoreError> {
        self.call()?;
        self.keys.keys_of(result).await
    }
}
