//! Code of others that panics in the middle of a transfer.

use std::sync::Arc;

use lazyblob_remote::transfer::{Action, Limits};

use crate::support::{Act, Asker, Gate, Put, Spring, Store, assert_at_rest, bytes, engine, settle, wanted};

/// Row 12: whatever panics, all who wait get an error that says so, the slot is free, and the blob can be had again.
#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_for_all_and_leaves_nothing_behind() {
    let blob = bytes(1, 1000);
    let spring = || Spring::of(&blob).at("a.test").in_pieces(100);
    let store = || Store::here("a").at("to.test");
    for (spring, store, said) in [
        (spring().then(Act::Panic), store(), "the source panics"),
        (spring().then(Act::PanicAt(0)), store(), "the body panics"),
        (spring().then(Act::PanicAt(500)), store(), "the body panics"),
        (spring(), store().then(Put::Panic), "the target panics"),
    ] {
        let (engine, asking) = (engine(Limits::at_once(1)), Gate::shut());
        let (spring, store) = (spring.shared(), store.asking_through(&asking).shared());
        let askers: Vec<_> = (0..3).map(|_| Asker::of(&engine, wanted(&spring, &store))).collect();
        settle().await;
        asking.open();
        for asker in askers {
            let log = Arc::clone(&asker.log);
            let error = asker.outcome().await.unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.is_transient(), "{error}");
            assert!(log.finishes() <= 1);
        }
        assert_at_rest(&engine).await;
        assert!(!store.has(&blob));
        let again = engine.bring(wanted(&spring, &store)).await.unwrap();
        assert_eq!(again.action, Action::Transfer);
        assert!(store.has(&blob));
        assert_at_rest(&engine).await;
    }
}

/// Row 12: one that stands in line behind a transfer that panics gets its slot.
#[tokio::test(start_paused = true)]
async fn the_next_in_line_gets_the_slot_of_one_that_panics() {
    let (engine, gate) = (engine(Limits::at_once(1)), Gate::shut());
    let bad =
        Spring::of(&bytes(1, 10)).at("a.test").in_pieces(1).through(&gate).then(Act::PanicAt(1)).shared();
    let good = Spring::of(&bytes(2, 10)).at("a.test").shared();
    let store = Store::here("a").shared();
    let panics = Asker::of(&engine, wanted(&bad, &store));
    settle().await;
    let waits = Asker::of(&engine, wanted(&good, &store));
    settle().await;
    assert_eq!(engine.scheduler().waiting(), 1);
    gate.open();
    panics.outcome().await.unwrap_err();
    waits.outcome().await.unwrap();
    assert_at_rest(&engine).await;
}
