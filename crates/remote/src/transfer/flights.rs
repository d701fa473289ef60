//! Who wants which blob where: what joiners bring along, and what leavers take with them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci_spec::image::Digest;

use super::queue::Rank;
use super::scheduler::Standing;
use super::sources::Sources;
use super::turns::{Arrival, Turns};
use crate::provider::{Origin, Provider};

/// One transfer at a time has this: the blob, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) blob: Digest,
    /// What the blob is said to have: who was told another size joins nobody, so that a lie fails its own asker alone.
    pub(super) size: u64,
    pub(super) target: Origin,
}

/// All blobs that somebody wants somewhere.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Key, Arc<Flight>>>);

/// One blob that somebody wants somewhere: the sources of all who do, and the highest rank of theirs.
#[derive(Debug, Default)]
pub(super) struct Flight {
    sources: Arc<Sources>,
    wanted: Mutex<Wanted>,
    /// Whose turn it waits for, and so lends its rank to.
    waits_for: Mutex<Option<(Turns, Arrival)>>,
}

#[derive(Debug, Default)]
struct Wanted {
    next: u64,
    ranks: BTreeMap<u64, Rank>,
    /// What others lend who wait for this one to end.
    borrowed: Option<Rank>,
    /// The place in the queue of the run under way.
    standing: Option<Standing>,
}

/// One asker's interest. Dropped, it takes its rank and its sources along.
#[derive(Debug)]
pub(super) struct Interest {
    flights: Arc<Flights>,
    key: Key,
    id: u64,
    flight: Arc<Flight>,
}

impl Flights {
    /// Adds an interest in `key`.
    pub(super) fn join(self: &Arc<Self>, key: &Key, rank: Rank, sources: &[Arc<dyn Provider>]) -> Interest {
        let mut flights = self.table();
        let flight = Arc::clone(flights.entry(key.clone()).or_default());
        let id = flight.enter(rank);
        drop(flights);
        flight.sources.add(id, sources);
        Interest { flights: Arc::clone(self), key: key.clone(), id, flight }
    }

    /// Blobs that somebody wants.
    pub(super) fn len(&self) -> usize {
        self.table().len()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interest {
    pub(super) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.flight.sources.withdraw(self.id);
        let mut flights = self.flights.table();
        if self.flight.leave(self.id) {
            flights.remove(&self.key);
        }
    }
}

impl Flight {
    pub(super) fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// The rank of all interests together: the most urgent priority, the lowest height, the sum of what shares it.
    pub(super) fn rank(&self) -> Rank {
        self.wanted().rank()
    }

    /// Has the rank of those who wait for it, beside its own.
    pub(super) fn borrow_rank(&self, borrowed: Option<Rank>) {
        let mut wanted = self.wanted();
        if wanted.borrowed != borrowed {
            wanted.borrowed = borrowed;
            wanted.moved();
        }
    }

    /// From now on changes of the rank move `standing`.
    pub(super) fn stand(&self, standing: Standing) {
        let mut wanted = self.wanted();
        standing.set_rank(wanted.rank());
        wanted.standing = Some(standing);
    }

    /// Takes note that this one waits for a turn: who has it is to hear of changes of the rank.
    pub(super) fn waits_for(&self, turn: Option<(Turns, Arrival)>) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }

    fn enter(&self, rank: Rank) -> u64 {
        let id = {
            let mut wanted = self.wanted();
            let id = wanted.next;
            wanted.next += 1;
            wanted.ranks.insert(id, rank);
            wanted.moved();
            id
        };
        self.tell();
        id
    }

    /// Says whether nobody is left.
    fn leave(&self, id: u64) -> bool {
        let nobody = {
            let mut wanted = self.wanted();
            wanted.ranks.remove(&id);
            wanted.moved();
            wanted.ranks.is_empty()
        };
        self.tell();
        nobody
    }

    /// Tells of a change of the rank, with no lock of its own held: the turns ask for the rank.
    fn tell(&self) {
        let turn = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((turns, arrival)) = turn {
            turns.rank_changed(&arrival);
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    fn rank(&self) -> Rank {
        let own = self.ranks.values().copied().reduce(Rank::together).unwrap_or_default();
        self.borrowed.map_or(own, |borrowed| own.together(borrowed))
    }

    fn moved(&self) {
        if let Some(standing) = &self.standing {
            standing.set_rank(self.rank());
        }
    }
}
