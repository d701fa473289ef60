//! The group that remembers.

use std::sync::Arc;

use futures::FutureExt;
use lazyblob_flightcontrol::{CachedGroup, Context, Error, Failure, watcher};

use crate::support::*;

type Cached<P = ()> = CachedGroup<&'static str, u32, Oops, P>;

/// BuildKit row 58: `TestCached`: one run per key; the memory answers whatever closure comes; errors are not remembered.
#[tokio::test]
async fn successes_are_remembered() {
    let group = Cached::<()>::new();
    let (work, mut script) = scripted();
    let one = joined(group.run("key", work)).await;
    let two = joined(group.run("key", unwanted)).await;
    script.begun().await;
    script.end(Ok(1));
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (1, 1));
    assert_eq!(group.run("key", unwanted).await.unwrap(), 1);

    assert_eq!(group.run("other key", async |_| Ok(2)).await.unwrap(), 2);
    assert_eq!(*shared(group.run("third key", async |_| Err(Oops("first").into())).await), Oops("first"));
    assert_eq!(group.run("third key", async |_| Ok(3)).await.unwrap(), 3);
    assert_eq!(group.run("third key", unwanted).await.unwrap(), 3);
}

/// BuildKit row 58: `TestCachedError`, first half: the first error is the answer for good.
#[tokio::test]
async fn errors_are_remembered_if_asked() {
    let group = Cached::<()>::new().remember_errors();
    let first = shared(group.run("key", async |_| Err(Oops("first").into())).await);
    let again = shared(group.run("key", unwanted).await);
    assert_eq!(*first, Oops("first"));
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(group.run("other key", async |_| Ok(2)).await.unwrap(), 2);
    assert_eq!(group.run("other key", unwanted).await.unwrap(), 2);
}

/// BuildKit row 58: `TestCachedError`, second half: what work says when told to stop is never remembered.
#[tokio::test]
async fn cancellation_is_never_remembered() {
    let group = Cached::<()>::new().remember_errors();
    let gone = joined(group.run("key", until_cancelled)).await;
    settle().await;
    drop(gone);
    assert_eq!(group.run("key", async |_| Ok(1)).await.unwrap(), 1);
    // With the cancelled run's end seen for sure.
    let gone = joined(group.run("other key", until_cancelled)).await;
    settle().await;
    drop(gone);
    settle().await;
    assert_eq!(group.run("other key", async |_| Ok(2)).await.unwrap(), 2);
}

/// A success nobody waited for is a success.
#[tokio::test]
async fn a_success_after_cancellation_is_remembered() {
    let group = Cached::<()>::new();
    let (work, mut script) = scripted();
    let gone = joined(group.run("key", work)).await;
    script.begun().await;
    drop(gone);
    // Queued before there was an answer, it finds one when its turn comes.
    let queued = joined(group.run("key", unwanted)).await;
    script.end(Ok(1));
    assert_eq!(queued.await.unwrap(), 1);
    assert_eq!(group.run("key", unwanted).await.unwrap(), 1);
}

#[tokio::test]
async fn personal_errors_and_panics_are_never_remembered() {
    let group = Cached::<()>::new().remember_errors();
    let answer = group.run("key", async |_| Err(Failure::Personal(Oops("mine")))).await;
    assert!(matches!(answer, Err(Error::Personal(Oops("mine")))));
    let answer = group.run("key", |_| async { std::panic::resume_unwind(Box::new("boom")) }.boxed()).await;
    assert!(matches!(answer, Err(Error::Panicked(_))));
    assert_eq!(group.run("key", async |_| Ok(1)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_watcher_of_a_remembered_answer_ends() {
    let group = Cached::<(&str, u32)>::new();
    for expected in [Some(("blob", 1)), None] {
        let (sink, mut watcher) = watcher();
        let work = async |context: Context<(&'static str, u32)>| {
            context.emit(("blob", 1));
            Ok(7)
        };
        assert_eq!(group.run_with_progress("key", work, sink).await.unwrap(), 7);
        assert_eq!(watcher.next().await, expected);
        assert_eq!(watcher.next().await, None);
    }
}

#[tokio::test]
async fn a_closed_group_still_remembers() {
    let group = Cached::<()>::new();
    group.run("key", async |_| Ok(1)).await.unwrap();
    group.close().await;
    assert_eq!(group.run("key", unwanted).await.unwrap(), 1);
    assert!(matches!(group.run("other key", unwanted).await, Err(Error::Closed)));
}
