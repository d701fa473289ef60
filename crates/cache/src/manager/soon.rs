//! What is durable soon: refs of a build, whose trees and rows become durable together.
//!
//! ```text
//! new_mutable ▸ written ▸ commit ▸ … a child on top: finalized ▸ …          no syncs, rows in memory
//!                                       settle, close, another process, a durable write ─▶ syncfs ▸ rows, one batch
//! ```
//! Rows that speak of a tree are durable after it is: what a power cut leaves is trees that no row speaks of, or rows whose
//! trees are whole. What makes a tree a snapshot is a rename, and a file that says so, which a power cut may take: then what
//! it was before says it, see [`Snapshotter::commit_soon`].

//! A batch that could not be made durable stays known as long as the manager is open: refs of it are never said to be durable,
//! whoever was told before.

use std::sync::Arc;

use super::Manager;
use crate::error::Result;
use crate::metadata::{Barrier, Since};
use crate::snapshot::Snapshotter;

/// Syncs trees before the rows that speak of them are committed.
#[derive(Debug)]
pub(super) struct Soon(pub(super) Arc<dyn Snapshotter>);

impl Barrier for Soon {
    fn sync(&self) -> Result<()> {
        self.0.sync_all()
    }
}

impl Manager {
    /// Waits until all is durable that was made here: refs that were committed, what they stand on, and what merges and
    /// diffs are made of them. Many share one sync. To be called before somebody outside is told that a build is done.
    ///
    /// # Errors
    /// [`Error::Shared`](crate::Error::Shared) with what went wrong where anything could not be made durable since the
    /// manager was opened: such refs are gone. Everybody who asks is told. Who is not concerned by what went wrong before
    /// asks with [`settle_since`](Self::settle_since).
    pub async fn settle(&self) -> Result<()> {
        self.0.db.settle().await
    }

    /// From now on, for [`settle_since`](Self::settle_since).
    #[must_use]
    pub fn now(&self) -> Since {
        self.0.db.now()
    }

    /// The same as [`settle`](Self::settle), but what is told is only what was lost of what was made `since` then.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub async fn settle_since(&self, since: Since) -> Result<()> {
        self.0.db.settle_since(since).await
    }
}
