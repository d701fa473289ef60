//! The right to a core, given to the largest layer that waits for one.
//!
//! A layer is inflated and applied by itself, at the pace of its own bytes: a large one that begins last is waited for
//! alone, while other cores idle. The small ones fill what the large ones leave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// So many may go before one that waits; then it is its turn, however small it is.
const PATIENCE: usize = 8;

/// The cores that layers may have.
#[derive(Clone, Debug)]
pub(crate) struct Cores(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// In the order of their coming.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    size: u64,
    passed_over: usize,
    grant: oneshot::Sender<Core>,
}

/// The right to one core, given to the next when it is dropped.
#[derive(Debug)]
pub(crate) struct Core(Option<Cores>);

impl Cores {
    /// So many cores.
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count, waiting: Vec::new() })))
    }

    /// Waits for a core for a layer of `size` bytes. Who stops waiting leaves no trace.
    pub(crate) async fn take(&self, size: u64) -> Core {
        loop {
            let granted = {
                let mut state = self.lock();
                if let Some(free) = state.free.checked_sub(1) {
                    state.free = free;
                    return Core(Some(self.clone()));
                }
                let (grant, granted) = oneshot::channel();
                state.waiting.push(Waiting { size, passed_over: 0, grant });
                granted
            };
            // Nobody drops a grant that is waited for.
            if let Ok(core) = granted.await {
                return core;
            }
        }
    }

    /// Gives a core to who is next, or keeps it for who comes.
    fn give(self) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Core(Some(self.clone()))) {
                Ok(()) => return,
                // It has just left: somebody else is next.
                Err(mut refused) => refused.0 = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(cores) = self.0.take() {
            cores.give();
        }
    }
}

impl State {
    /// Who is next: the largest, unless somebody has been passed over too often.
    fn next(&mut self) -> Option<oneshot::Sender<Core>> {
        self.waiting.retain(|waiting| !waiting.grant.is_closed());
        let impatient = self.waiting.iter().position(|waiting| waiting.passed_over >= PATIENCE);
        let at = impatient.or_else(|| {
            // The first of several that are as large.
            let sizes = self.waiting.iter().enumerate().rev();
            sizes.max_by_key(|(_, waiting)| waiting.size).map(|(at, _)| at)
        })?;
        self.waiting.iter_mut().take(at).for_each(|waiting| waiting.passed_over += 1);
        Some(self.waiting.remove(at).grant)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn the_largest_that_waits_is_next() {
        let cores = Cores::new(1);
        let first = cores.take(1).await;
        let (mut small, mut large, mut same) =
            (pin!(cores.take(10)), pin!(cores.take(20)), pin!(cores.take(20)));
        assert!(
            poll!(&mut small).is_pending() && poll!(&mut large).is_pending() && poll!(&mut same).is_pending()
        );
        drop(first);
        assert!(poll!(&mut small).is_pending() && poll!(&mut same).is_pending());
        drop(large.await);
        assert!(poll!(&mut small).is_pending());
        drop(same.await);
        drop(small.await);
        assert_eq!(cores.lock().free, 1);
    }

    #[tokio::test]
    async fn who_leaves_costs_no_core() {
        let cores = Cores::new(1);
        let first = cores.take(1).await;
        let mut stays = Box::pin(cores.take(1));
        let (mut leaves, mut leaves_late) = (Box::pin(cores.take(9)), Box::pin(cores.take(8)));
        assert!(poll!(&mut leaves).is_pending() && poll!(&mut leaves_late).is_pending());
        assert!(poll!(&mut stays).is_pending());
        drop(leaves);
        drop(first);
        // It has been granted the core, and goes without taking it.
        drop(leaves_late);
        drop(stays.await);
        assert_eq!(cores.lock().free, 1);
    }

    #[tokio::test]
    async fn the_small_are_not_passed_over_for_ever() {
        let cores = Cores::new(1);
        let mut held = cores.take(1).await;
        let mut small = Box::pin(cores.take(1));
        assert!(poll!(&mut small).is_pending());
        for _ in 0..PATIENCE {
            let mut large = Box::pin(cores.take(9));
            assert!(poll!(&mut large).is_pending());
            drop(held);
            held = large.await;
        }
        let mut large = Box::pin(cores.take(9));
        assert!(poll!(&mut large).is_pending());
        drop(held);
        assert!(poll!(&mut large).is_pending());
        drop(small.await);
        drop(large.await);
    }
}
