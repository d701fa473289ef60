//! The queue with those who wait in it: slots as values, waits as futures.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::limits::{Limits, Need};
use super::pauses::Pauses;
use super::queue::{Age, Queue, Rank};
use super::retry::Retry;

/// Hands out slots. Cheap to clone; clones share everything.
///
/// One lock, held for a step of the queue and never across an await. Slots are given and taken back by whoever makes a
/// place free or asks for one; there is no task behind it.
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    ages: AtomicU64,
    retry: Retry,
    /// Tells those in line that a pause has begun: they set their alarm.
    paused: watch::Sender<()>,
}

struct State {
    queue: Queue<oneshot::Sender<Slot>>,
    pauses: Pauses,
}

/// The right to do what it was taken for, until it is dropped.
#[must_use = "a slot that is dropped is free"]
pub struct Slot {
    scheduler: Scheduler,
    need: Arc<Need>,
}

/// A place in the queue that is kept from one slot to the next, so that whoever came first stays first after a
/// back-off.
pub struct Place {
    scheduler: Scheduler,
    standing: Standing,
}

/// Says how much a place is wanted, while somebody else waits in it.
#[derive(Clone)]
pub(super) struct Standing {
    scheduler: Scheduler,
    age: Age,
    rank: Arc<Mutex<Rank>>,
}

impl Scheduler {
    /// A scheduler with `limits`; hosts that ask to be left alone without saying how long are left alone as long as
    /// the ladder of `retry` says.
    #[must_use]
    pub fn new(limits: Limits, retry: Retry) -> Self {
        let state = State { queue: Queue::new(limits), pauses: Pauses::default() };
        let (paused, _) = watch::channel(());
        Self(Arc::new(Shared { state: Mutex::new(state), ages: AtomicU64::new(0), retry, paused }))
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.state().queue.limits().clone()
    }

    /// Sets other limits, felt at once: where they are higher those in line begin, where they are lower nothing new
    /// begins until enough has ended.
    pub fn set_limits(&self, limits: Limits) {
        self.state().queue.set_limits(limits);
        self.hand_out();
    }

    /// Those in line.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().queue.waiting()
    }

    /// Slots held.
    #[must_use]
    pub fn active(&self) -> usize {
        self.state().queue.active()
    }

    /// A place in the queue for something wanted as much as `rank` says. Nothing is waited for yet.
    #[must_use]
    pub fn place(&self, rank: Rank) -> Place {
        let age = self.0.ages.fetch_add(1, Ordering::Relaxed);
        Place {
            scheduler: self.clone(),
            standing: Standing { scheduler: self.clone(), age, rank: Arc::new(Mutex::new(rank)) },
        }
    }

    /// Takes note that `host` asked to be left alone, for as long as it `asked` or else as the ladder says. Nothing is
    /// sent to it before.
    pub(crate) fn pause(&self, host: &str, asked: Option<Duration>) {
        let until = self.state().pauses.strike(host, asked, &self.0.retry, Instant::now());
        tracing::debug!(host, wait = ?until.saturating_duration_since(Instant::now()), "host asks to be left alone");
        self.0.paused.send_replace(());
    }

    /// Takes note that `host` has served a request that was `sent` then.
    pub(crate) fn served(&self, host: &str, sent: Instant) {
        self.state().pauses.served(host, sent, Instant::now());
    }

    /// When requests may be sent to `host` again, if not now.
    #[must_use]
    pub fn paused_until(&self, host: &str) -> Option<Instant> {
        self.state().pauses.until(host, Instant::now())
    }

    /// The end of the longest pause of the hosts that `need` involves. Whether it is waited for changes as it goes by:
    /// the alarm is for its end in either case.
    fn pause_of(&self, need: &Need) -> Option<Instant> {
        let state = self.state();
        let now = Instant::now();
        need.seats().filter_map(|(host, _)| state.pauses.until(host, now)).max()
    }

    /// Gives slots to those in line as long as there are any.
    fn hand_out(&self) {
        let (now, longest) = (Instant::now(), self.0.retry.longest_asked);
        loop {
            let next = {
                let State { queue, pauses } = &mut *self.state();
                queue.next(|host| pauses.worth_waiting_for(host, longest, now).is_some())
            };
            let Some((who, need)) = next else { return };
            // One who has just left drops the slot, which hands it to the next.
            let _ = who.send(Slot { scheduler: self.clone(), need });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new(Limits::default(), Retry::default())
    }
}

impl Place {
    /// Waits for a slot. `queued` is called once if there is none at once. Dropping the future leaves the queue at
    /// once.
    pub async fn slot(&mut self, need: &Need, queued: impl FnOnce()) -> Slot {
        let scheduler = &self.scheduler;
        let mut paused = scheduler.0.paused.subscribe();
        let (sender, mut slot) = oneshot::channel();
        let line = InLine { scheduler, age: self.standing.age };
        scheduler.state().queue.enter(line.age, need.clone(), self.standing.rank(), sender);
        let mut queued = Some(queued);
        loop {
            // Looked up before slots are handed out: a pause that ends in between rings at once.
            let pause = scheduler.pause_of(need);
            scheduler.hand_out();
            if let Ok(slot) = slot.try_recv() {
                return slot;
            }
            if let Some(queued) = queued.take() {
                queued();
            }
            let over = async {
                match pause {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The queue keeps the sender until it gives a slot.
                Ok(slot) = &mut slot => return slot,
                () = over => {}
                _ = paused.changed() => {}
            }
        }
    }

    /// A handle to change the rank with.
    pub(super) fn standing(&self) -> Standing {
        self.standing.clone()
    }
}

impl Standing {
    /// Moves to where `rank` belongs, now and for the next slots.
    pub(super) fn set_rank(&self, rank: Rank) {
        *self.rank.lock().unwrap_or_else(PoisonError::into_inner) = rank;
        self.scheduler.state().queue.set_rank(self.age, rank);
    }

    fn rank(&self) -> Rank {
        *self.rank.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the line when the wait ends, however it ends.
struct InLine<'a> {
    scheduler: &'a Scheduler,
    age: Age,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let left = self.scheduler.state().queue.leave(self.age);
        // What was kept for it is free for others.
        if left.is_some() {
            self.scheduler.hand_out();
        }
    }
}

impl Slot {
    /// What it was taken for.
    #[must_use]
    pub fn need(&self) -> &Need {
        &self.need
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.scheduler.state().queue.release(&self.need);
        self.scheduler.hand_out();
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Scheduler")
            .field("waiting", &state.queue.waiting())
            .field("active", &state.queue.active())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.need).finish()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("age", &self.standing.age).finish_non_exhaustive()
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("age", &self.age).field("rank", &self.rank()).finish_non_exhaustive()
    }
}
