//! Panics, closing, dropping, and runtimes that go away.

use std::sync::Arc;

use lazyblob_flightcontrol::{Context, Error, Failure};
use tokio::runtime::Builder;

use crate::support::*;

#[tokio::test]
async fn a_panic_is_an_error_for_all_and_frees_the_key() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let one = joined(group.run("key", async move |context| {
        let _ = work(context).await;
        panic!("boom {}", 1)
    }))
    .await;
    let two = joined(group.run("key", unwanted)).await;
    script.begun().await;
    script.end(Ok(0));
    for waiter in [one, two] {
        let Err(Error::Panicked(message)) = waiter.await else { panic!("not told of the panic") };
        assert_eq!(&*message, "boom 1");
    }
    assert_eq!(group.in_flight(), 0);
    assert_eq!(group.run("key", async |_| Ok(1)).await.unwrap(), 1);
    group.close().await;
}

/// Not only the future may panic: so may the closure that makes it.
#[tokio::test]
async fn a_panic_in_the_closure_itself() {
    let group = Group::<()>::new();
    let answer = group.run("key", unwanted).await;
    assert!(matches!(answer, Err(Error::Panicked(message)) if message.contains("must not run")));
    assert_eq!(group.run("key", async |_| Ok(1)).await.unwrap(), 1);
}

#[tokio::test]
async fn close_joins_cancelled_work_and_refuses_newcomers() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let gone = joined(group.run("key", work)).await;
    script.begun().await;
    drop(gone);
    let queued = joined(group.run("key", unwanted)).await;
    {
        let mut close = Box::pin(group.close());
        assert!(futures::poll!(&mut close).is_pending());
        settle().await;
        assert!(futures::poll!(&mut close).is_pending(), "the work has not returned");
    } // the wait may be given up; the group stays closed
    assert!(matches!(group.run("key", unwanted).await, Err(Error::Closed)));
    assert!(matches!(group.run("other key", unwanted).await, Err(Error::Closed)));
    script.end(Ok(1));
    group.close().await;
    assert!(matches!(queued.await, Err(Error::Closed)), "no run begins in a closed group");
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test]
async fn close_lets_wanted_work_finish() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let waiter = joined(group.run("key", work)).await;
    let context = script.begun().await;
    let mut close = Box::pin(group.close());
    assert!(futures::poll!(&mut close).is_pending());
    assert!(!context.is_cancelled());
    script.end(Ok(1));
    assert_eq!(waiter.await.unwrap(), 1);
    close.await;
}

#[tokio::test]
async fn closing_an_idle_group_is_done_at_once() {
    let group = Group::<()>::new();
    tokio::join!(group.close(), group.close());
    assert!(matches!(group.run("key", unwanted).await, Err(Error::Closed)));
}

/// A waiter that is leaked never withdraws: only the group's own end can reach its work.
#[tokio::test]
async fn dropping_the_group_cancels() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let waiter = joined(group.run("key", work)).await;
    let context = script.begun().await;
    std::mem::forget(waiter);
    assert!(!context.is_cancelled());
    drop(group);
    assert!(context.is_cancelled());
    script.end(Ok(1));
}

/// A runtime that shuts down under the work: waiters elsewhere are told, and the key is free.
#[test]
fn a_runtime_that_goes_away_abandons_its_work() {
    let group = Group::<()>::new();
    let dying = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let living = Builder::new_current_thread().build().unwrap();
    let (work, mut script) = scripted();
    let (first, context) = dying.block_on(async {
        let first = joined(group.run("key", work)).await;
        (first, script.begun().await)
    });
    living.block_on(async {
        let second = joined(group.run("key", unwanted)).await;
        dying.shutdown_background();
        assert!(matches!(second.await, Err(Error::Abandoned)));
        assert!(matches!(first.await, Err(Error::Abandoned)));
        assert!(context.is_cancelled(), "blocking parts of the work are told");
        assert_eq!(group.run("key", async |_| Ok(1)).await.unwrap(), 1);
        group.close().await;
    });
}

/// Work that cancels its own token fools nobody into believing that its waiters have left, and does not stop the
/// closure that runs after it.
#[tokio::test]
async fn work_may_cancel_itself() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let one = joined(group.run("key", work)).await;
    script.begun().await.token().cancel();
    let (work, mut next) = scripted();
    let two = joined(group.run("key", work)).await;
    script.end(Err(Failure::Personal(Oops("mine"))));
    assert!(matches!(one.await, Err(Error::Personal(_))));
    assert!(!next.begun().await.is_cancelled());
    next.end(Ok(1));
    assert_eq!(two.await.unwrap(), 1);
}

/// Futures of the group can be moved to other threads, and errors boxed.
#[test]
fn types_are_what_callers_need() {
    fn sendable<T: Send>(_: &T) {}
    fn shareable<T: Send + Sync>() {}
    shareable::<Group<(&str, u8)>>();
    shareable::<Context>();
    let group = Arc::new(Group::<()>::new());
    sendable(&group.run("key", until_cancelled));
    sendable(&group.close());
    let error: Box<dyn std::error::Error + Send + Sync> =
        Box::new(Error::Failed(Arc::new(Oops("no such thing"))));
    assert_eq!(error.to_string(), "no such thing");
}
