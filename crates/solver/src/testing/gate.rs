//! A point at which work waits until it is let on.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts who comes and lets them on in the order in which they came, as many as it was told to. Clones are one gate.
#[derive(Clone)]
pub struct Gate(Arc<Sides>);

struct Sides {
    came: watch::Sender<usize>,
    admitted: watch::Sender<usize>,
}

impl Gate {
    /// A gate that lets nobody on yet.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::new(Sides { came: watch::Sender::new(0), admitted: watch::Sender::new(0) }))
    }

    /// Lets everybody on from now on.
    pub fn open(&self) {
        self.0.admitted.send_replace(usize::MAX);
    }

    /// Lets so many more on, those who came first before others. One who has gone away meanwhile counts.
    pub fn admit(&self, more: usize) {
        self.0.admitted.send_modify(|admitted| *admitted = admitted.saturating_add(more));
    }

    /// Comes to the gate and waits until it is let on.
    pub async fn pass(&self) {
        let mut admitted = self.0.admitted.subscribe();
        let mut place = 0;
        self.0.came.send_modify(|came| {
            place = *came;
            *came += 1;
        });
        // The sender is held by `self`, so the wait ends only by being let on.
        let _ = admitted.wait_for(|admitted| *admitted > place).await;
    }

    /// How many have come so far.
    #[must_use]
    pub fn came(&self) -> usize {
        *self.0.came.borrow()
    }

    /// Waits until so many have come.
    pub async fn reached(&self, times: usize) {
        let _ = self.0.came.subscribe().wait_for(|came| *came >= times).await;
    }
}
