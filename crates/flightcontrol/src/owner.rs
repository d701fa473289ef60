//! The task that owns a key: it runs legs and generations until nobody waits, and never lets two runs overlap, since
//! it awaits each to its end before it looks for the next.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::task::TaskTracker;

use crate::error::Error;
use crate::progress::Item;
use crate::table::Table;

/// What callers and owners of a group share.
pub(crate) struct Shared<K, T, E, P: Item> {
    table: Mutex<Table<K, T, E, P>>,
    /// Counts owners, and callers on their way in; closed, it says that the group is.
    pub(crate) owners: TaskTracker,
}

impl<K: Eq + Hash, T, E, P: Item> Shared<K, T, E, P> {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::new(Table::new()), owners: TaskTracker::new() }
    }

    /// Takes the only lock there is. Held for a step of the table, never across an await, and never while a user's
    /// closure, value or waker runs or is dropped. Poison is ignored: only a key's own traits can cause it.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table<K, T, E, P>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ownership of one key of the table, from the caller that opened it until nobody waits.
pub(crate) struct Owner<K: Eq + Hash, T, E, P: Item> {
    shared: Arc<Shared<K, T, E, P>>,
    key: K,
    /// The table still has the key.
    seated: bool,
}

impl<K: Eq + Hash, T: Clone, E, P: Item> Owner<K, T, E, P> {
    /// Takes charge of a key that was just opened.
    pub(crate) fn of(shared: Arc<Shared<K, T, E, P>>, key: K) -> Self {
        Self { shared, key, seated: true }
    }

    /// Runs what callers want until none is left.
    pub(crate) async fn run(mut self) {
        let mut ended = None;
        loop {
            let turn = self.shared.table().turn(&self.key, ended.as_ref(), self.shared.owners.is_closed());
            self.seated = turn.next.is_some();
            drop(turn.past);
            if let Some((_, outcome)) = ended.take() {
                outcome.tell(turn.served);
            }
            for waiter in turn.refused.into_values() {
                let _ = waiter.reply.send(Err(Error::Closed));
            }
            for (attach, feed) in turn.feeds {
                attach.to(feed);
            }
            let Some(leg) = turn.next else { return };
            ended = Some(leg.fly().await);
        }
    }
}

impl<K: Eq + Hash, T, E, P: Item> Drop for Owner<K, T, E, P> {
    /// A runtime that shuts down drops its tasks where they are. Then the key must not stay taken, and those who wait,
    /// perhaps on another runtime, must not wait for ever.
    fn drop(&mut self) {
        if !self.seated {
            return;
        }
        let abandoned = self.shared.table().abandon(&self.key);
        if let Some(slot) = abandoned {
            slot.cancel.cancel();
        }
    }
}
