//! A store in memory, for tests and for who wants nothing kept.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Batch, Engine, Entry, MetadataStore};
use crate::error::Result;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keeps everything in this value and its clones: opened again with it, a store has what it had. Other processes do not
/// see it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    stores: Arc<Mutex<HashMap<PathBuf, Arc<Mutex<Map>>>>>,
}

#[derive(Debug)]
struct MemoryStore(Arc<Mutex<Map>>);

impl Engine for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn is_persistent(&self) -> bool {
        false
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn MetadataStore>> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let map = stores.entry(dir.to_owned()).or_default();
        Ok(Box::new(MemoryStore(Arc::clone(map))))
    }
}

impl MemoryStore {
    fn map(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `BTreeMap::range` panics where the end comes before the beginning.
fn bounds<'a>(from: &'a [u8], to: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(from), Bound::Excluded(to.max(from)))
}

impl MetadataStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.map().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>> {
        let map = self.map();
        let range = map.range::<[u8], _>(bounds(from, to));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>> {
        let map = self.map();
        let last = map.range::<[u8], _>(bounds(from, to)).next_back();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn apply(&self, batch: &Batch) -> Result<()> {
        let mut map = self.map();
        for (key, value) in batch.iter() {
            match value {
                Some(value) => map.insert(key.to_vec(), value.to_vec()),
                None => map.remove(key),
            };
        }
        Ok(())
    }
}
