//! How much moves at once, and what a slot is held for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use lazyblob_remote::transfer::{Action, Limits, Need, Rank, Retry, Scheduler};
use lazyblob_remote::{Priority, progress::State};
use tokio::time::Instant;

use crate::support::{
    Act, Asker, Gate, Meter, Spring, Store, Told, WAIT, assert_at_rest, bytes, engine, settle, unlimited,
    wanted,
};

/// Blobs of `count` sources at `host`, each behind its own gate.
struct Batch {
    gates: Vec<Arc<Gate>>,
    springs: Vec<Arc<Spring>>,
    blobs: Vec<Bytes>,
}

impl Batch {
    fn at(host: &str, first: u8, count: u8, meter: &Arc<Meter>) -> Self {
        let blobs: Vec<_> = (first..first + count).map(|seed| bytes(seed, 300)).collect();
        let gates: Vec<_> = blobs.iter().map(|_| Gate::shut()).collect();
        let spring =
            |(blob, gate)| Spring::of(blob).at(host).in_pieces(100).through(gate).counted_by(meter).shared();
        let springs = blobs.iter().zip(&gates).map(spring).collect();
        Self { gates, springs, blobs }
    }

    fn opened(&self) -> usize {
        self.springs.iter().filter(|spring| !spring.opened().is_empty()).count()
    }

    fn open(&self) {
        self.gates.iter().for_each(|gate| gate.open());
    }
}

/// Row 13a: of eight, with a limit of three, three are under way until the end.
#[tokio::test(start_paused = true)]
async fn the_limit_is_reached_and_never_passed() {
    let (engine, meter) = (engine(Limits::at_once(3)), Arc::default());
    let batch = Batch::at("a.test", 0, 8, &meter);
    let store = Store::here("a").shared();
    let askers: Vec<_> =
        batch.springs.iter().map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
    settle().await;
    assert_eq!((meter.now("a.test"), engine.scheduler().active(), engine.scheduler().waiting()), (3, 3, 5));
    for gate in &batch.gates {
        assert!(meter.now("a.test") <= 3);
        gate.open();
        settle().await;
    }
    for asker in askers {
        asker.outcome().await.unwrap();
    }
    assert_eq!(meter.most(""), 3);
    assert_at_rest(&engine).await;
}

/// Row 13b: zero is no limit.
#[tokio::test(start_paused = true)]
async fn without_a_limit_fifty_begin_together() {
    let (engine, meter) = (engine(unlimited()), Arc::default());
    let batch = Batch::at("a.test", 0, 50, &meter);
    let store = Store::here("a").shared();
    let askers: Vec<_> =
        batch.springs.iter().map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
    settle().await;
    assert_eq!((meter.now("a.test"), engine.scheduler().waiting()), (50, 0));
    batch.open();
    for asker in askers {
        asker.outcome().await.unwrap();
    }
    assert_at_rest(&engine).await;
}

/// Row 14: among equals, who asked first is served first.
#[tokio::test(start_paused = true)]
async fn equals_are_served_in_the_order_of_asking() {
    let (engine, meter) = (engine(Limits::at_once(1)), Arc::default());
    let batch = Batch::at("a.test", 0, 8, &meter);
    batch.open();
    let store = Store::here("a").shared();
    let askers: Vec<_> =
        batch.springs.iter().map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
    for asker in askers {
        asker.outcome().await.unwrap();
    }
    assert_eq!(store.order(&batch.blobs), (0..8).collect::<Vec<_>>());
    assert_eq!(meter.most(""), 1);
}

