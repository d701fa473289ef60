//! What is durable soon: refs of a build, whose trees and rows become durable together.
//!
//! ```text
//! new_mutable ▸ written ▸ commit ▸ … a child on top: finalized ▸ …          no syncs, rows in memory
//!                                       settle, close, another process, a durable write ─▶ syncfs ▸ rows, one batch
//! ```
//! Rows that speak of a tree are durable after it is: what a power cut leaves is trees that no row speaks of, or rows whose
//! trees are whole. What makes a tree a snapshot is a rename, and a file that says so, which a power cut may take: then what
//! it was before says it, see [`Snapshotter::commit_soon`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Manager;
use crate::error::Result;
use crate::metadata::Barrier;
use crate::snapshot::Snapshotter;

/// Counts batches.
#[derive(Debug)]
pub(crate) struct Soon {
    snapshots: Arc<dyn Snapshotter>,
    /// The number of the one that is being gathered, or committed. Never 0.
    batch: AtomicU64,
}

impl Soon {
    pub(super) fn new(snapshots: Arc<dyn Snapshotter>) -> Self {
        Self { snapshots, batch: AtomicU64::new(1) }
    }

    /// The number of the batch that is being gathered, or committed at this moment.
    pub(crate) fn batch(&self) -> u64 {
        self.batch.load(Ordering::SeqCst)
    }
}

impl Barrier for Soon {
    fn before(&self, commit: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.snapshots.sync_all()?;
        commit()?;
        // Not before: until then who asks whether it is durable is to wait.
        self.batch.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Manager {
    /// Waits until all is durable that was made here: refs that were committed, what they stand on, and what merges and
    /// diffs are made of them. Many share one sync. To be called before somebody outside is told that a build is done.
    ///
    /// # Errors
    /// [`Error::Shared`](crate::Error::Shared) with what went wrong where anything could not be made durable since this was
    /// asked last: such refs are gone.
    pub async fn settle(&self) -> Result<()> {
        self.0.db.settle().await
    }
}
