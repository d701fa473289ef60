//! What is asked for hits.

use async_trait::async_trait;

use crate::error::{LoadError, StoreError};
use crate::key::{KeyId, Link};
use crate::ops::LoadCx;
use crate::store::{ResultId, StoredResult};
use crate::value::Value;

/// A result under a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The key.
    pub key: KeyId,
    /// The result.
    pub result: StoredResult,
}

/// A cache that can be asked: the solver's own, or one that was imported.
///
/// A key of an op without inputs is the same in every source. Other keys are names that a source gives: they are only ever
/// shown to the source they came from.
#[async_trait]
pub trait CacheSource<R: Value>: Send + Sync {
    /// What people call it; it stands in warnings.
    fn name(&self) -> &str;

    /// The keys that `link` leads to from any of `from`, each once.
    ///
    /// # Errors
    /// Whatever keeps the source from knowing. For an imported one that is a miss and a warning.
    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError>;

    /// The records of a key.
    ///
    /// # Errors
    /// As for [`targets`](Self::targets).
    async fn records(&self, key: KeyId) -> Result<Vec<Record>, StoreError>;

    /// The result of a record.
    ///
    /// # Errors
    /// [`LoadError::Gone`] if there is no such result any more, [`LoadError::Failed`] if it cannot be had now.
    async fn load(&self, cx: &LoadCx, record: &Record) -> Result<R, LoadError>;

    /// The forms in which the result of a record can be given away ([`ResultStore::remotes`](crate::ResultStore::remotes)).
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    async fn remotes(&self, cx: &LoadCx, record: &Record, make: bool) -> Result<Vec<R::Remote>, LoadError>;

    /// The links that lead to a key, with where they begin.
    ///
    /// # Errors
    /// As for [`targets`](Self::targets).
    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError>;

    /// Drops the records of results that turned out to be gone.
    ///
    /// # Errors
    /// Whatever keeps the source from doing so; the solver does not use the record again in any case.
    async fn forget(&self, results: &[ResultId]) -> Result<(), StoreError>;
}