/// Rows 16, 61: a blob whose bytes are all here holds no slot while it is made durable, however long that takes; it can
/// still be joined.
#[tokio::test(start_paused = true)]
async fn no_slot_is_held_for_a_commit() {
    let (engine, meter, commit) = (engine(Limits::at_once(1)), Arc::default(), Gate::shut());
    let batch = Batch::at("a.test", 0, 2, &meter);
    batch.open();
    let slow = Store::here("slow").committing_through(&commit).shared();
    let quick = Store::here("quick").shared();
    let first = Asker::of(&engine, wanted(&batch.springs[0], &slow));
    settle().await;
    assert!(first.log.has(&Told::Start(State::Verifying)));
    assert_eq!(engine.scheduler().active(), 0);
    let second = Asker::of(&engine, wanted(&batch.springs[1], &quick));
    assert_eq!(second.outcome().await.unwrap().action, Action::Transfer);
    let joined = Asker::of(&engine, wanted(&batch.springs[0], &slow));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!first.is_done() && !joined.is_done());
    commit.open();
    first.outcome().await.unwrap();
    joined.outcome().await.unwrap();
    assert_eq!(batch.springs[0].opened().len(), 1);
    assert_at_rest(&engine).await;
}

/// Row 17: one that stands in line leaves at once, and the line has no gap: the next one gets the slot.
#[tokio::test(start_paused = true)]
async fn who_stands_in_line_leaves_at_once() {
    let (engine, meter) = (engine(Limits::at_once(1)), Arc::default());
    let batch = Batch::at("a.test", 0, 3, &meter);
    let store = Store::here("a").shared();
    let mut askers: Vec<_> =
        batch.springs.iter().map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
    settle().await;
    assert_eq!((engine.in_flight(), engine.scheduler().waiting()), (3, 2));
    let began = Instant::now();
    askers.remove(1).leave().await;
    settle().await;
    assert_eq!((engine.in_flight(), engine.scheduler().waiting()), (2, 1));
    assert_eq!(began.elapsed(), Duration::ZERO);
    batch.open();
    for asker in askers {
        asker.outcome().await.unwrap();
    }
    assert_eq!(store.order(&batch.blobs), [0, 2]);
    assert!(batch.springs[1].opened().is_empty());
    assert_at_rest(&engine).await;
}

/// Row 17: what was kept for one who leaves is given to the next at once, not when something else ends.
#[tokio::test(start_paused = true)]
async fn seats_kept_for_one_who_leaves_are_given_on() {
    let scheduler = Scheduler::new(Limits { per_host: 1, ..Limits::default() }, Retry::default());
    let place = |priority| scheduler.place(Rank { priority, ..Rank::default() });
    let (at_a, at_b) = (Need::blob(Some("a"), None), Need::blob(Some("b"), None));
    let mut busy = place(Priority::Normal);
    let held = busy.slot(&at_b, || ()).await;
    let both = Need::blob(Some("a"), Some("b"));
    let mut oldest = place(Priority::Speculative);
    let mut oldest = Box::pin(oldest.slot(&both, || ()));
    assert!(futures::poll!(&mut oldest).is_pending());
    // The younger ones take `a` until it is kept for the oldest.
    let mut places: Vec<_> = (0..20).map(|_| place(Priority::Urgent)).collect();
    let mut kept = None;
    for place in &mut places {
        let mut next = Box::pin(place.slot(&at_a, || ()));
        match futures::poll!(&mut next) {
            std::task::Poll::Ready(slot) => drop(slot),
            std::task::Poll::Pending => {
                kept = Some(next);
                break;
            }
        }
    }
    let kept = kept.expect("the oldest is never served");
    drop(oldest);
    drop(kept.now_or_never().expect("nobody was told"));
    drop(held);
    assert_eq!((scheduler.active(), scheduler.waiting()), (0, 0));
}

/// Row 18a: a higher limit is felt at once, without any having ended.
#[tokio::test(start_paused = true)]
async fn a_higher_limit_is_felt_at_once() {
    let (engine, meter) = (engine(Limits::at_once(1)), Arc::default());
    let batch = Batch::at("a.test", 0, 3, &meter);
    let store = Store::here("a").shared();
    let askers: Vec<_> =
        batch.springs.iter().map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
    settle().await;
    assert_eq!(meter.now(""), 1);
    engine.set_limits(Limits::at_once(3));
    settle().await;
    assert_eq!((meter.now(""), engine.scheduler().waiting()), (3, 0));
    batch.open();
    for asker in askers {
        asker.outcome().await.unwrap();
    }
}

