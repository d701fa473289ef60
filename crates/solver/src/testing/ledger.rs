//! A key store that counts what it is asked, and fails or hangs when its links are walked if it is told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use crate::testing::Gate;
use crate::{Batch, KeyId, KeyStore, Link, MemoryKeys, ResultId, StoreError, StoredResult};

/// Keys in memory, with counts; it may answer late.
///
/// Walks are counted apart from look-ups: the links from and to a key are what a build alone never asks for, only who exports
/// or explains does.
#[derive(Default)]
pub struct Ledger {
    keys: MemoryKeys,
    gate: Option<Gate>,
    lookups: AtomicUsize,
    commits: AtomicUsize,
    walks: AtomicUsize,
    blind: AtomicBool,
    stuck: AtomicBool,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits here before each answer about targets and results.
    #[must_use]
    pub fn waiting_at(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// How often it was asked for targets or results.
    pub fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }

    /// How many batches it was given.
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    /// How often it was asked for the links from or to a key.
    pub fn walks(&self) -> usize {
        self.walks.load(Ordering::SeqCst)
    }

    /// Fails when it is asked for the links from or to a key, from now on or no more.
    pub fn set_blind(&self, blind: bool) {
        self.blind.store(blind, Ordering::SeqCst);
    }

    /// Does not answer any more when it is asked for the links from or to a key, from now on or no more.
    pub fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::SeqCst);
    }

    async fn look_up(&self) {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
    }

    async fn walk(&self) -> Result<&MemoryKeys, StoreError> {
        self.walks.fetch_add(1, Ordering::SeqCst);
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.blind.load(Ordering::SeqCst) {
            Err(StoreError::new("the key store is blind"))
        } else {
            Ok(&self.keys)
        }
    }
}

#[async_trait]
impl KeyStore for Ledger {
    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError> {
        self.look_up().await;
        self.keys.targets(from, link).await
    }

    async fn results(&self, key: KeyId) -> Result<Vec<StoredResult>, StoreError> {
        self.look_up().await;
        self.keys.results(key).await
    }

    async fn links_from(&self, key: KeyId) -> Result<Vec<(Link, KeyId)>, StoreError> {
        self.walk().await?.links_from(key).await
    }

    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError> {
        self.walk().await?.links_to(key).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.keys.commit(batch).await
    }

    async fn release(&self, results: &[ResultId]) -> Result<(), StoreError> {
        self.keys.release(results).await
    }

    async fn all_results(&self) -> Result<Vec<ResultId>, StoreError> {
        self.keys.all_results().await
    }

    async fn keys_of(&self, result: &ResultId) -> Result<Vec<KeyId>, StoreError> {
        self.keys.keys_of(result).await
    }
}
