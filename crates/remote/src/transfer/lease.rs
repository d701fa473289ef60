//! The slot of one transfer, shared by what reads and what writes in it.

use std::sync::{Arc, Mutex, PoisonError};

use super::limits::Need;
use super::scheduler::{Place, Slot};

tokio::task_local! {
    /// The lease of the transfer that is being polled.
    static CURRENT: Lease;
}

/// One transfer's place in the queue, with the slot it holds at the moment, if any. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The host the bytes go to; nothing where they stay here.
    to: Option<String>,
    /// Its lock is held while waiting in line: one transfer stands in line once.
    place: tokio::sync::Mutex<Place>,
    held: Mutex<Option<Slot>>,
}

impl Lease {
    /// Nothing held yet, for a transfer to `to`.
    pub(super) fn new(place: Place, to: Option<String>) -> Self {
        Self(Arc::new(Inner { to, place: tokio::sync::Mutex::new(place), held: Mutex::default() }))
    }

    /// Waits until the seats for bytes on their way from `from` are held, both ends in one step. Costs nothing where
    /// they are. `queued` is called if there is a wait.
    pub(super) async fn hold(&self, from: Option<&str>, queued: impl FnOnce()) {
        let need = Need::blob(from, self.0.to.as_deref());
        let mut place = self.0.place.lock().await;
        if self.needs().as_ref() == Some(&need) {
            return;
        }
        self.give_back();
        let slot = place.slot(&need, queued).await;
        self.keep(Some(slot));
    }

    /// Frees the slot: nothing moves for a while, or any more.
    pub(super) fn give_back(&self) {
        drop(self.keep(None));
    }

    /// Runs `part` as a part of the transfer: a request in it that has to wait for its host waits without the slot. What
    /// it hands to other tasks is no part of it.
    pub(super) fn during<F: Future>(&self, part: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.clone(), part)
    }

    /// The lease of the transfer that whoever asks is a part of.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Waits for `wait` without holding a slot, and for the slot again where one was held; `queued` is called if that is
    /// not to be had at once.
    pub(crate) async fn aside<T>(&self, wait: impl Future<Output = T>, queued: impl FnOnce()) -> T {
        let need = self.needs();
        self.give_back();
        let value = wait.await;
        if let Some(need) = need {
            let mut place = self.0.place.lock().await;
            let slot = place.slot(&need, queued).await;
            self.keep(Some(slot));
        }
        value
    }

    fn needs(&self) -> Option<Need> {
        let held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(|slot| slot.need().clone())
    }

    /// Keeps `slot` in the place of what was held. The old one is dropped outside of the lock: that hands it on.
    fn keep(&self, slot: Option<Slot>) -> Option<Slot> {
        std::mem::replace(&mut *self.0.held.lock().unwrap_or_else(PoisonError::into_inner), slot)
    }
}
