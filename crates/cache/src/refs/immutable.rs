//! A handle on a record that does not change.

use std::fmt;
use std::sync::Arc;

use crate::chain::{BlobChainId, ChainId};
use crate::handler::DescHandlers;
use crate::manager::Manager;
use crate::manager::live::Live;
use crate::record::{Record, RecordId};

/// A handle on a tree that does not change, whose blobs may not have been pulled yet. As long as one lives, neither the
/// record nor what is here of it is pruned, in any process. Dropping it only counts.
///
/// What it knows of the way to its blobs, its [handlers](DescHandlers), is its own: another handle on the same record may
/// know others. Clones share them, and what is made of it inherits them.
pub struct ImmutableRef {
    manager: Manager,
    live: Arc<Live>,
    handlers: DescHandlers,
    ticket: u64,
    counts: bool,
}

impl ImmutableRef {
    pub(crate) fn open(manager: &Manager, live: Arc<Live>, handlers: DescHandlers, counts: bool) -> Self {
        let ticket = live.enter(counts, &handlers);
        Self { manager: manager.clone(), live, handlers, ticket, counts }
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

    /// What it unpacks to; nothing for a tree that no blob was made of.
    #[must_use]
    pub fn chain(&self) -> Option<ChainId> {
        self.record().chain.clone()
    }

    /// Its blobs all the way down, likewise.
    #[must_use]
    pub fn blob_chain(&self) -> Option<BlobChainId> {
        self.record().blob_chain.clone()
    }

    /// What this handle knows of the way to its blobs.
    #[must_use]
    pub fn handlers(&self) -> &DescHandlers {
        &self.handlers
    }

    /// The cache it is in.
    #[must_use]
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }
}

impl Clone for ImmutableRef {
    /// Another handle that does not count as a use.
    fn clone(&self) -> Self {
        Self::open(&self.manager, Arc::clone(&self.live), self.handlers.clone(), false)
    }
}

impl Drop for ImmutableRef {
    fn drop(&mut self) {
        let left = self.live.leave(self.ticket, self.counts);
        if left.used {
            self.manager.was_used(&self.live.record().id);
        }
    }
}

impl fmt::Debug for ImmutableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImmutableRef").field("id", &self.id().as_str()).finish_non_exhaustive()
    }
}
