//! The handle on a tree that may change.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::blocking::blocking;
use crate::error::{Error, Result, What};
use crate::handler::DescHandlers;
use crate::manager::Manager;
use crate::manager::live::Live;
use crate::manager::mutable::locked;
use crate::record::{Record, RecordId, Retention};

/// The one handle on a tree that may change. When it goes, the tree does, unless it was to be
/// [retained](Retention::Retain) or was committed.
pub struct MutableRef {
    manager: Manager,
    live: Arc<Live>,
    handlers: DescHandlers,
    ticket: u64,
}

impl MutableRef {
    /// # Errors
    /// [`Error::Locked`] where there is a handle already.
    pub(crate) fn open(manager: &Manager, live: Arc<Live>, handlers: DescHandlers) -> Result<Self> {
        match live.enter_alone(&handlers) {
            Some(ticket) => Ok(Self { manager: manager.clone(), live, handlers, ticket }),
            None => Err(locked(&live.record().id, "somebody has a handle on it")),
        }
    }

    /// The name of its record.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.record().id.clone()
    }

    /// What is known of it.
    #[must_use]
    pub fn record(&self) -> Arc<Record> {
        self.live.record()
    }

    /// What it knows of the way to the blobs below.
    #[must_use]
    pub fn handlers(&self) -> &DescHandlers {
        &self.handlers
    }

    /// The directory that takes the changes: with plain directories the whole tree, with overlayfs what differs from
    /// those below.
    ///
    /// # Errors
    /// [`Error::Lost`] where it is gone; [`Error::Io`].
    pub async fn directory(&self) -> Result<PathBuf> {
        let (record, snapshots) = (self.record(), Arc::clone(self.manager.snapshots()));
        let key = crate::snapshot::SnapshotKey::record(record.id.as_str())?;
        let active = blocking(|| What::new("find tree", &record.id), move || snapshots.active(&key)).await?;
        let lost =
            || Error::Lost { what: What::new("find tree", &record.id), reason: "it is gone".to_owned() };
        Ok(active.ok_or_else(lost)?.directory())
    }

    pub(crate) fn manager(&self) -> &Manager {
        &self.manager
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }
}

impl Drop for MutableRef {
    fn drop(&mut self) {
        let left = self.live.leave(self.ticket, true);
        let record = self.live.record();
        if left.used {
            self.manager.was_used(&record.id);
        }
        if left.idle && record.retention == Retention::Drop && record.twin.is_none() {
            self.manager.is_idle(&record.id);
        }
    }
}

impl fmt::Debug for MutableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutableRef").field("id", &self.id().as_str()).finish_non_exhaustive()
    }
}
