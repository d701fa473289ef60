//! What watchers see.

use futures::FutureExt;
use lazyblob_flightcontrol::{Error, Failure, watcher};

use crate::support::*;

type Blob = (&'static str, u32);

/// BuildKit row 56: what was told, then what follows.
#[tokio::test]
async fn a_late_joiner_sees_last_states_first_then_live() {
    let group = Group::<Blob>::new();
    let (work, mut script) = scripted();
    let one = joined(group.run("key", work)).await;
    let context = script.begun().await;
    for item in [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("c", 2)] {
        context.emit(item);
    }
    let (sink, mut watcher) = watcher();
    let two = joined(group.run_with_progress("key", unwanted, sink)).await;
    for item in [("b", 1), ("a", 2), ("c", 2)] {
        assert_eq!(watcher.next().await, Some(item), "each id once, in the order of their last change");
    }
    assert_eq!(watcher.next().now_or_never(), None, "nothing is new");
    for item in [("b", 2), ("d", 1), ("b", 3)] {
        context.emit(item);
        assert_eq!(watcher.next().await, Some(item));
    }
    script.end(Ok(1));
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (1, 1));
    assert_eq!(watcher.next().await, None);
}

#[tokio::test]
async fn a_slow_watcher_slows_nobody_and_misses_no_last_state() {
    let group = Group::<Blob>::new();
    let (work, mut script) = scripted();
    let (slow_sink, mut slow) = watcher();
    let (quick_sink, mut quick) = watcher();
    let one = joined(group.run_with_progress("key", work, slow_sink)).await;
    let two = joined(group.run_with_progress("key", unwanted, quick_sink)).await;
    let context = script.begun().await;
    context.emit(("small", 1));
    assert_eq!(quick.next().await, Some(("small", 1)));
    for position in 0..10_000 {
        context.emit(("large", position));
        assert_eq!(quick.next().await, Some(("large", position)));
    }
    // The run ends, and its waiters are served, with a watcher that has read nothing.
    script.end(Ok(1));
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (1, 1));
    assert_eq!(slow.next().await, Some(("small", 1)));
    assert_eq!(slow.next().await, Some(("large", 9_999)));
    assert_eq!(slow.next().await, None);
    assert_eq!(slow.next().await, None);
    assert_eq!(quick.next().await, None);
}

/// A thing that changes all the time does not keep a slow watcher from hearing of the others.
#[tokio::test]
async fn a_busy_id_starves_nobody() {
    let group = Group::<Blob>::new();
    let (work, mut script) = scripted();
    let (sink, mut watcher) = watcher();
    let run = joined(group.run_with_progress("key", work, sink)).await;
    let context = script.begun().await;
    for id in ["busy", "x", "y", "z"] {
        context.emit((id, 0));
    }
    let mut seen = Vec::new();
    for position in 1..=3 {
        context.emit(("busy", position));
        seen.push(watcher.next().await.unwrap().0);
    }
    assert_eq!(seen, ["x", "y", "z"]);
    script.end(Ok(1));
    run.await.unwrap();
    assert_eq!(watcher.next().await, Some(("busy", 3)));
    assert_eq!(watcher.next().await, None);
}

#[tokio::test]
async fn a_watcher_whose_caller_left_gets_nothing_more() {
    let group = Group::<Blob>::new();
    let (work, mut script) = scripted();
    let (sink, mut gone) = watcher();
    let one = joined(group.run_with_progress("key", work, sink)).await;
    let (sink, mut stays) = watcher();
    let two = joined(group.run_with_progress("key", unwanted, sink)).await;
    let context = script.begun().await;
    context.emit(("a", 1));
    drop(one);
    context.emit(("a", 2));
    assert_eq!(gone.next().await, None);
    assert_eq!(stays.next().await, Some(("a", 2)));
    drop(stays); // not to watch any more is not to leave
    context.emit(("a", 3));
    script.end(Ok(1));
    assert_eq!(two.await.unwrap(), 1);
    assert_eq!(gone.next().await, None);
}

