//! Who goes first.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lazyblob_remote::Priority;
use lazyblob_remote::transfer::Limits;

use crate::support::{Asker, Gate, Spring, Store, assert_at_rest, bytes, engine, settle, wanted_as};

struct Line {
    blobs: Vec<Bytes>,
    springs: Vec<Arc<Spring>>,
    store: Arc<Store>,
    engine: lazyblob_remote::transfer::Transfers,
    busy: Arc<Gate>,
    first: Asker,
}

impl Line {
    /// `count` blobs behind one that is under way, and whose slot is the only one.
    async fn of(count: u8) -> Self {
        let (engine, busy) = (engine(Limits::at_once(1)), Gate::shut());
        let blobs: Vec<_> = (0..count).map(|seed| bytes(seed, 100)).collect();
        let springs = blobs.iter().map(|blob| Spring::of(blob).at("a.test").shared()).collect();
        let blocking = Spring::of(&bytes(255, 10)).at("a.test").through(&busy).shared();
        let other = Store::here("other").shared();
        let first = Asker::of(&engine, wanted_as(Priority::Normal, &blocking, &other));
        settle().await;
        Self { blobs, springs, store: Store::here("a").shared(), engine, busy, first }
    }

    async fn ask(&self, nth: usize, priority: Priority) -> Asker {
        let asker = Asker::of(&self.engine, wanted_as(priority, &self.springs[nth], &self.store));
        settle().await;
        asker
    }

    /// Asks for the first `count` blobs on speculation.
    async fn prefetch(&self, count: usize) -> Vec<Asker> {
        let mut askers = Vec::new();
        for nth in 0..count {
            askers.push(self.ask(nth, Priority::Speculative).await);
        }
        askers
    }

    /// Asks for three further blobs, each of which keeps its slot until `gate` opens.
    async fn ask_for_three_through(&self, gate: &Arc<Gate>) -> Vec<Asker> {
        let mut askers = Vec::new();
        for nth in 0..3 {
            let slow = Spring::of(&bytes(200 + nth, 100)).at("a.test").through(gate).shared();
            askers.push(Asker::of(&self.engine, wanted_as(Priority::Normal, &slow, &self.store)));
            settle().await;
        }
        askers
    }

    /// Lets the line move; the order in which blobs come.
    async fn order(self, askers: Vec<Asker>) -> Vec<usize> {
        self.busy.open();
        self.first.outcome().await.unwrap();
        for asker in askers {
            asker.outcome().await.unwrap();
        }
        assert_at_rest(&self.engine).await;
        self.store.order(&self.blobs)
    }
}

/// Row 21: what somebody waits for overtakes what is queued on speculation.
#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_overtakes_a_prefetch() {
    let line = Line::of(5).await;
    let mut askers = line.prefetch(3).await;
    askers.push(line.ask(3, Priority::Normal).await);
    askers.push(line.ask(4, Priority::Urgent).await);
    assert_eq!(line.order(askers).await, [4, 3, 0, 1, 2]);
}

/// Row 21: a queued prefetch that somebody urgently wants, too, overtakes the others where it stands; it is moved once.
#[tokio::test(start_paused = true)]
async fn a_prefetch_that_is_joined_overtakes() {
    let line = Line::of(5).await;
    let mut askers = line.prefetch(4).await;
    askers.push(line.ask(4, Priority::Normal).await);
    askers.push(line.ask(2, Priority::Urgent).await);
    let joined = Arc::clone(&line.springs[2]);
    assert_eq!(line.order(askers).await, [2, 4, 0, 1, 3]);
    assert_eq!(joined.opened().len(), 1);
}

/// Row 21: with the urgent one its urgency goes; the place among equals is still the one it was asked for at.
#[tokio::test(start_paused = true)]
async fn urgency_leaves_with_the_one_who_brought_it() {
    let line = Line::of(4).await;
    let mut askers = line.prefetch(4).await;
    let urgent = line.ask(1, Priority::Urgent).await;
    let other = line.ask(3, Priority::Urgent).await;
    urgent.leave().await;
    settle().await;
    askers.push(other);
    assert_eq!(line.order(askers).await, [3, 0, 1, 2]);
}

