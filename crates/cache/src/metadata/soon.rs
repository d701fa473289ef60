//! Batches of what is to be durable soon: gathered, sealed, and what became of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::call::Answer;
use super::overlay::Changes;
use crate::error::{Error, Result};

/// What is to be durable soon is so when it is this much, however young.
const MANY: usize = 50_000;

/// A moment in the life of a database: what was written after it is told apart from what was written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(u64);

impl Since {
    /// Before anything was written.
    pub(super) const BEGINNING: Self = Self(0);
}

/// The numbers of batches. They end in their order: durable, or lost, which is known from then on.
#[derive(Debug)]
pub(crate) struct Batches(Mutex<Numbers>);

#[derive(Debug)]
struct Numbers {
    /// The one that is gathered. Never 0.
    gathered: u64,
    /// This one and those before have ended.
    ended: u64,
    /// Why some of these are not durable.
    lost: BTreeMap<u64, Arc<Error>>,
}

impl Default for Batches {
    fn default() -> Self {
        Self(Mutex::new(Numbers { gathered: 1, ended: 0, lost: BTreeMap::new() }))
    }
}

impl Batches {
    /// The batch that a closure's changes are in, which are to be durable soon; to be asked in the closure.
    pub(crate) fn gathered(&self) -> u64 {
        self.numbers().gathered
    }

    /// Whether all these batches have ended.
    ///
    /// # Errors
    /// [`Error::Shared`] with why one of them was lost.
    pub(crate) fn have_ended(&self, batches: impl Iterator<Item = u64>) -> Result<bool> {
        let numbers = self.numbers();
        let mut all = true;
        for batch in batches {
            if let Some(error) = numbers.lost.get(&batch) {
                return Err(Error::Shared(Arc::clone(error)));
            }
            all &= batch <= numbers.ended;
        }
        Ok(all)
    }

    pub(super) fn now(&self) -> Since {
        Since(self.gathered())
    }

    pub(super) fn lost_since(&self, Since(first): Since) -> Result<()> {
        match self.numbers().lost.range(first..).next() {
            Some((_, error)) => Err(Error::Shared(Arc::clone(error))),
            None => Ok(()),
        }
    }

    /// What is gathered from now on is of the next one. Returns the number of the one that is sealed.
    pub(super) fn seal(&self) -> u64 {
        let mut numbers = self.numbers();
        numbers.gathered += 1;
        numbers.gathered - 1
    }

    pub(super) fn end(&self, batch: u64, lost: Option<&Arc<Error>>) {
        let mut numbers = self.numbers();
        numbers.ended = batch;
        if let Some(error) = lost {
            numbers.lost.insert(batch, Arc::clone(error));
        }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes of one batch, and who waits until they are durable.
pub(super) struct Pending {
    pub(super) changes: Changes,
    /// Since when there are any.
    pub(super) since: Instant,
    pub(super) answers: Vec<Box<dyn Answer>>,
    pub(super) settles: Vec<oneshot::Sender<Result<()>>>,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self { changes: Changes::new(), since: Instant::now(), answers: Vec::new(), settles: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.answers.is_empty() && self.settles.is_empty()
    }

    /// Whether it is time to make it durable: somebody waits for it, it is as old as `soon` says, or too much.
    pub(super) fn is_due(&self, soon: Duration) -> bool {
        let is_awaited = !self.answers.is_empty() || !self.settles.is_empty();
        let is_old = !self.changes.is_empty() && self.since.elapsed() >= soon;
        is_awaited || is_old || self.changes.len() >= MANY
    }

    /// Says what came of it to all who wait. Who settles finds what was lost in [`Batches`].
    pub(super) fn tell(self, outcome: &Result<(), Arc<Error>>) {
        for answer in self.answers {
            match outcome {
                Ok(()) => answer.committed(),
                Err(error) => answer.failed(error),
            }
        }
        for reply in self.settles {
            // Whoever does not wait any more does not hear of it.
            let _ = reply.send(Ok(()));
        }
    }
}

/// A batch that is sealed, while what it speaks of is synced.
pub(super) struct Sealed {
    pub(super) pending: Pending,
    pub(super) batch: u64,
    pub(super) sync: JoinHandle<Result<()>>,
}
