//! An async mutex per key: who works on one thing keeps others off that thing and nothing else.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Mutexes by key. A key takes up room only while somebody holds it or waits for it. Cheap to clone; clones share
/// everything.
///
/// Those who wait for a key get it in the order in which they began to wait, and the next one wakes at once when the
/// one before lets go; nobody polls. Unlocking a key that is not locked cannot be said: only a [`Guard`] unlocks.
pub struct Keyed<K>(Arc<Mutex<HashMap<K, Slot>>>);

/// What is known of one key.
#[derive(Debug)]
struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Holders and waiters together. Never zero outside of the table's lock.
    interested: usize,
}

/// The right to a key. It ends when this is dropped.
#[must_use = "a guard that is dropped at once keeps nobody off"]
pub struct Guard<K: Eq + Hash> {
    // Fields are dropped in this order: the next one has the key before the entry may go.
    _turn: OwnedMutexGuard<()>,
    interest: Interest<K>,
}

/// Counted in a key's entry; the last one takes the entry along.
struct Interest<K: Eq + Hash> {
    table: Keyed<K>,
    key: K,
}

impl<K: Eq + Hash + Clone> Keyed<K> {
    /// No key is locked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until nobody holds `key`, then holds it. Dropping the future gives up the place in the queue.
    pub async fn lock(&self, key: K) -> Guard<K> {
        let (interest, turn) = self.enter(key);
        let turn = turn.lock_owned().await;
        Guard { _turn: turn, interest }
    }

    fn enter(&self, key: K) -> (Interest<K>, Arc<tokio::sync::Mutex<()>>) {
        let interest = Interest { table: self.clone(), key: key.clone() };
        let mut table = self.table();
        let slot = table.entry(key).or_insert_with(|| Slot { turn: Arc::default(), interested: 0 });
        slot.interested += 1;
        let turn = Arc::clone(&slot.turn);
        drop(table);
        (interest, turn)
    }
}

impl<K> Keyed<K> {
    /// Keys that somebody holds or waits for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether nobody holds any key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, HashMap<K, Slot>> {
        // Nothing that can panic half-way happens under it but the key's own traits.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Guard<K> {
    /// What is held.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.interest.key
    }
}

impl<K: Eq + Hash> Drop for Interest<K> {
    fn drop(&mut self) {
        let mut table = self.table.table();
        if let Some(slot) = table.get_mut(&self.key) {
            slot.interested -= 1;
            if slot.interested == 0 {
                table.remove(&self.key);
            }
        }
    }
}

impl<K> Default for Keyed<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for Keyed<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for Keyed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyed({})", self.len())
    }
}

