//! What those who watch a transfer are told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lazyblob_remote::progress::State;
use lazyblob_remote::transfer::{Action, Limits};

use crate::support::{
    Act, Asker, Gate, Log, Spring, Store, Told, assert_at_rest, bytes, engine, settle, unlimited, wanted,
};

fn blob() -> Bytes {
    bytes(1, 1000)
}

fn states(log: &Log) -> Vec<State> {
    let state = |told| match told {
        Told::Start(state) | Told::Finish(state) => Some(state),
        Told::Advance(_) | Told::Note(_) => None,
    };
    log.all().into_iter().filter_map(state).collect()
}

fn positions(log: &Log) -> Vec<u64> {
    let position = |told| if let Told::Advance(position) = told { Some(position) } else { None };
    log.all().into_iter().filter_map(position).collect()
}

/// Row 9a: who joins at 40 % is told of that first, and of nothing before.
#[tokio::test(start_paused = true)]
async fn who_joins_late_is_told_where_it_is_and_no_history() {
    let (engine, gate) = (engine(unlimited()), Gate::shut());
    let spring = Spring::of(&blob()).in_pieces(100).through(&gate).shared();
    let store = Store::here("a").shared();
    let first = Asker::of(&engine, wanted(&spring, &store));
    for _ in 0..4 {
        gate.pass(1);
        settle().await;
    }
    let late = Asker::of(&engine, wanted(&spring, &store));
    settle().await;
    assert_eq!(late.log.all(), [Told::Start(State::Downloading), Told::Advance(400)]);
    assert_eq!(positions(&first.log), [100, 200, 300, 400]);
    gate.open();
    let log = Arc::clone(&late.log);
    late.outcome().await.unwrap();
    assert_eq!(positions(&log).last(), Some(&1000));
    first.outcome().await.unwrap();
}

/// Row 89a: the last position before a source falls silent is told, though it came shortly after another.
#[tokio::test(start_paused = true)]
async fn what_stands_still_is_shown_where_it_is() {
    let (engine, gate) = (engine(unlimited()), Gate::shut());
    let spring = Spring::of(&blob()).in_pieces(100).through(&gate).shared();
    let asker = Asker::of(&engine, wanted(&spring, &Store::here("a").shared()));
    gate.pass(3);
    settle().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(positions(&asker.log).last(), Some(&300));
    gate.open();
    asker.outcome().await.unwrap();
}

/// Rows 9b, 10: one who is slow to look holds nobody up, misses what is old, and hears of the end once, as all do.
#[tokio::test(start_paused = true)]
async fn who_looks_slowly_holds_nobody_up_and_hears_of_the_end_once() {
    let (engine, gate) = (engine(unlimited()), Gate::shut());
    let spring = Spring::of(&blob()).in_pieces(10).through(&gate).shared();
    let store = Store::here("a").shared();
    let quick = Asker::of(&engine, wanted(&spring, &store));
    let seen = Arc::<Log>::default();
    let mut slow = wanted(&spring, &store);
    slow.access = slow.access.watched_by(Arc::<Log>::clone(&seen));
    let mut slow = std::pin::pin!(engine.bring(slow));
    // It has asked, and looks again when everything is over.
    assert!(futures::poll!(&mut slow).is_pending());
    settle().await;
    for _ in 0..100 {
        gate.pass(1);
        settle().await;
    }
    assert!(quick.is_done(), "it waited for the slow one");
    let log = Arc::clone(&quick.log);
    quick.outcome().await.unwrap();
    assert_eq!(positions(&log).iter().filter(|position| **position > 0).count(), 100);
    assert_eq!(slow.await.unwrap().action, Action::Transfer);
    assert!(positions(&seen).len() <= 2, "{:?}", seen.all());
    assert_eq!(positions(&seen).last(), Some(&1000));
    for log in [log, seen] {
        assert_eq!((log.finishes(), log.all().last()), (1, Some(&Told::Finish(State::Done))));
    }
}