/// Row 18b: a lower limit lets those under way end and begins nothing above it.
#[tokio::test(start_paused = true)]
async fn a_lower_limit_hands_nothing_over_above_it() {
    let (engine, meter) = (engine(Limits::at_once(3)), Arc::default());
    let batch = Batch::at("a.test", 0, 6, &meter);
    let store = Store::here("a").shared();
    let askers: Vec<_> =
        batch.springs.iter().map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
    settle().await;
    engine.set_limits(Limits::at_once(1));
    settle().await;
    for under_way in [3, 2, 1, 1, 1, 1] {
        assert_eq!((meter.now(""), engine.scheduler().active()), (under_way, under_way));
        let done = askers.iter().filter(|asker| asker.is_done()).count();
        batch.gates[done].open();
        settle().await;
    }
    assert_eq!(batch.opened(), 6);
    for asker in askers {
        asker.outcome().await.unwrap();
    }
    assert_at_rest(&engine).await;
}

/// Row 19: while one waits for its next try, its slot is another's.
#[tokio::test(start_paused = true)]
async fn no_slot_is_held_in_a_back_off() {
    let (engine, meter) = (engine(Limits::at_once(1)), Arc::<Meter>::default());
    let flaky = Spring::of(&bytes(1, 300)).at("a.test").counted_by(&meter).then(Act::BreakAt(100)).shared();
    let good = Batch::at("a.test", 2, 1, &meter);
    good.open();
    let store = Store::here("a").shared();
    let began = Instant::now();
    let first = Asker::of(&engine, wanted(&flaky, &store));
    settle().await;
    assert_eq!((engine.scheduler().active(), engine.scheduler().waiting()), (0, 0));
    let second = Asker::of(&engine, wanted(&good.springs[0], &store));
    second.outcome().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "it ran in the gap");
    first.outcome().await.unwrap();
    assert_eq!(began.elapsed(), WAIT);
    assert_eq!(flaky.opened(), [0..300, 100..300]);
    assert_eq!(meter.most(""), 1);
    assert_at_rest(&engine).await;
}

/// Row 20: a host at its limit slows no other one down.
///
/// BuildKit row 110: a host is asked for so many things at a time.
#[tokio::test(start_paused = true)]
async fn a_host_at_its_limit_slows_no_other_one() {
    let limits = Limits { hosts: HashMap::from([("x.test".to_owned(), 2)]), ..unlimited() };
    let (engine, meter) = (engine(limits), Arc::default());
    let (x, y) = (Batch::at("x.test", 0, 5, &meter), Batch::at("y.test", 100, 5, &meter));
    let store = Store::here("a").shared();
    let ask = |spring| Asker::of(&engine, wanted(spring, &store));
    let at_x: Vec<_> = x.springs.iter().map(ask).collect();
    settle().await;
    let at_y: Vec<_> = y.springs.iter().map(ask).collect();
    settle().await;
    assert_eq!((meter.now("x.test"), meter.now("y.test")), (2, 5));
    y.open();
    for asker in at_y {
        asker.outcome().await.unwrap();
    }
    assert_eq!(meter.now("x.test"), 2);
    x.open();
    for asker in at_x {
        asker.outcome().await.unwrap();
    }
    assert_eq!(meter.most("x.test"), 2);
}

/// Row 20: the total holds together with the limits of hosts and of operations, whichever is reached first.
#[tokio::test(start_paused = true)]
async fn all_limits_hold_together() {
    for (limits, x, y) in [
        (Limits { total: 3, per_host: 2, ..unlimited() }, 2, 1),
        (Limits { total: 10, per_host: 2, ..unlimited() }, 2, 2),
        (Limits { total: 1, per_host: 2, ..unlimited() }, 1, 0),
        (Limits { downloads: 3, per_host: 2, ..unlimited() }, 2, 1),
        (Limits { uploads: 1, per_host: 2, ..unlimited() }, 2, 2),
    ] {
        let (engine, meter) = (engine(limits.clone()), Arc::default());
        let batches = [Batch::at("x.test", 0, 5, &meter), Batch::at("y.test", 100, 5, &meter)];
        let store = Store::here("a").shared();
        let springs = batches.iter().flat_map(|batch| &batch.springs);
        let askers: Vec<_> = springs.map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
        settle().await;
        assert_eq!((meter.now("x.test"), meter.now("y.test")), (x, y), "{limits:?}");
        batches.iter().for_each(Batch::open);
        for asker in askers {
            asker.outcome().await.unwrap();
        }
        assert_eq!(meter.most(""), x + y, "{limits:?}");
        assert_at_rest(&engine).await;
    }
}

