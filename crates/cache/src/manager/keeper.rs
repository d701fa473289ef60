//! What dropped handles leave to be written: dropping one only counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::live::Table;
use crate::error::Result;
use crate::metadata::Transaction;
use crate::record::{RecordId, Retention, Rows};
use crate::root::{Live, Pin};

/// Collects until somebody writes.
#[derive(Debug, Default)]
pub(super) struct Keeper(Mutex<Kept>);

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// When records were used last, in milliseconds since 1970, and how often since it was written down.
    uses: HashMap<RecordId, (u64, u64)>,
    /// Mutable refs whose handle has gone.
    idle: Vec<RecordId>,
}

impl Keeper {
    /// A record was used. Says whether this is the first thing to be written.
    pub(super) fn used(&self, id: &RecordId, at: u64) -> bool {
        let mut kept = self.kept();
        let first = kept.is_empty();
        let entry = kept.uses.entry(id.clone()).or_insert((at, 0));
        *entry = (entry.0.max(at), entry.1 + 1);
        first
    }

    /// Nobody has a handle on a mutable ref any more. Says whether this is the first thing to be written.
    pub(super) fn idle(&self, id: &RecordId) -> bool {
        let mut kept = self.kept();
        let first = kept.is_empty();
        kept.idle.push(id.clone());
        first
    }

    /// Takes what there is, to write it in the turn that is at hand.
    pub(super) fn take(self: &Arc<Self>) -> Taken {
        Taken { keeper: Arc::clone(self), kept: std::mem::take(&mut *self.kept()) }
    }

    /// Takes back what could not be written.
    pub(super) fn give_back(&self, unwritten: Kept) {
        let mut kept = self.kept();
        for (id, (at, times)) in unwritten.uses {
            let entry = kept.uses.entry(id).or_insert((at, 0));
            *entry = (entry.0.max(at), entry.1 + times);
        }
        kept.idle.extend(unwritten.idle);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was taken, and is given back unless it is [written](Taken::written).
#[derive(Debug)]
pub(super) struct Taken {
    keeper: Arc<Keeper>,
    kept: Kept,
}

impl Taken {
    /// Writes it. Returns whether something is left for another turn.
    pub(super) fn write(&self, rows: &mut Transaction<'_>, table: &Table, live: &Live) -> Result<bool> {
        for (id, (at, times)) in &self.kept.uses {
            // It may have been removed meanwhile, and one that cannot be read must not be in the way of all that is written.
            if matches!(Rows::get(rows, id), Ok(Some(_))) {
                Rows::touch(rows, id, *at, *times)?;
            }
        }
        let mut is_left = false;
        let mut elsewhere = None;
        for id in &self.kept.idle {
            let Ok(Some(record)) = Rows::get(rows, id) else { continue };
            // Somebody may have taken it up again.
            let taken = table.get(id).is_some_and(|live| live.handles() > 0);
            let disposable =
                !taken && record.mutable && record.retention == Retention::Drop && record.twin.is_none();
            if !disposable || !Rows::children(rows, id)?.is_empty() {
                continue;
            }
            let pin = Pin::Record(id.as_str().into());
            if live.is_pinned_here(&pin) {
                // It is being dropped, or taken up, at this moment: which of the two is known later.
                self.keeper.idle(id);
                is_left = true;
                continue;
            }
            let others = match elsewhere.take() {
                Some(others) => others,
                None => live.pinned_by_others()?,
            };
            // Who has taken it up in another process leaves it there when its handle goes.
            if !others.contains(&pin) {
                Rows::delete(rows, &record);
            }
            elsewhere = Some(others);
        }
        Ok(is_left)
    }

    /// Says that it is written as soon as the turn is committed. What is returned is to be given back if it is not.
    pub(super) fn written(mut self) -> Kept {
        std::mem::take(&mut self.kept)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.keeper.give_back(std::mem::take(&mut self.kept));
    }
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.uses.is_empty() && self.idle.is_empty()
    }
}
