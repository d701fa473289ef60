//! Finds a tree of a cache, or makes one.

use std::sync::Arc;

use lazyblob_cache::record::{RecordType, Retention};
use lazyblob_cache::{ExtractOptions, GetOptions, Manager, RecordId};
use lazyblob_remote::Access;
use lazyblob_remote::layout::flock::Attempt;
use lazyblob_solver::{LoadCx, OpError};
use tokio::sync::Notify;

use super::index::{self, Row};
use super::lease::{Lease, Taken};
use super::{Wanted, hashed};
use crate::llb::pb::CacheSharingOpt;
use crate::ops::exec::blocking::blocking;
use crate::ops::exec::failed;

/// Looks for a tree of a cache.
pub(super) struct Finder<'a> {
    pub(super) manager: &'a Manager,
    pub(super) access: Access,
    pub(super) cx: &'a LoadCx,
    pub(super) wanted: Wanted,
    /// Wakes those of this process who wait for a cache of this id.
    pub(super) released: Arc<Notify>,
}

impl Finder<'_> {
    /// Looks once, and makes a tree where none is to be waited for.
    pub(super) async fn attempt(&self) -> Result<Attempt<Lease>, OpError> {
        // Until this goes, nobody else makes or fills a tree of this id.
        let lock = format!("cache-{}", hashed(&[&self.wanted.id]));
        let locks = self.manager.root().staging_locks();
        let claim = locks.claim(&lock, self.access.progress.as_ref(), self.cx.cancellation());
        let _claim = claim.await.map_err(failed::op)?;
        let mut is_busy = false;
        for row in index::find(self.manager, &self.wanted.keys).await.map_err(failed::op)? {
            match self.take(&row.id).await? {
                Taken::Ours(lease) => return self.ready(&row, lease).await.map(Attempt::Held),
                Taken::Busy => is_busy = true,
                Taken::Gone => {
                    index::remove(self.manager, &self.wanted.keys, &row.id).await.map_err(failed::op)?;
                }
            }
        }
        if is_busy && self.wanted.sharing == CacheSharingOpt::Locked {
            return Ok(Attempt::Busy(None));
        }
        self.make().await.map(Attempt::Held)
    }

    async fn take(&self, id: &RecordId) -> Result<Taken, OpError> {
        let is_shared = self.wanted.sharing == CacheSharingOpt::Shared;
        Lease::take(self.manager, id, is_shared, &self.released).await.map_err(failed::op)
    }

    async fn make(&self) -> Result<Lease, OpError> {
        let options = GetOptions {
            description: Some(format!("cache mount {}", self.wanted.id)),
            record_type: RecordType::ExecCacheMount,
            retention: Retention::Retain,
            ..GetOptions::default()
        };
        let made = self.manager.new_mutable(None, &self.access, options).await.map_err(failed::op)?;
        // Before it is filled: who is killed or cancelled meanwhile leaves it to the next one.
        let row = Row { id: made.id(), is_ready: false, is_whole: false };
        index::put(self.manager, &self.wanted.keys, &row).await.map_err(failed::op)?;
        match self.take(&row.id).await? {
            Taken::Ours(lease) => self.ready(&row, lease).await,
            Taken::Busy | Taken::Gone => {
                let lost = lazyblob_cache::Error::Lost {
                    what: lazyblob_remote::What::new("make cache mount", &self.wanted.id),
                    reason: "its tree has gone at once".to_owned(),
                };
                Err(failed::op(lost))
            }
        }
    }

    /// Fills a tree that was not filled, and writes down that it was, and that it was used.
    async fn ready(&self, row: &Row, lease: Lease) -> Result<Lease, OpError> {
        if !row.is_ready {
            self.fill(&lease).await?;
        }
        if !row.is_ready || !row.is_whole {
            let row = Row { is_ready: true, ..row.clone() };
            index::put(self.manager, &self.wanted.keys, &row).await.map_err(failed::op)?;
        }
        // A handle that goes counts as a use. Another process that has it pinned counts its own.
        let options = GetOptions { retention: Retention::Retain, ..GetOptions::default() };
        if let Err(error) = self.manager.get_mutable(&row.id, options).await {
            tracing::debug!(%error, id = %row.id, "that a cache was used is not written down");
        }
        Ok(lease)
    }

    /// Copies what the cache begins as. The directory is empty or whole, whatever happens.
    async fn fill(&self, lease: &Lease) -> Result<(), OpError> {
        let Some((input, tree)) = &self.wanted.seed else { return Ok(()) };
        let directory = lease.directory().to_owned();
        let look = {
            let directory = directory.clone();
            move || {
                let mut entries = std::fs::read_dir(&directory)
                    .map_err(|error| crate::Error::io("fill cache mount", &directory, error))?;
                Ok(entries.next().is_none())
            }
        };
        if !blocking("fill cache mount", look).await.map_err(failed::op)? {
            return Ok(());
        }
        let filled = tree.extract_to(&directory, ExtractOptions::default(), &self.access).await;
        filled.map_err(|error| failed::of(Some(*input), error))?;
        Ok(())
    }
}
