//! A tree of a cache that somebody uses.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lazyblob_cache::root::{Pin, Pinned};
use lazyblob_cache::snapshot::SnapshotKey;
use lazyblob_cache::{Manager, RecordId};
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::ops::exec::blocking::blocking;

/// The right to use a tree of a cache until this goes.
#[derive(Debug)]
pub(in crate::ops::exec) struct Lease {
    directory: PathBuf,
    lock: File,
    released: Arc<Notify>,
    _pin: Pinned,
}

/// What came of asking for one.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is ours.
    Ours(Lease),
    /// Somebody has it who does not share it, or has it where we would not.
    Busy,
    /// It was pruned.
    Gone,
}

impl Lease {
    /// Asks once for the tree of a record.
    pub(super) async fn take(
        manager: &Manager,
        id: &RecordId,
        is_shared: bool,
        released: &Arc<Notify>,
    ) -> Result<Taken> {
        let (live, pin) = (Arc::clone(manager.root().live()), Pin::Record(id.as_str().into()));
        // First pinned, then looked for: it is not pruned after it was found.
        let pinned = blocking("pin cache mount", move || Ok(live.pin(&[pin])?)).await?;
        if manager.record(id).await?.is_none() {
            return Ok(Taken::Gone);
        }
        let (snapshots, key) = (Arc::clone(manager.snapshots()), SnapshotKey::record(id.as_str())?);
        let released = Arc::clone(released);
        let take = move || {
            let Some(active) = snapshots.active(&key)? else { return Ok(Taken::Gone) };
            let directory = active.directory();
            // Not what is shown: a command may lock that as it likes.
            let above = directory.parent().unwrap_or(&directory);
            let locked = File::open(above).and_then(|lock| {
                let locked = if is_shared { lock.try_lock_shared() } else { lock.try_lock() };
                match locked {
                    Ok(()) => Ok(Some(lock)),
                    Err(TryLockError::WouldBlock) => Ok(None),
                    Err(TryLockError::Error(error)) => Err(error),
                }
            });
            let locked = locked.map_err(|error| Error::io("lock cache mount", above, error))?;
            Ok(locked
                .map_or(Taken::Busy, |lock| Taken::Ours(Self { directory, lock, released, _pin: pinned })))
        };
        blocking("lock cache mount", take).await
    }

    /// The tree.
    pub(in crate::ops::exec) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A child that is between fork and exec has it open as well: closing it would not do.
        drop(self.lock.unlock());
        self.released.notify_waiters();
    }
}
