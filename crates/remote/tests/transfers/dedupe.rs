//! One transfer per blob and place, owned by all who wait for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lazyblob_remote::transfer::{Action, Transfers};
use tokio::time::Instant;

use crate::support::{
    Act, Asker, Gate, Spring, Store, WAIT, assert_at_rest, bytes, engine, settle, unlimited, wanted,
};

fn blob() -> Bytes {
    bytes(1, 1000)
}

fn askers(engine: &Transfers, count: usize, spring: &Arc<Spring>, store: &Arc<Store>) -> Vec<Asker> {
    (0..count).map(|_| Asker::of(engine, wanted(spring, store))).collect()
}

/// Row 1: five who ask for one blob in one place get one transfer, and all the same outcome.
#[tokio::test(start_paused = true)]
async fn five_who_ask_get_one_transfer() {
    let (engine, gate) = (engine(unlimited()), Gate::shut());
    let spring = Spring::of(&blob()).through(&gate).shared();
    let store = Store::here("a").shared();
    let askers = askers(&engine, 5, &spring, &store);
    settle().await;
    assert_eq!(engine.in_flight(), 1);
    gate.open();
    for asker in askers {
        assert_eq!(asker.outcome().await.unwrap().action, Action::Transfer);
    }
    assert_eq!((spring.opened().len(), store.puts(), store.asked()), (1, 1, 1));
    assert_at_rest(&engine).await;
}

/// Row 1: the same blob in two places is two transfers.
#[tokio::test(start_paused = true)]
async fn another_place_is_another_transfer() {
    let engine = engine(unlimited());
    let spring = Spring::of(&blob()).shared();
    let stores = ["a", "b"].map(|repository| Store::here(repository).shared());
    let askers = stores.each_ref().map(|store| Asker::of(&engine, wanted(&spring, store)));
    for asker in askers {
        assert_eq!(asker.outcome().await.unwrap().action, Action::Transfer);
    }
    assert!(stores.iter().all(|store| store.has(&blob())));
    assert_eq!(spring.opened().len(), 2);
}

/// Row 2a: nothing is remembered of a transfer that has ended; the target is the memory.
#[tokio::test(start_paused = true)]
async fn after_the_end_it_is_done_again_where_the_target_has_lost_it() {
    let engine = engine(unlimited());
    let spring = Spring::of(&blob()).shared();
    let store = Store::here("a").shared();
    let bring = || engine.bring(wanted(&spring, &store));
    assert_eq!(bring().await.unwrap().action, Action::Transfer);
    assert_at_rest(&engine).await;
    assert_eq!(bring().await.unwrap().action, Action::Present);
    store.forget();
    assert_eq!(bring().await.unwrap().action, Action::Transfer);
    assert_eq!((spring.opened().len(), store.puts()), (2, 2));
    assert_at_rest(&engine).await;
}

/// Row 2b: a failure is not remembered.
#[tokio::test(start_paused = true)]
async fn after_a_failure_the_next_one_begins_anew() {
    let engine = engine(unlimited());
    let spring = Spring::of(&blob()).then(Act::Fail(crate::support::not_found())).shared();
    let store = Store::here("a").shared();
    assert!(engine.bring(wanted(&spring, &store)).await.unwrap_err().is_not_found());
    assert_at_rest(&engine).await;
    assert_eq!(engine.bring(wanted(&spring, &store)).await.unwrap().action, Action::Transfer);
    assert_eq!(spring.opened().len(), 2);
}

/// Row 3: the first to ask may leave; the transfer goes on for the others.
#[tokio::test(start_paused = true)]
async fn the_first_to_ask_may_leave() {
    let (engine, gate) = (engine(unlimited()), Gate::shut());
    let spring = Spring::of(&blob()).in_pieces(100).through(&gate).shared();
    let store = Store::here("a").shared();
    let mut askers = askers(&engine, 2, &spring, &store);
    gate.pass(4);
    settle().await;
    askers.remove(0).leave().await;
    settle().await;
    gate.open();
    assert_eq!(askers.remove(0).outcome().await.unwrap().action, Action::Transfer);
    assert_eq!((spring.opened().len(), store.puts()), (1, 1));
    assert_at_rest(&engine).await;
}