#[tokio::test]
async fn a_waiting_watcher_wakes_when_its_caller_leaves() {
    let group = Group::<Blob>::new();
    let (work, mut script) = scripted();
    let (sink, mut watcher) = watcher();
    let run = joined(group.run_with_progress("key", work, sink)).await;
    script.begun().await;
    let ((), next) = tokio::join!(
        async {
            settle().await;
            drop(run);
        },
        watcher.next()
    );
    assert_eq!(next, None);
    script.end(Ok(1));
}

#[tokio::test]
async fn a_personal_error_ends_one_watcher_and_the_next_goes_on() {
    let group = Group::<Blob>::new();
    let (work, mut refused) = scripted();
    let (sink, mut first) = watcher();
    let one = joined(group.run_with_progress("key", work, sink)).await;
    let (work, mut served) = scripted();
    let two = joined(group.run("key", work)).await;
    refused.begun().await.emit(("a", 1));
    refused.end(Err(Failure::Personal(Oops("refused"))));
    assert!(matches!(one.await, Err(Error::Personal(_))));
    let context = served.begun().await;
    context.emit(("b", 1));
    assert_eq!(first.next().await, None, "the others' run is not its affair");
    let (sink, mut late) = watcher();
    let three = joined(group.run_with_progress("key", unwanted, sink)).await;
    assert_eq!(late.next().await, Some(("a", 1)), "one generation, one board");
    assert_eq!(late.next().await, Some(("b", 1)));
    served.end(Ok(1));
    assert_eq!((two.await.unwrap(), three.await.unwrap()), (1, 1));
    assert_eq!(late.next().await, None);
}

#[tokio::test]
async fn a_queued_watcher_sees_its_own_generation_only() {
    let group = Group::<Blob>::new();
    let (work, mut old) = scripted();
    let gone = joined(group.run("key", work)).await;
    let before = old.begun().await;
    before.emit(("a", 1));
    drop(gone);
    let (work, mut new) = scripted();
    let (sink, mut watcher) = watcher();
    let run = joined(group.run_with_progress("key", work, sink)).await;
    before.emit(("a", 2));
    assert_eq!(watcher.next().now_or_never(), None);
    old.end(Ok(1));
    let context = new.begun().await;
    before.emit(("a", 3));
    context.emit(("b", 1));
    assert_eq!(watcher.next().await, Some(("b", 1)));
    new.end(Ok(2));
    assert_eq!(run.await.unwrap(), 2);
    assert_eq!(watcher.next().await, None);
}

/// A context that outlives its run neither keeps watchers waiting nor reaches them.
#[tokio::test]
async fn the_last_state_comes_once_and_nothing_after_the_end() {
    let group = Group::<Blob>::new();
    let (work, mut script) = scripted();
    let (sink, mut watcher) = watcher();
    let run = joined(group.run_with_progress("key", work, sink)).await;
    let leaked = script.begun().await;
    leaked.emit(("a", 1));
    assert_eq!(watcher.next().await, Some(("a", 1)));
    leaked.emit(("a", 2));
    script.end(Err(Oops("no such thing").into()));
    shared(run.await);
    leaked.emit(("a", 3));
    assert_eq!(watcher.next().await, Some(("a", 2)));
    for _ in 0..3 {
        assert_eq!(watcher.next().await, None);
    }
}

#[tokio::test]
async fn a_watcher_of_a_run_that_never_was_ends() {
    let group = Group::<Blob>::new();
    let (sink, mut unused) = watcher::<Blob>();
    drop(sink);
    assert_eq!(unused.next().await, None);
    let (sink, mut refused) = watcher();
    group.close().await;
    assert!(matches!(group.run_with_progress("key", unwanted, sink).await, Err(Error::Closed)));
    assert_eq!(refused.next().await, None);
}
