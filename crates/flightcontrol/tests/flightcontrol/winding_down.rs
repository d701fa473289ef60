//! What a run does to others after everybody has left it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures::FutureExt;
use lazyblob_flightcontrol::Failure;

use crate::support::*;

/// BuildKit row 55: Work deaf to its token for 50 ms, where no runtime can reach it: the next run begins after it has ended.
#[tokio::test]
async fn deaf_blocking_work_delays_the_next_run() {
    let group = Group::<()>::new();
    let ended = Arc::new(AtomicBool::new(false));
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (release, released) = mpsc::channel::<()>();
    let end = Arc::clone(&ended);
    let deaf = async move |_| {
        let blocking = tokio::task::spawn_blocking(move || {
            begin.send(()).unwrap();
            released.recv().unwrap();
            let (_kept, nothing) = mpsc::channel::<()>();
            nothing.recv_timeout(Duration::from_millis(50)).unwrap_err();
            end.store(true, Ordering::SeqCst);
        });
        blocking.await.unwrap();
        Ok(1)
    };
    let first = joined(group.run("key", deaf)).await;
    begun.await.unwrap();
    drop(first);

    let seen = Arc::clone(&ended);
    let second = joined(group.run("key", async move |_| {
        assert!(seen.load(Ordering::SeqCst), "two runs of one key overlap");
        Ok(2)
    }))
    .await;
    // The wait for the end can itself be left, at once: the deaf work cannot have ended before its release.
    let third = joined(group.run("key", unwanted)).await;
    drop(third);
    assert!(!ended.load(Ordering::SeqCst));

    release.send(()).unwrap();
    assert_eq!(second.await.unwrap(), 2);
}

#[tokio::test]
async fn all_who_queue_are_one_generation() {
    let group = Group::<()>::new();
    let (work, mut first) = scripted();
    let gone = joined(group.run("key", work)).await;
    first.begun().await;
    drop(gone);
    let (work, mut second) = scripted();
    let one = joined(group.run("key", work)).await;
    let two = joined(group.run("key", unwanted)).await;
    first.end(Ok(1));
    second.begun().await;
    let three = joined(group.run("key", unwanted)).await;
    second.end(Ok(2));
    for waiter in [one, two, three] {
        assert_eq!(waiter.await.unwrap(), 2, "the first generation's value is nobody's");
    }
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_queue_that_empties_runs_nothing() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let gone = joined(group.run("key", work)).await;
    script.begun().await;
    drop(gone);
    drop(joined(group.run("key", unwanted)).await);
    script.end(Ok(1));
    group.close().await;
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn a_queue_can_be_cancelled_and_queued_behind_in_turn() {
    let group = Group::<()>::new();
    let mut scripts = Vec::new();
    for _ in 0..5 {
        let (work, mut script) = scripted();
        let waiter = joined(group.run("key", work)).await;
        if let Some(before) = scripts.pop() {
            Script::end(before, Ok(0));
        }
        let context = script.begun().await;
        drop(waiter);
        assert!(context.is_cancelled());
        scripts.push(script);
    }
    let last = joined(group.run("key", async |_| Ok(9))).await;
    scripts.pop().unwrap().end(Err(Oops("cancelled").into()));
    assert_eq!(last.await.unwrap(), 9);
}

/// Neither a personal error nor a panic of a cancelled run reaches those who queue behind it.
#[tokio::test]
async fn the_end_of_a_cancelled_run_is_nobodys() {
    let group = Group::<()>::new();
    for personal in [true, false] {
        let (work, mut script) = scripted();
        let gone = joined(group.run("key", async move |context| {
            let outcome = work(context).await;
            if !personal {
                std::panic::resume_unwind(Box::new("boom"));
            }
            outcome
        }))
        .await;
        script.begun().await;
        drop(gone);
        let next = joined(group.run("key", async |_| Ok(3))).await;
        script.end(Err(Failure::Personal(Oops("mine"))));
        assert_eq!(next.await.unwrap(), 3);
    }
}

/// A caller that leaves before its owner's first step leaves nothing to run.
#[tokio::test]
async fn work_nobody_waits_for_does_not_begin() {
    let group = Group::<()>::new();
    drop(joined(group.run("key", unwanted)).await);
    assert_eq!(group.run("key", async |_| Ok(4)).await.unwrap(), 4);
    drop(group.run("key", unwanted)); // never polled: never joined
    settle().await;
    assert_eq!(group.in_flight(), 0);
}

/// What the work holds is free before anybody is told.
#[tokio::test]
async fn the_work_is_gone_before_the_answer() {
    let group = Group::<()>::new();
    let held = Arc::new(());
    let holder = Arc::clone(&held);
    let work = move |_| {
        async move {
            let _holder = holder;
            Ok(1)
        }
        .boxed()
    };
    group.run("key", work).await.unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
    // So is the closure of a waiter that never ran.
    let (work, mut script) = scripted();
    let one = joined(group.run("key", work)).await;
    let holder = Arc::clone(&held);
    let two = joined(group.run("key", async move |_| {
        drop(holder);
        Ok(2)
    }))
    .await;
    script.begun().await;
    drop(two);
    assert_eq!(Arc::strong_count(&held), 1);
    script.end(Ok(3));
    assert_eq!(one.await.unwrap(), 3);
}