/// Row 4: five leave one by one; it ends with the fifth and not before.
#[tokio::test(start_paused = true)]
async fn the_last_one_out_ends_it() {
    let (engine, meter) = (engine(unlimited()), Arc::default());
    let spring = Spring::of(&blob()).through(&Gate::shut()).counted_by(&meter).shared();
    let store = Store::here("a").shared();
    let askers = askers(&engine, 5, &spring, &store);
    for (nth, asker) in askers.into_iter().enumerate() {
        settle().await;
        assert_eq!((meter.now(""), engine.in_flight()), (1, 1), "{nth} have left");
        asker.leave().await;
    }
    settle().await;
    assert_eq!(meter.now(""), 0);
    assert!(!store.has(&blob()));
    assert_at_rest(&engine).await;
}

/// Row 5: a cancelled transfer is under way until it has returned, and closing waits for that.
#[tokio::test(start_paused = true)]
async fn it_is_over_when_it_has_returned() {
    let (engine, slow) = (engine(unlimited()), Gate::shut());
    let spring = Spring::of(&blob()).through(&Gate::shut()).shared();
    let store = Store::here("a").winding_down_through(&slow).shared();
    let asker = Asker::of(&engine, wanted(&spring, &store));
    settle().await;
    asker.leave().await;
    settle().await;
    assert_eq!(engine.in_flight(), 1);
    let mut closing = std::pin::pin!(engine.close());
    assert!(futures::poll!(&mut closing).is_pending());
    slow.open();
    closing.await;
    assert_at_rest(&engine).await;
}

/// Row 6: who asks while a cancelled transfer winds down gets a new one, which begins when the old one has ended. That
/// there are never two at once the target watches itself.
#[tokio::test(start_paused = true)]
async fn who_comes_while_it_winds_down_gets_a_new_one_after_it() {
    let (engine, slow) = (engine(unlimited()), Gate::shut());
    let stuck = Spring::of(&blob()).through(&Gate::shut()).shared();
    let good = Spring::of(&blob()).shared();
    let store = Store::here("a").winding_down_through(&slow).shared();
    let first = Asker::of(&engine, wanted(&stuck, &store));
    settle().await;
    first.leave().await;
    let second = Asker::of(&engine, wanted(&good, &store));
    settle().await;
    assert_eq!((store.puts(), good.opened().len()), (1, 0));
    slow.open();
    assert_eq!(second.outcome().await.unwrap().action, Action::Transfer);
    assert_eq!((store.puts(), good.opened().len()), (2, 1));
    assert_at_rest(&engine).await;
}

/// Row 7: who waits behind a transfer that winds down and does not end may leave at once.
#[tokio::test(start_paused = true)]
async fn who_waits_for_the_old_one_to_end_may_leave_at_once() {
    let (engine, never) = (engine(unlimited()), Gate::shut());
    let spring = Spring::of(&blob()).through(&Gate::shut()).shared();
    let store = Store::here("a").winding_down_through(&never).shared();
    let first = Asker::of(&engine, wanted(&spring, &store));
    settle().await;
    first.leave().await;
    let second = Asker::of(&engine, wanted(&spring, &store));
    settle().await;
    let began = Instant::now();
    second.leave().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!((engine.in_flight(), store.puts()), (1, 1), "the old one is still there, and no other");
    never.open();
    assert_at_rest(&engine).await;
}

/// Row 8: the hold on the result lives until the last of those who got it lets go, long after the transfer.
#[tokio::test(start_paused = true)]
async fn the_hold_lives_as_long_as_anybody_who_got_it() {
    let (engine, gate, token) = (engine(unlimited()), Gate::shut(), Arc::new(()));
    let spring = Spring::of(&blob()).through(&gate).shared();
    let store = Store::here("a").holding(&token).shared();
    let unheld = Arc::strong_count(&token);
    let askers = askers(&engine, 3, &spring, &store);
    settle().await;
    gate.open();
    let mut brought = Vec::new();
    for asker in askers {
        brought.push(asker.outcome().await.unwrap());
    }
    assert_at_rest(&engine).await;
    // One who asks again gets a hold of its own.
    let again = engine.bring(wanted(&spring, &store)).await.unwrap();
    assert_eq!((again.action, Arc::strong_count(&token)), (Action::Present, unheld + 2));
    drop(again);
    while let Some(last) = brought.pop() {
        assert_eq!(Arc::strong_count(&token), unheld + 1);
        drop(last);
    }
    assert_eq!(Arc::strong_count(&token), unheld);
}