impl<K: Eq + Hash + fmt::Debug> fmt::Debug for Guard<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(self.key()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::poll;
    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;

    /// Fails where somebody is there already.
    struct Alone<'a>(&'a AtomicBool);

    impl<'a> Alone<'a> {
        fn on(busy: &'a AtomicBool) -> Self {
            assert!(!busy.swap(true, Ordering::SeqCst), "two hold one key");
            Self(busy)
        }
    }

    impl Drop for Alone<'_> {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }

    /// Row 66: a key is exclusive, others are free, and the table is empty at rest.
    #[tokio::test]
    async fn one_at_a_time_per_key() {
        let keyed = Keyed::new();
        let held = keyed.lock("a").await;
        let mut waiting = Box::pin(keyed.lock("a"));
        assert!(poll!(waiting.as_mut()).is_pending());
        let other = keyed.lock("b").await;
        assert_eq!((keyed.len(), *held.key(), *other.key()), (2, "a", "b"));
        drop(other);
        assert_eq!(keyed.len(), 1);
        drop(held);
        assert_eq!(keyed.len(), 1, "somebody waits");
        let held = waiting.await;
        // What was free for a moment is still one mutex.
        assert!(poll!(Box::pin(keyed.lock("a")).as_mut()).is_pending());
        drop(held);
        assert!(keyed.is_empty());
    }

    /// Row 66: those who wait have their turns in order, and one who gives up leaves no gap.
    #[tokio::test]
    async fn first_come_first_served() {
        let keyed = Keyed::new();
        let held = keyed.lock(1).await;
        let mut queue: Vec<_> = (0..4).map(|_| Box::pin(keyed.lock(1))).collect();
        for waiting in &mut queue {
            assert!(poll!(waiting.as_mut()).is_pending());
        }
        drop(queue.remove(1));
        drop(held);
        for _ in 0..3 {
            for behind in &mut queue[1..] {
                assert!(poll!(behind.as_mut()).is_pending());
            }
            let held = poll!(queue.remove(0).as_mut());
            assert!(held.is_ready());
        }
        assert!(keyed.is_empty());
    }

    /// Row 66: a waiter that is dropped takes its count along, also in the moment in which the key becomes its own.
    #[tokio::test]
    async fn a_dropped_waiter_is_not_waited_for() {
        let keyed = Keyed::new();
        let held = keyed.lock(1).await;
        let mut waiting = Box::pin(keyed.lock(1));
        assert!(poll!(waiting.as_mut()).is_pending());
        drop(waiting);
        let mut granted = Box::pin(keyed.lock(1));
        assert!(poll!(granted.as_mut()).is_pending());
        drop(held);
        // It has its turn by now, and does not know yet.
        drop(granted);
        assert!(keyed.is_empty());
        assert!(poll!(Box::pin(keyed.lock(1)).as_mut()).is_ready());
        // Never polled: never there.
        drop(keyed.lock(1));
        assert!(keyed.is_empty());
    }

    /// Row 68a: the loser goes on in the moment in which the winner ends, however long that took; no clock ticks
    /// between.
    #[tokio::test(start_paused = true)]
    async fn the_loser_wakes_when_the_winner_ends() {
        let keyed = Keyed::new();
        let winner = async {
            let _held = keyed.lock("blob").await;
            tokio::time::sleep(Duration::from_millis(12_345)).await;
            Instant::now()
        };
        let loser = async {
            tokio::task::yield_now().await;
            let _held = keyed.lock("blob").await;
            Instant::now()
        };
        let (ended, woken) = tokio::join!(winner, loser);
        assert_eq!(woken - ended, Duration::ZERO);
        assert!(keyed.is_empty());
    }

    /// Row 66: many tasks, few keys, and every third of them leaves at some point or other: no two at once, none
    /// forgotten, nothing left.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_crowd_leaves_nothing_behind() {
        const KEYS: usize = 7;
        const TASKS: u64 = 64;
        const ROUNDS: usize = 200;
        let keyed = Keyed::new();
        let busy: Arc<[AtomicBool; KEYS]> = Arc::default();
        let turns = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for seed in 0..TASKS {
            let (keyed, busy, turns) = (keyed.clone(), Arc::clone(&busy), Arc::clone(&turns));
            tasks.spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut withdrawn = 0;
                for _ in 0..ROUNDS {
                    let key = random.usize(..KEYS);
                    let work = async {
                        let _held = keyed.lock(key).await;
                        let _alone = Alone::on(&busy[key]);
                        // Others come to wait, and it may be dropped here, too.
                        tokio::task::yield_now().await;
                        turns.fetch_add(1, Ordering::SeqCst);
                    };
                    let patience = if random.u8(..3) == 0 { random.usize(..4) } else { usize::MAX };
                    let mut work = Box::pin(work);
                    let mut polls = 0;
                    while polls < patience && poll!(work.as_mut()).is_pending() {
                        polls += 1;
                        if patience == usize::MAX {
                            work.as_mut().await;
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                    withdrawn += usize::from(polls == patience);
                }
                withdrawn
            });
        }
        let withdrawn: usize = tasks.join_all().await.into_iter().sum();
        let all = usize::try_from(TASKS).unwrap() * ROUNDS;
        assert!(keyed.is_empty(), "{keyed:?}");
        assert!(withdrawn > 0);
        assert_eq!(turns.load(Ordering::SeqCst), all - withdrawn);
    }
}
