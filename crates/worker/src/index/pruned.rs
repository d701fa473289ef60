//! What a prune leaves in the index.

use lazyblob_cache::{Manager, RecordId};
use lazyblob_solver::{KeyStore as _, ResultId, StoreError};

use super::DiskKeys;
use crate::error::{Error, Result};
use crate::results::SCRATCH;

impl DiskKeys {
    /// Forgets the results whose records are gone from `manager`, with the keys that lead nowhere then: for who has pruned
    /// a cache without an engine. Lazy results are there. Returns how many were forgotten.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget_pruned(&self, manager: &Manager) -> Result<usize> {
        let failed = |error: StoreError| Error::failed("forget results", "the solver's index", error);
        let mut gone: Vec<ResultId> = Vec::new();
        for id in self.all_results().await.map_err(failed)? {
            let is_there = match RecordId::parse(id.as_str()) {
                Ok(record) => manager.record(&record).await?.is_some(),
                Err(_) => id.as_str() == SCRATCH,
            };
            if !is_there {
                gone.push(id);
            }
        }
        if !gone.is_empty() {
            self.release(&gone).await.map_err(failed)?;
        }
        Ok(gone.len())
    }
}