/// Row 20: a copy from host to host counts at both ends, for the operation done there.
#[tokio::test(start_paused = true)]
async fn a_copy_counts_at_both_ends() {
    for (limits, under_way) in [
        (Limits { hosts: HashMap::from([("to.test".to_owned(), 2)]), ..unlimited() }, 2),
        (Limits { hosts: HashMap::from([("from.test".to_owned(), 1)]), ..unlimited() }, 1),
        (Limits { uploads: 3, ..unlimited() }, 3),
        (Limits { downloads: 2, ..unlimited() }, 2),
        (Limits { total: 4, ..unlimited() }, 4),
    ] {
        let (engine, meter, writing) = (engine(limits.clone()), Arc::default(), Arc::<Meter>::default());
        let batch = Batch::at("from.test", 0, 6, &meter);
        batch.gates.iter().for_each(|gate| gate.pass(1));
        let store = Store::here("a").at("to.test").counted_by(&writing).shared();
        let askers: Vec<_> =
            batch.springs.iter().map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
        settle().await;
        assert_eq!((meter.now(""), writing.now("")), (under_way, under_way), "{limits:?}");
        assert_eq!(engine.scheduler().active(), under_way, "a copy is one");
        batch.open();
        for asker in askers {
            asker.outcome().await.unwrap();
        }
        assert_eq!((meter.most(""), writing.most("")), (under_way, under_way), "{limits:?}");
        assert_at_rest(&engine).await;
    }
}

/// Rows 20, 16: a slot at a remote target is held until it has taken the blob in: that is its work, too.
#[tokio::test(start_paused = true)]
async fn an_upload_holds_its_slot_until_the_host_has_answered() {
    let (engine, meter, commit) = (engine(Limits::at_once(1)), Arc::default(), Gate::shut());
    let batch = Batch::at("from.test", 0, 2, &meter);
    batch.open();
    let store = Store::here("a").at("to.test").committing_through(&commit).shared();
    let askers: Vec<_> =
        batch.springs.iter().map(|spring| Asker::of(&engine, wanted(spring, &store))).collect();
    settle().await;
    assert_eq!((batch.opened(), engine.scheduler().active()), (1, 1));
    commit.open();
    for asker in askers {
        asker.outcome().await.unwrap();
    }
    assert_at_rest(&engine).await;
}

/// A source that fetches the blob itself is never waited for with a slot in hand, not even where it comes after another
/// source was refused.
#[tokio::test(start_paused = true)]
async fn no_slot_is_held_while_a_source_fetches() {
    let (engine, meter, lazy) = (engine(Limits::at_once(1)), Arc::default(), Gate::shut());
    let gone = Spring::of(&bytes(1, 300)).at("a.test").then(Act::Fail(crate::support::not_found())).shared();
    let here = Spring::of(&bytes(1, 300)).fetching_through(&lazy).shared();
    let mut from_both = wanted(&gone, &Store::here("a").at("to.test").shared());
    from_both.sources.push(Arc::<Spring>::clone(&here));
    let asker = Asker::of(&engine, from_both);
    settle().await;
    assert_eq!((here.opened().len(), engine.scheduler().active()), (1, 0));
    // What it needs for that goes the same way.
    let other = Batch::at("a.test", 2, 1, &meter);
    other.open();
    engine.bring(wanted(&other.springs[0], &Store::here("b").shared())).await.unwrap();
    lazy.open();
    asker.outcome().await.unwrap();
    assert_at_rest(&engine).await;
}