/// Row 8: one that nobody waited for to the end leaves no hold behind.
#[tokio::test(start_paused = true)]
async fn nobody_there_no_hold() {
    let (engine, commit, token) = (engine(unlimited()), Gate::shut(), Arc::new(()));
    let spring = Spring::of(&blob()).shared();
    let store = Store::here("a").holding(&token).committing_through(&commit).shared();
    let unheld = Arc::strong_count(&token);
    let asker = Asker::of(&engine, wanted(&spring, &store));
    settle().await;
    asker.leave().await;
    commit.open();
    assert_at_rest(&engine).await;
    assert_eq!(Arc::strong_count(&token), unheld);
}

/// How far the transfer is when its first client dies.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Asking,
    InLine,
    Moving,
    BackOff,
    Committing,
}

/// Row 91: the first client dies at any point; those who have joined get the blob, and none hangs.
#[tokio::test(start_paused = true)]
async fn the_death_of_the_first_poisons_nobody() {
    for stage in [Stage::Asking, Stage::InLine, Stage::Moving, Stage::BackOff, Stage::Committing] {
        let engine = engine(lazyblob_remote::transfer::Limits::at_once(1));
        let busy = Gate::shut();
        let other = Spring::of(&bytes(2, 10)).through(&busy).shared();
        let blocking = Asker::of(&engine, wanted(&other, &Store::here("other").shared()));
        settle().await;
        if !matches!(stage, Stage::InLine) {
            busy.open();
            settle().await;
        }
        let (ask, bring, commit) = (Gate::shut(), Gate::shut(), Gate::shut());
        let first = Spring::of(&blob()).at("a.test").in_pieces(100).through(&bring);
        let first = match stage {
            Stage::BackOff => first.then(Act::BreakAt(0)),
            _ => first,
        };
        let first = first.shared();
        let others = Spring::of(&blob()).at("b.test").shared();
        let store = Store::here("a").asking_through(&ask).committing_through(&commit).shared();
        let dying = Asker::of(&engine, wanted(&first, &store));
        settle().await;
        let joined: Vec<_> = askers(&engine, 4, &others, &store);
        settle().await;
        match stage {
            Stage::Asking => {}
            Stage::Moving => {
                ask.open();
                bring.pass(3);
            }
            Stage::InLine | Stage::BackOff | Stage::Committing => {
                ask.open();
                bring.open();
            }
        }
        settle().await;
        dying.leave().await;
        settle().await;
        for gate in [&ask, &bring, &commit, &busy] {
            gate.open();
        }
        let began = Instant::now();
        for asker in joined {
            let outcome = asker.outcome().await;
            assert_eq!(outcome.unwrap_or_else(|error| panic!("{stage:?}: {error}")).action, Action::Transfer);
        }
        assert!(began.elapsed() <= WAIT, "{stage:?}");
        assert!(store.has(&blob()) && store.puts() == 1, "{stage:?}");
        blocking.outcome().await.unwrap();
        assert_at_rest(&engine).await;
    }
}

/// Row 91: where the first client's error is the blob's, all hear of it; nobody hangs.
#[tokio::test(start_paused = true)]
async fn all_who_joined_hear_of_a_common_failure() {
    let (engine, gate) = (engine(unlimited()), Gate::shut());
    let sources = ["a", "b", "c"].map(|repository| {
        let spring = Spring::of(&blob()).in_repository(repository).through(&gate);
        spring.then(Act::Fail(crate::support::not_found())).shared()
    });
    let store = Store::here("a").asking_through(&gate).shared();
    let askers = sources.each_ref().map(|spring| Asker::of(&engine, wanted(spring, &store)));
    settle().await;
    gate.open();
    for asker in askers {
        assert!(asker.outcome().await.unwrap_err().is_not_found());
    }
    assert!(sources.iter().all(|spring| spring.opened().len() == 1), "each was asked, and once");
    assert_at_rest(&engine).await;
}
