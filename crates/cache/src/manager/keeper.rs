//! What dropped handles leave to be written: dropping one only counts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::live::Table;
use crate::error::Result;
use crate::metadata::Transaction;
use crate::record::{RecordId, Retention, Rows};

/// Collects until somebody writes.
#[derive(Debug, Default)]
pub(super) struct Keeper(Mutex<Kept>);

/// What is to be written.
#[derive(Clone, Debug, Default)]
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

    /// Takes what there is.
    pub(super) fn take(&self) -> Kept {
        std::mem::take(&mut *self.kept())
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

impl Kept {
    fn is_empty(&self) -> bool {
        self.uses.is_empty() && self.idle.is_empty()
    }

    pub(super) fn write(self, rows: &mut Transaction<'_>, table: &Table) -> Result<()> {
        for (id, (at, times)) in self.uses {
            // It may have been removed meanwhile.
            if Rows::get(rows, &id)?.is_some() {
                Rows::touch(rows, &id, at, times)?;
            }
        }
        for id in self.idle {
            let Some(record) = Rows::get(rows, &id)? else { continue };
            // Somebody may have taken it up again.
            let taken = table.get(&id).is_some_and(|live| live.handles() > 0);
            let disposable =
                !taken && record.mutable && record.retention == Retention::Drop && record.twin.is_none();
            if disposable && Rows::children(rows, &id)?.is_empty() {
                Rows::delete(rows, &record);
            }
        }
        Ok(())
    }
}
