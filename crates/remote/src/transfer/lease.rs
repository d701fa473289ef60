//! The slot of one transfer, shared by what reads and what writes in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::Need;
use super::scheduler::{Place, Slot};

tokio::task_local! {
    /// The lease of the transfer that is being polled.
    static CURRENT: Lease;
}

/// One transfer's place in the queue, with the slot it holds at the moment, if any. Clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Lease(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Its lock is held while waiting in line: one transfer stands in line once.
    place: tokio::sync::Mutex<Place>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    slot: Option<Slot>,
    /// The transfer is over: whatever of it still lives somewhere gets no slot any more.
    ended: bool,
}

/// Ends a lease when it is dropped.
#[must_use = "dropped at once, it ends the lease at once"]
pub(super) struct Term(Lease);

impl Lease {
    /// Nothing held yet.
    pub(super) fn new(place: Place) -> Self {
        Self(Arc::new(Inner { place: tokio::sync::Mutex::new(place), held: Mutex::default() }))
    }

    /// As long as the result lives, slots may be held. What goes on in tasks that belong to others, a connection that
    /// still has a body of ours, keeps no slot beyond that.
    pub(super) fn term(&self) -> Term {
        Term(self.clone())
    }

    /// Waits until the seats of `need` are held, all in one step. Costs nothing where they are. `queued` is called if
    /// there is a wait.
    pub(super) async fn hold(&self, need: &Need, queued: impl FnOnce()) {
        let mut place = self.0.place.lock().await;
        if self.is_settled(|held| held == need) {
            return;
        }
        self.give_back();
        self.keep(place.slot(need, queued).await);
    }

    /// Frees the slot: nothing moves for a while, or any more.
    pub(super) fn give_back(&self) {
        let slot = self.held().slot.take();
        // Outside of the lock: that hands it on.
        drop(slot);
    }

    /// Runs `part` as a part of the transfer: a request in it that has to wait for its host waits without the slot. What
    /// it hands to other tasks is no part of it.
    pub(super) fn during<F: Future>(&self, part: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.clone(), part)
    }

    /// The lease of the transfer that whoever asks is a part of.
    pub(super) fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Waits for `wait` without holding a slot, and for the slot again where one was held; `queued` is called if that is
    /// not to be had at once. Where another part of the transfer has taken one meanwhile, that one serves.
    pub(super) async fn aside<T>(&self, wait: impl Future<Output = T>, queued: impl FnOnce()) -> T {
        let need = self.held().slot.as_ref().map(|slot| slot.need().clone());
        self.give_back();
        let value = wait.await;
        if let Some(need) = need {
            let mut place = self.0.place.lock().await;
            if !self.is_settled(|_| true) {
                self.keep(place.slot(&need, queued).await);
            }
        }
        value
    }

    /// Whether nothing is to be waited for: what is held `suffices`, or the transfer is over.
    fn is_settled(&self, suffices: impl FnOnce(&Need) -> bool) -> bool {
        let held = self.held();
        held.ended || held.slot.as_ref().is_some_and(|slot| suffices(slot.need()))
    }

    fn keep(&self, slot: Slot) {
        let mut held = self.held();
        let surplus = if held.ended { Some(slot) } else { held.slot.replace(slot) };
        drop(held);
        drop(surplus);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.0.held().ended = true;
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::transfer::{Limits, Rank, Retry, Scheduler};

    const LONG: Duration = Duration::from_secs(100_000);

    fn scheduler() -> Scheduler {
        Scheduler::new(Limits::at_once(1), Retry::default())
    }

    /// Row 26a: a pause that is too long to be waited for when one gets in line, and is not when the seat is free, ends
    /// for it all the same.
    #[tokio::test(start_paused = true)]
    async fn whoever_is_in_line_hears_of_the_end_of_a_long_pause() {
        let (scheduler, need) = (scheduler(), Need::blob(Some("a"), None));
        let held = scheduler.place(Rank::default()).slot(&need, || ()).await;
        scheduler.pause("a", Some(Duration::from_secs(200)));
        let mut place = scheduler.place(Rank::default());
        let ends = async {
            sleep(Duration::from_secs(90)).await;
            drop(held);
        };
        let (slot, ()) = join(timeout(LONG, place.slot(&need, || ())), ends).await;
        assert!(slot.is_ok(), "nobody told it");
    }

    /// Row 19: two parts of a transfer that want its slot back get one between them.
    #[tokio::test(start_paused = true)]
    async fn a_transfer_does_not_wait_for_itself() {
        let (scheduler, need) = (scheduler(), Need::blob(Some("a"), Some("b")));
        let lease = Lease::new(scheduler.place(Rank::default()));
        lease.hold(&need, || ()).await;
        let aside = lease.aside(sleep(Duration::from_secs(5)), || ());
        let reader = async {
            sleep(Duration::from_secs(1)).await;
            lease.hold(&need, || ()).await;
        };
        assert!(timeout(LONG, join(aside, reader)).await.is_ok(), "it waits for itself");
        assert_eq!(scheduler.active(), 1);
    }

    /// Row 16: when the transfer is over, what is left of it neither has a slot nor gets one.
    #[tokio::test(start_paused = true)]
    async fn what_is_over_gets_no_slot() {
        let (scheduler, need) = (scheduler(), Need::blob(Some("a"), None));
        let lease = Lease::new(scheduler.place(Rank::default()));
        let term = lease.term();
        lease.hold(&need, || ()).await;
        assert_eq!(scheduler.active(), 1);
        drop(term);
        assert_eq!(scheduler.active(), 0);
        lease.hold(&need, || ()).await;
        lease.aside(sleep(Duration::from_secs(1)), || ()).await;
        assert_eq!((scheduler.active(), scheduler.waiting()), (0, 0));
    }
}
