//! Records that somebody has a handle on, in this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::handler::DescHandlers;
use crate::record::{Record, RecordId};
use crate::root::Pinned;
use crate::tree::Slot;

/// A record in use, and what it stands on. As long as it lives, neither it nor its bytes are pruned, in any process.
#[derive(Debug)]
pub(crate) struct Live {
    record: RwLock<Arc<Record>>,
    /// What it stands on, in the order of [`Kind::parents`](crate::record::Kind::parents).
    parents: Vec<Arc<Live>>,
    uses: Mutex<Uses>,
    slot: Slot,
    /// The batch that its rows become durable with; 0 where they are.
    batch: AtomicU64,
    /// Its own snapshot was seen since it is pinned.
    has_snapshot: AtomicBool,
    /// What every process sees of it.
    _pin: Pinned,
    table: Weak<Table>,
}

#[derive(Debug, Default)]
struct Uses {
    /// Handles there are.
    handles: usize,
    /// Those of them whose last one counts as a use.
    counting: usize,
    /// What they know of the way to blobs, each as long as its handle lives.
    handlers: HashMap<u64, DescHandlers>,
    next: u64,
}

impl Uses {
    fn enter(&mut self, counts: bool, handlers: &DescHandlers) -> u64 {
        self.handles += 1;
        self.counting += usize::from(counts);
        let ticket = self.next;
        self.next += 1;
        if !handlers.is_empty() {
            self.handlers.insert(ticket, handlers.clone());
        }
        ticket
    }
}

/// What the last handles of a kind to go leave to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// It was used.
    pub(crate) used: bool,
    /// Nobody has a handle on it any more.
    pub(crate) idle: bool,
}

impl Live {
    /// The record as it is now.
    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of what was written.
    pub(crate) fn update(&self, record: Record) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(record);
    }

    /// What it stands on.
    pub(crate) fn parents(&self) -> &[Arc<Self>] {
        &self.parents
    }

    /// The one among its parents that is called `id`.
    pub(crate) fn parent(&self, id: &RecordId) -> Option<&Arc<Self>> {
        self.parents.iter().find(|parent| parent.record().id == *id)
    }

    /// Whether its own snapshot is known to be here: what is pinned stays.
    pub(crate) fn has_snapshot(&self) -> bool {
        self.has_snapshot.load(Ordering::Relaxed)
    }

    /// Its own snapshot was seen.
    pub(crate) fn saw_snapshot(&self) {
        self.has_snapshot.store(true, Ordering::Relaxed);
    }

    /// The batch that its rows become durable with; 0 where they were when they were read.
    pub(crate) fn batch(&self) -> u64 {
        self.batch.load(Ordering::SeqCst)
    }

    /// Its rows become durable with a batch.
    pub(crate) fn is_of_batch(&self, batch: u64) {
        self.batch.store(batch, Ordering::SeqCst);
    }

    /// Where its tree is shown.
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Handles on it.
    pub(crate) fn handles(&self) -> usize {
        self.uses().handles
    }

    /// Counts a handle and remembers what it knows.
    pub(crate) fn enter(&self, counts: bool, handlers: &DescHandlers) -> u64 {
        self.uses().enter(counts, handlers)
    }

    /// Counts a handle only if there is none: a mutable tree has one owner.
    pub(crate) fn enter_alone(&self, handlers: &DescHandlers) -> Option<u64> {
        let mut uses = self.uses();
        (uses.handles == 0).then(|| uses.enter(true, handlers))
    }

    /// A handle goes.
    pub(crate) fn leave(&self, ticket: u64, counts: bool) -> Left {
        let mut uses = self.uses();
        uses.handles -= 1;
        uses.counting -= usize::from(counts);
        let gone = uses.handlers.remove(&ticket);
        let left = Left { used: counts && uses.counting == 0, idle: uses.handles == 0 };
        drop(uses);
        // Not under the lock: a handler may hold anything.
        drop(gone);
        left
    }

    /// What other handles on it know of the way to blobs.
    pub(crate) fn handlers(&self) -> Vec<DescHandlers> {
        self.uses().handlers.values().cloned().collect()
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else { return };
        let id = self.record().id.clone();
        table.0.remove_if(&id, |_, entry| entry.strong_count() == 0);
    }
}

/// All records in use, by id. No guard of it outlives a statement.
#[derive(Debug, Default)]
pub(crate) struct Table(DashMap<RecordId, Weak<Live>>);

impl Table {
    /// The record called `id` if it is in use.
    pub(crate) fn get(&self, id: &RecordId) -> Option<Arc<Live>> {
        self.0.get(id).and_then(|entry| entry.upgrade())
    }

    /// Enters a record that was read or written just now, or gives what is there already.
    pub(crate) fn enter(self: &Arc<Self>, record: Record, parents: Vec<Arc<Live>>, pin: Pinned) -> Arc<Live> {
        let id = record.id.clone();
        let table = Arc::downgrade(self);
        match self.0.entry(id) {
            Entry::Occupied(mut there) => {
                if let Some(live) = there.get().upgrade() {
                    return live;
                }
                let live = Arc::new(Live::new(record, parents, pin, table));
                there.insert(Arc::downgrade(&live));
                live
            }
            Entry::Vacant(free) => {
                let live = Arc::new(Live::new(record, parents, pin, table));
                free.insert(Arc::downgrade(&live));
                live
            }
        }
    }
}

impl Live {
    fn new(record: Record, parents: Vec<Arc<Self>>, pin: Pinned, table: Weak<Table>) -> Self {
        Self {
            record: RwLock::new(Arc::new(record)),
            parents,
            uses: Mutex::default(),
            slot: Slot::default(),
            batch: AtomicU64::new(0),
            has_snapshot: AtomicBool::new(false),
            _pin: pin,
            table,
        }
    }
}
