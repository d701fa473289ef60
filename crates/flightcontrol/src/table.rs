//! The state machine: which callers wait for which run.
//!
//! Synchronous, and free of a user's code but for the key's own traits: all of it happens under the group's one lock,
//! so whatever else is to be run, sent, woken or dropped is handed out and dealt with outside of it.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::Hash;
use std::mem;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::leg::{Leg, Outcome};
use crate::progress::{Attach, Broadcast, Feed, Item};
use crate::work::{Context, Work};

/// Names a waiter. Tickets count up over the life of a group: their order is the order of arrival.
pub(crate) type Ticket = u64;

/// A caller that waits.
pub(crate) struct Waiter<T, E, P: Item> {
    pub(crate) reply: oneshot::Sender<Result<T, Error<E>>>,
    /// Its closure, until it runs.
    pub(crate) work: Option<Work<T, E, P>>,
    /// Its watcher, until its generation begins.
    pub(crate) attach: Option<Attach<P>>,
    /// Where traces belong if it is this caller's closure that runs.
    pub(crate) span: tracing::Span,
}

/// Waiters in the order of arrival.
pub(crate) type Cohort<T, E, P> = BTreeMap<Ticket, Waiter<T, E, P>>;

/// A key that has an owner. While a run is under way, it is cancelled exactly if `present` is empty.
pub(crate) struct Slot<T, E, P: Item> {
    /// Those whom this generation serves.
    present: Cohort<T, E, P>,
    /// Those of the next one: they came when everybody had left this one and its run was winding down.
    queue: Cohort<T, E, P>,
    pub(crate) cancel: CancellationToken,
    progress: Broadcast<P>,
}

impl<T, E, P: Item> Slot<T, E, P> {
    fn serving(present: Cohort<T, E, P>) -> Self {
        let (cancel, progress) = (CancellationToken::new(), Broadcast::new());
        Self { present, queue: BTreeMap::new(), cancel, progress }
    }

    /// The closure of whoever has waited longest.
    fn next_leg(&mut self) -> Option<Leg<T, E, P>> {
        let (ticket, work, span) = self.present.iter_mut().find_map(|(ticket, waiter)| {
            waiter.work.take().map(|work| (*ticket, work, waiter.span.clone()))
        })?;
        // A child: if work cancels its own token, the next closure of its generation is not born cancelled.
        let context = Context::new(self.cancel.child_token(), self.progress.emitter());
        Some(Leg { ticket, work, context, span })
    }
}

/// A caller has come in.
pub(crate) struct Entered<P: Item> {
    pub(crate) ticket: Ticket,
    /// The key is new here: it needs an owner.
    pub(crate) opened: bool,
    /// Its watcher, to be brought to the board.
    pub(crate) feed: Option<(Attach<P>, Feed<P>)>,
}

/// A caller has left.
pub(crate) struct Left<T, E, P: Item> {
    /// To be cancelled: nobody is left.
    pub(crate) cancel: Option<CancellationToken>,
    /// To be dropped, with its closure.
    pub(crate) waiter: Waiter<T, E, P>,
}

/// What the owner has to see to between two legs.
pub(crate) struct Turn<T, E, P: Item> {
    /// The progress of a generation that is over: dropping it ends its watchers, once they have read it.
    pub(crate) past: Option<Broadcast<P>>,
    /// Those who get the outcome.
    pub(crate) served: Cohort<T, E, P>,
    /// Those whose generation does not begin, as the group is closed.
    pub(crate) refused: Cohort<T, E, P>,
    /// Watchers whose generation begins.
    pub(crate) feeds: Vec<(Attach<P>, Feed<P>)>,
    /// The closure to run now. Without one the key is given up.
    pub(crate) next: Option<Leg<T, E, P>>,
}

/// Every key under way, with those who wait for it.
pub(crate) struct Table<K, T, E, P: Item> {
    slots: HashMap<K, Slot<T, E, P>>,
    tickets: Ticket,
}

impl<K: Eq + Hash, T, E, P: Item> Table<K, T, E, P> {
    pub(crate) fn new() -> Self {
        Self { slots: HashMap::new(), tickets: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Joins the generation of `key`, opens one, or queues for the next if the run under way is cancelled.
    pub(crate) fn enter(&mut self, key: K, mut waiter: Waiter<T, E, P>) -> Entered<P> {
        self.tickets += 1;
        let ticket = self.tickets;
        let (slot, opened) = match self.slots.entry(key) {
            Entry::Occupied(slot) => (slot.into_mut(), false),
            Entry::Vacant(vacancy) => (vacancy.insert(Slot::serving(BTreeMap::new())), true),
        };
        if !opened && slot.present.is_empty() {
            slot.queue.insert(ticket, waiter);
            return Entered { ticket, opened, feed: None };
        }
        let feed = waiter.attach.take().map(|attach| (attach, slot.progress.feed()));
        slot.present.insert(ticket, waiter);
        Entered { ticket, opened, feed }
    }

    /// Withdraws an interest. `None`: it was answered already.
    pub(crate) fn leave(&mut self, key: &K, ticket: Ticket) -> Option<Left<T, E, P>> {
        let slot = self.slots.get_mut(key)?;
        if let Some(waiter) = slot.queue.remove(&ticket) {
            return Some(Left { cancel: None, waiter });
        }
        let waiter = slot.present.remove(&ticket)?;
        let cancel = slot.present.is_empty().then(|| slot.cancel.clone());
        Some(Left { cancel, waiter })
    }

    /// The step between two legs: settles who hears of `ended`, and finds what to run next. A generation is over when
    /// nobody is left in it; then those in the queue are the next one, or the key is given up. As all of that is one
    /// step, a caller comes either before the end and is served, or after it and starts anew.
    pub(crate) fn turn(
        &mut self,
        key: &K,
        ended: Option<&(Ticket, Outcome<T, E>)>,
        closed: bool,
    ) -> Turn<T, E, P> {
        let (served, refused) = (BTreeMap::new(), BTreeMap::new());
        let mut turn = Turn { past: None, served, refused, feeds: Vec::new(), next: None };
        let Some(slot) = self.slots.get_mut(key) else { return turn };
        match ended {
            None => {}
            Some((_, Outcome::Common(_))) => turn.served = mem::take(&mut slot.present),
            Some((ticket, Outcome::Personal(_))) => turn.served.extend(slot.present.remove_entry(ticket)),
        }
        if slot.present.is_empty() {
            let queue = mem::take(&mut slot.queue);
            if closed {
                turn.refused = queue;
            } else if !queue.is_empty() {
                turn.past = Some(mem::replace(slot, Slot::serving(queue)).progress);
                let watchers = slot.present.values_mut().filter_map(|waiter| waiter.attach.take());
                turn.feeds = watchers.map(|attach| (attach, slot.progress.feed())).collect();
            }
        }
        turn.next = slot.next_leg();
        if turn.next.is_none() {
            turn.past = self.slots.remove(key).map(|slot| slot.progress);
        }
        turn
    }

    /// Gives up a key whose owner was dropped. Dropping the slot tells its waiters.
    pub(crate) fn abandon(&mut self, key: &K) -> Option<Slot<T, E, P>> {
        self.slots.remove(key)
    }

    /// The tokens of all runs under way.
    pub(crate) fn tokens(&self) -> Vec<CancellationToken> {
        self.slots.values().map(|slot| slot.cancel.clone()).collect()
    }
}
