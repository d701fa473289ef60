//! Whose turn it is to bring a blob to a host. Those who wait for it lend their rank to the one whose turn it is: an
//! urgent transfer must not wait for one that stands at the end of the queue.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci_spec::image::Digest;

use super::flights::Flight;
use super::keyed::{Guard, Keyed};
use super::queue::Rank;

/// A blob's arrival at a host, in whichever of its repositories.
pub(super) type Arrival = (Digest, String);

/// Turns by arrival. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    turns: Keyed<Arrival>,
    crowds: Arc<Mutex<HashMap<Arrival, Crowd>>>,
}

/// Those who want one arrival.
#[derive(Debug, Default)]
struct Crowd {
    leader: Option<Arc<Flight>>,
    waiting: BTreeMap<u64, Arc<Flight>>,
    next: u64,
}

/// The right to bring a blob to a host. It passes on when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    // Dropped in this order: nobody lends to one whose turn is over.
    _lead: Lead,
    _guard: Guard<Arrival>,
}

#[derive(Debug)]
struct Lead(Turns, Arrival);

/// One who waits.
struct Waiting<'a> {
    turns: &'a Turns,
    arrival: &'a Arrival,
    id: u64,
    flight: &'a Arc<Flight>,
}

impl Turns {
    /// Waits until it is `flight`'s turn to bring `arrival` about. Dropping the future leaves the line.
    pub(super) async fn take(&self, arrival: Arrival, flight: &Arc<Flight>) -> Turn {
        let waiting = self.wait(&arrival, flight);
        let guard = self.turns.lock(arrival.clone()).await;
        self.crowds().entry(arrival.clone()).or_default().leader = Some(Arc::clone(flight));
        drop(waiting);
        Turn { _lead: Lead(self.clone(), arrival), _guard: guard }
    }

    /// Takes note that the rank of one who waits for `arrival` has changed.
    pub(super) fn rank_changed(&self, arrival: &Arrival) {
        self.change(arrival, |_| ());
    }

    fn wait<'a>(&'a self, arrival: &'a Arrival, flight: &'a Arc<Flight>) -> Waiting<'a> {
        flight.waits_for(Some((self.clone(), arrival.clone())));
        let mut crowds = self.crowds();
        let crowd = crowds.entry(arrival.clone()).or_default();
        let id = crowd.next;
        crowd.next += 1;
        crowd.waiting.insert(id, Arc::clone(flight));
        crowd.lend();
        Waiting { turns: self, arrival, id, flight }
    }

    fn change(&self, arrival: &Arrival, change: impl FnOnce(&mut Crowd)) {
        let mut crowds = self.crowds();
        let Some(crowd) = crowds.get_mut(arrival) else { return };
        change(crowd);
        crowd.lend();
        if crowd.leader.is_none() && crowd.waiting.is_empty() {
            crowds.remove(arrival);
        }
    }

    fn crowds(&self) -> MutexGuard<'_, HashMap<Arrival, Crowd>> {
        self.crowds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crowd {
    fn lend(&self) {
        if let Some(leader) = &self.leader {
            leader.borrow_rank(self.waiting.values().map(|flight| flight.rank()).reduce(Rank::together));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.flight.waits_for(None);
        self.turns.change(self.arrival, |crowd| {
            crowd.waiting.remove(&self.id);
        });
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let Self(turns, arrival) = self;
        turns.change(arrival, |crowd| {
            if let Some(leader) = crowd.leader.take() {
                leader.borrow_rank(None);
            }
        });
    }
}
