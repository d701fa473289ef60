//! What an engine has to do: ordered keys, and batches that are all or nothing.

use std::collections::BTreeMap;
use std::fmt;

use super::Entry;
use crate::error::Result;

/// An ordered store of keys and values, open in one process at a time. All of it blocks.
///
/// Whoever implements it runs `testing::metadata::suite` on it.
pub trait MetadataStore: Send + Sync + fmt::Debug {
    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Metadata`](crate::Error::Metadata) where what is stored is damaged, [`Error::Io`](crate::Error::Io) where
    /// the disk fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// At most `limit` entries in the order of their keys, from `from` to before `to`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>>;

    /// The last entry from `from` to before `to`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>>;

    /// Does all of `batch` or nothing. When it returns, a power cut does not undo it.
    ///
    /// # Errors
    /// As [`get`](Self::get). Whether the batch was done is then known only after it was opened again.
    fn apply(&self, batch: &Batch) -> Result<()>;
}

/// Changes that belong together: for each key its new value, or that it is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Batch {
    /// Sets `key`; what was said of it before is forgotten.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.insert(key.into(), Some(value.into()));
    }

    /// Removes `key`; what was said of it before is forgotten.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.changes.insert(key.into(), None);
    }

    /// The changes in the order of their keys; `None` removes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// How many keys it changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
