//! Where keys are kept.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::key::{KeyId, Link};
use crate::store::{ResultId, StoredResult};

/// What is to be remembered: all of it or nothing. What is there already is not an error and costs no write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Ways from keys of inputs to keys.
    pub links: Vec<(KeyId, Link, KeyId)>,
    /// Results of keys.
    pub results: Vec<(KeyId, StoredResult)>,
}

impl Batch {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && self.results.is_empty()
    }
}

/// Keeps keys, links between them, and which results they have.
///
/// The solver polls each call once where it stands and gives it a task of its own only if it is not ready: a store in
/// memory costs no task. A store on disk must not block its thread.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The keys that `link` leads to from any of `from`, each once.
    ///
    /// # Errors
    /// Whatever keeps the store from knowing.
    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError>;

    /// The results of a key.
    ///
    /// # Errors
    /// Whatever keeps the store from knowing.
    async fn results(&self, key: KeyId) -> Result<Vec<StoredResult>, StoreError>;

    /// The links that leave a key, with where they lead.
    ///
    /// # Errors
    /// Whatever keeps the store from knowing.
    async fn links_from(&self, key: KeyId) -> Result<Vec<(Link, KeyId)>, StoreError>;

    /// The links that lead to a key, with where they begin.
    ///
    /// # Errors
    /// Whatever keeps the store from knowing.
    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError>;

    /// Remembers a batch, at once.
    ///
    /// # Errors
    /// Whatever keeps the store from remembering; then nothing of the batch was remembered.
    async fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Forgets results, under all their keys, and then all keys that lead to no result any more: those that have neither
    /// a result nor a link that leaves them, upwards. One turn of the store, however many results.
    ///
    /// # Errors
    /// Whatever keeps the store from forgetting; then nothing was forgotten.
    async fn release(&self, results: &[ResultId]) -> Result<(), StoreError>;

    /// Every result there is, each once.
    ///
    /// # Errors
    /// Whatever keeps the store from knowing.
    async fn all_results(&self) -> Result<Vec<ResultId>, StoreError>;

    /// The keys that have this result.
    ///
    /// # Errors
    /// Whatever keeps the store from knowing.
    async fn keys_of(&self, result: &ResultId) -> Result<Vec<KeyId>, StoreError>;
}
