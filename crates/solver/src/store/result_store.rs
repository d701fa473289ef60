//! Where results are kept.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::error::{LoadError, StoreError};
use crate::ops::LoadCx;
use crate::value::Value;

/// The name of a result in its store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResultId(Arc<str>);

impl ResultId {
    /// The result of this name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name it was made of.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A result that a store has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredResult {
    /// Its name there.
    pub id: ResultId,
    /// When it was computed: of several results of a key the newest is taken.
    pub created_at: SystemTime,
}

/// Keeps results.
#[async_trait]
pub trait ResultStore<R: Value>: Send + Sync {
    /// Keeps a result; saving one that is there gives the same name. One that was computed elsewhere, and comes from another
    /// cache, says when: that is its [date](StoredResult::created_at) here, too. `None` is for one that was computed just
    /// now.
    ///
    /// # Errors
    /// Whatever keeps the store from keeping it.
    async fn save(&self, result: &R, created_at: Option<SystemTime>) -> Result<StoredResult, StoreError>;

    /// A result, ready to be used: it may still be lazy. What it lacks is looked for with `cx`.
    ///
    /// # Errors
    /// [`LoadError::Gone`] if there is no such result any more, [`LoadError::Failed`] if it cannot be had now.
    async fn load(&self, cx: &LoadCx, id: &ResultId) -> Result<R, LoadError>;

    /// Whether there is such a result, be it lazy: one that only lacks somebody to bring it exists.
    ///
    /// # Errors
    /// Whatever keeps the store from knowing.
    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError>;

    /// The forms in which a result can be given away: the best first, others beside it if there are. None if it has no such
    /// form and `make` is false.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    async fn remotes(&self, cx: &LoadCx, id: &ResultId, make: bool) -> Result<Vec<R::Remote>, LoadError>;
}