/// Row 21: among blobs as urgent, the lower layer goes first, and of those what more images share.
#[tokio::test(start_paused = true)]
async fn lower_layers_and_shared_ones_go_first() {
    let line = Line::of(4).await;
    let mut askers = Vec::new();
    for (nth, (height, shared)) in [(2, 1), (1, 1), (1, 2), (0, 1)].into_iter().enumerate() {
        let mut wanted = wanted_as(Priority::Normal, &line.springs[nth], &line.store);
        (wanted.height, wanted.shared) = (height, shared);
        askers.push(Asker::of(&line.engine, wanted));
        settle().await;
    }
    assert_eq!(line.order(askers).await, [3, 2, 1, 0]);
}

/// Row 21: nobody starves: though there is always something urgent in line, a prefetch comes to its turn.
#[tokio::test(start_paused = true)]
async fn a_prefetch_does_not_starve() {
    let line = Line::of(60).await;
    let prefetch = line.ask(0, Priority::Speculative).await;
    let mut urgent = Vec::new();
    for nth in 1..60 {
        urgent.push(line.ask(nth, Priority::Urgent).await);
    }
    urgent.push(prefetch);
    let order = line.order(urgent).await;
    let turn = order.iter().position(|nth| *nth == 0).unwrap();
    assert!((1..=8).contains(&turn), "it came after {turn} others");
}

/// Row 21: who urgently wants a blob in a repository does not wait for one who brings it to its neighbour on speculation,
/// and stands in line for that.
#[tokio::test(start_paused = true)]
async fn urgency_reaches_the_one_whose_turn_is_waited_for() {
    let line = Line::of(3).await;
    let mut askers = Vec::new();
    let place = |repository| Store::here(repository).at("to.test").mounting().shared();
    let (quiet, loud) = (place("a"), place("b"));
    let spring = Spring::of(&bytes(100, 100)).at("a.test").shared();
    askers.push(Asker::of(&line.engine, wanted_as(Priority::Speculative, &spring, &quiet)));
    settle().await;
    let gate = Gate::shut();
    askers.extend(line.ask_for_three_through(&gate).await);
    let urgent = Asker::of(&line.engine, wanted_as(Priority::Urgent, &spring, &loud));
    settle().await;
    let engine = line.engine.clone();
    line.busy.open();
    // Whichever of the others went first would keep the only slot until the gate opens.
    let urgent = tokio::time::timeout(Duration::from_secs(3600), urgent.outcome()).await;
    urgent.expect("the others went first").unwrap();
    gate.open();
    for asker in askers {
        asker.outcome().await.unwrap();
    }
    assert_at_rest(&engine).await;
}

/// Row 21: so does the urgency of one who joins what waits for that turn already.
#[tokio::test(start_paused = true)]
async fn urgency_that_joins_one_who_waits_for_a_turn_reaches_whose_turn_it_is() {
    let line = Line::of(0).await;
    let place = |repository| Store::here(repository).at("to.test").mounting().shared();
    let (quiet, loud) = (place("a"), place("b"));
    let spring = Spring::of(&bytes(100, 100)).at("a.test").shared();
    let mut askers = Vec::new();
    for store in [&quiet, &loud] {
        askers.push(Asker::of(&line.engine, wanted_as(Priority::Speculative, &spring, store)));
        settle().await;
    }
    let gate = Gate::shut();
    askers.extend(line.ask_for_three_through(&gate).await);
    let urgent = Asker::of(&line.engine, wanted_as(Priority::Urgent, &spring, &loud));
    settle().await;
    line.busy.open();
    let urgent = tokio::time::timeout(Duration::from_secs(3600), urgent.outcome()).await;
    urgent.expect("the others went first").unwrap();
    gate.open();
    for asker in askers {
        asker.outcome().await.unwrap();
    }
    assert_at_rest(&line.engine).await;
}
