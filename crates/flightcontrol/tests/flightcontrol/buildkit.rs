//! The meaning of each test of `BuildKit`'s `flightcontrol_test.go`; those of its `cached_test.go` are in `cached`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;

use crate::support::*;

/// BuildKit row 53: `TestNoCancel`: two callers, one run, one value.
#[tokio::test]
async fn no_cancel() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let one = joined(group.run("key", work)).await;
    let two = joined(group.run("key", unwanted)).await;
    script.begun().await;
    script.end(Ok(7));
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (7, 7));
    assert_eq!(group.in_flight(), 0);
}

/// BuildKit row 54: `TestCancelOne`: the first caller goes, its run goes on for the second.
#[tokio::test]
async fn cancel_one() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let first = joined(group.run("key", work)).await;
    let second = joined(group.run("key", unwanted)).await;
    let context = script.begun().await;
    drop(first);
    settle().await;
    assert!(!context.is_cancelled());
    script.end(Ok(7));
    assert_eq!(second.await.unwrap(), 7);
    assert!(!context.is_cancelled(), "nobody who wanted it went away unanswered");
}

/// BuildKit row 55: `TestCancelRace`: who comes while a cancelled run winds down gets a clean run of its own.
#[tokio::test]
async fn cancel_race() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let first = joined(group.run("key", work)).await;
    let context = script.begun().await;
    // Many hold the token at once, and all see the end of it.
    let mut watching = JoinSet::new();
    for _ in 0..16 {
        let context = context.clone();
        watching.spawn(async move { context.cancelled().await });
    }
    drop(first);
    assert!(context.is_cancelled());
    watching.join_all().await;

    let (work, mut again) = scripted();
    let second = joined(group.run("key", work)).await;
    settle().await;
    assert!(!again.has_begun(), "the cancelled run has not returned yet");
    script.end(Err(Oops("cancelled").into()));
    let context = again.begun().await;
    assert!(!context.is_cancelled());
    again.end(Ok(7));
    assert_eq!(second.await.unwrap(), 7);
}

/// BuildKit row 54: `TestCancelBoth`: with both gone the work is cancelled; later calls run again; another key has its own run.
#[tokio::test]
async fn cancel_both() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let first = joined(group.run("key", work)).await;
    let second = joined(group.run("key", unwanted)).await;
    let context = script.begun().await;
    drop(first);
    assert!(!context.is_cancelled());
    drop(second);
    assert!(context.is_cancelled());

    let other = group.run("other key", |context: lazyblob_flightcontrol::Context| async move {
        assert!(!context.is_cancelled());
        Ok(1)
    });
    assert_eq!(other.await.unwrap(), 1);
    assert_eq!(group.in_flight(), 1, "the cancelled run has not returned");

    script.end(Err(Oops("cancelled").into()));
    assert_eq!(group.run("key", async |_| Ok(2)).await.unwrap(), 2);
    assert_eq!(group.in_flight(), 0);
}

/// `TestContention` as it is written: calls in a row on one key. See `contention` for real ones.
#[tokio::test]
async fn contention_one_after_another() {
    let group = Group::<()>::new();
    for round in 0..10_000 {
        assert_eq!(group.run("key", async move |_| Ok(round)).await.unwrap(), round);
        assert_eq!(group.in_flight(), 0);
    }
}

/// BuildKit row 57: `TestMassiveParallel`: a thousand callers of work that always fails get its error; none is told to give up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn massive_parallel() {
    let group = Arc::new(Group::<()>::new());
    let runs = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let (group, runs) = (Arc::clone(&group), Arc::clone(&runs));
        callers.spawn(async move {
            let work = async move |_| {
                runs.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err(Oops("no such thing").into())
            };
            shared(group.run("key", work).await)
        });
    }
    let errors = callers.join_all().await;
    assert_eq!(errors.len(), 1000);
    assert!(errors.iter().all(|error| **error == Oops("no such thing")));
    // Callers of one run hold one error; there are as many errors as runs.
    let mut distinct: Vec<_> = errors.iter().map(Arc::as_ptr).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), runs.load(Ordering::Relaxed) as usize);
    assert_eq!(group.in_flight(), 0);
}
