//! What a vertex tells while something of it runs, to every job that has it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use smallvec::SmallVec;

use crate::ids::VertexName;
use crate::status::journal::Journal;
use crate::status::tape::{Cursor, Tape};
use crate::status::{Event, What};

/// The way from a running op to the journals of its jobs, and what it told so far for jobs that come later.
pub(crate) struct Feed(Mutex<Inner>);

struct Inner {
    /// With the name that the job knows the vertex by: it may have been merged into another.
    to: SmallVec<[(Arc<VertexName>, Arc<Journal>); 1]>,
    /// Where the names and journals of `to` are, if there are more than a few: many vertices may have been merged into one.
    known: BTreeSet<(usize, usize)>,
    told: Tape,
}

/// From how many listeners on they are looked up and not searched.
const MANY: usize = 8;

impl Inner {
    /// Whether this job listens under this name; from now on it does.
    fn knows(&mut self, name: &Arc<VertexName>, journal: &Arc<Journal>) -> bool {
        if self.to.len() < MANY {
            return self.to.iter().any(|(to, at)| Arc::ptr_eq(at, journal) && Arc::ptr_eq(to, name));
        }
        let place = |name: &Arc<VertexName>, journal: &Arc<Journal>| {
            (Arc::as_ptr(name).addr(), Arc::as_ptr(journal).addr())
        };
        if self.known.is_empty() {
            self.known.extend(self.to.iter().map(|(name, journal)| place(name, journal)));
        }
        !self.known.insert(place(name, journal))
    }

    /// Keeps those that this says of.
    fn keep(&mut self, mut keeps: impl FnMut(&Arc<VertexName>, &Arc<Journal>) -> bool) {
        let before = self.to.len();
        self.to.retain(|(name, journal)| keeps(name, journal));
        if self.to.len() < before {
            self.known.clear();
        }
    }
}

impl Feed {
    /// One that tells nobody yet and keeps this many bytes of what the vertex writes.
    pub(crate) fn new(log_limit: usize) -> Self {
        Self(Mutex::new(Inner { to: SmallVec::new(), known: BTreeSet::new(), told: Tape::new(log_limit) }))
    }

    /// Held while journals are written to, whose lock comes after this one; never across an await.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells this job too, beginning with what was told so far. A job that listens under this name already does nothing.
    pub(crate) fn attach(&self, name: &Arc<VertexName>, journal: &Arc<Journal>) {
        let mut inner = self.lock();
        if inner.knows(name, journal) {
            return;
        }
        let mut cursor = Cursor::default();
        while let Some(mut event) = inner.told.read(&mut cursor) {
            event.vertex = Some(Arc::clone(name));
            journal.push(event);
        }
        inner.to.push((Arc::clone(name), Arc::clone(journal)));
    }

    /// Tells this job nothing more.
    pub(crate) fn detach(&self, journal: &Arc<Journal>) {
        self.lock().keep(|_, to| !Arc::ptr_eq(to, journal));
    }

    /// Whether nothing was told that a later job would have to be told.
    pub(crate) fn is_silent(&self) -> bool {
        self.lock().told.is_empty()
    }

    pub(crate) fn tell(&self, what: What) {
        let at = SystemTime::now();
        let mut inner = self.lock();
        // A job that has ended listens no more, be it that it had the vertex through a build within a build.
        inner.keep(|name, journal| {
            journal.push(Event { at, vertex: Some(Arc::clone(name)), what: what.clone() })
        });
        inner.told.push(Event { at, vertex: None, what });
    }
}