/// Row 11a: what was told before one leaves has arrived; leaving ends it, and nothing is told afterwards.
#[tokio::test(start_paused = true)]
async fn nothing_is_told_after_leaving() {
    let (engine, gate) = (engine(unlimited()), Gate::shut());
    let spring = Spring::of(&blob()).in_pieces(100).through(&gate).shared();
    let store = Store::here("a").shared();
    let stays = Asker::of(&engine, wanted(&spring, &store));
    let leaves = Asker::of(&engine, wanted(&spring, &store));
    gate.pass(3);
    settle().await;
    let log = leaves.leave().await;
    let told = log.all();
    assert!(told.contains(&Told::Advance(300)), "{told:?}");
    assert_eq!(told.last(), Some(&Told::Finish(State::Failed)));
    gate.open();
    stays.outcome().await.unwrap();
    assert_eq!(log.all(), told);
}

/// Rows 11b, 33: who asks when it is there already sees no bytes move: one event, and no source is opened.
#[tokio::test(start_paused = true)]
async fn what_is_present_moves_nothing() {
    let engine = engine(unlimited());
    let spring = Spring::of(&blob()).shared();
    let store = Store::here("a").with(&blob()).shared();
    let asker = Asker::of(&engine, wanted(&spring, &store));
    let log = Arc::clone(&asker.log);
    assert_eq!(asker.outcome().await.unwrap().action, Action::Present);
    assert_eq!(log.all(), [Told::Finish(State::Present)]);
    assert_eq!((spring.opened().len(), store.puts()), (0, 0));
    assert_at_rest(&engine).await;
}

/// Row 15: only what has to wait for its slot says that it waits.
#[tokio::test(start_paused = true)]
async fn only_what_waits_says_so() {
    let (engine, gate) = (engine(Limits::at_once(2)), Gate::shut());
    let store = Store::here("a").shared();
    let springs: Vec<_> =
        (0..3).map(|seed| Spring::of(&bytes(seed, 100)).at("a.test").through(&gate).shared()).collect();
    let mut logs = Vec::new();
    let mut askers = Vec::new();
    for spring in &springs {
        let asker = Asker::of(&engine, wanted(spring, &store));
        settle().await;
        logs.push(Arc::clone(&asker.log));
        askers.push(asker);
    }
    assert_eq!(states(&logs[2]), [State::Waiting]);
    for _ in 0..3 {
        gate.pass(1);
        settle().await;
    }
    for asker in askers {
        asker.outcome().await.unwrap();
    }
    let quick = [State::Downloading, State::Verifying, State::Done];
    assert_eq!([states(&logs[0]), states(&logs[1])], [quick, quick]);
    assert_eq!(states(&logs[2]), [State::Waiting, State::Downloading, State::Verifying, State::Done]);
}

/// Row 15: one that goes on after a back-off says that it waits if it has to, and not otherwise.
#[tokio::test(start_paused = true)]
async fn after_a_back_off_it_waits_only_if_it_must() {
    let (engine, store) = (engine(Limits::at_once(1)), Store::here("a").shared());
    let flaky = || Spring::of(&blob()).at("a.test").then(Act::BreakAt(500)).shared();
    let alone = Asker::of(&engine, wanted(&flaky(), &store));
    let log = Arc::clone(&alone.log);
    alone.outcome().await.unwrap();
    assert!(!log.has(&Told::Start(State::Waiting)), "{:?}", log.all());
    assert!(log.has(&Told::Start(State::Retrying { seconds: 5 })));

    store.forget();
    let gate = Gate::shut();
    let other = Spring::of(&bytes(2, 10)).at("a.test").through(&gate).shared();
    let late = Asker::of(&engine, wanted(&flaky(), &store));
    settle().await;
    let busy = Asker::of(&engine, wanted(&other, &store));
    let log = Arc::clone(&late.log);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(log.all().last(), Some(&Told::Start(State::Waiting)));
    gate.open();
    busy.outcome().await.unwrap();
    late.outcome().await.unwrap();
}
