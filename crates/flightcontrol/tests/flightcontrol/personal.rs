//! Errors that are one caller's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lazyblob_flightcontrol::{Error, Failure};

use crate::support::*;

fn own(answer: Answer) -> Oops {
    match answer {
        Err(Error::Personal(error)) => error,
        other => panic!("expected a personal error, got {other:?}"),
    }
}

#[tokio::test]
async fn the_next_waiter_runs_its_own_closure_in_the_same_generation() {
    let group = Group::<()>::new();
    let (work, mut refused) = scripted();
    let one = joined(group.run("key", work)).await;
    let (work, mut served) = scripted();
    let two = joined(group.run("key", work)).await;
    let three = joined(group.run("key", unwanted)).await;
    refused.begun().await;
    assert!(!served.has_begun());
    refused.end(Err(Failure::Personal(Oops("refused"))));
    assert_eq!(own(one.await), Oops("refused"), "told at once, not at the end of the others' run");
    let late = joined(group.run("key", unwanted)).await;
    assert!(served.has_begun());
    served.end(Ok(7));
    for waiter in [two, three, late] {
        assert_eq!(waiter.await.unwrap(), 7);
    }
}

/// The closure goes on for the others when its caller has left, and its trouble is nobody's then.
#[tokio::test]
async fn a_caller_that_left_keeps_its_trouble() {
    let group = Group::<()>::new();
    let (work, mut refused) = scripted();
    let one = joined(group.run("key", work)).await;
    let (work, mut served) = scripted();
    let two = joined(group.run("key", work)).await;
    let context = refused.begun().await;
    drop(one);
    assert!(!context.is_cancelled());
    refused.end(Err(Failure::Personal(Oops("refused"))));
    served.begun().await;
    served.end(Ok(7));
    assert_eq!(two.await.unwrap(), 7);
}

#[tokio::test]
async fn the_last_one_refused_frees_the_key() {
    let group = Group::<()>::new();
    let answer = group.run("key", async |_| Err(Failure::Personal(Oops("refused")))).await;
    assert_eq!(own(answer), Oops("refused"));
    assert_eq!(group.in_flight(), 0);
    assert_eq!(group.run("key", async |_| Ok(1)).await.unwrap(), 1);
}

/// A waiter that left before its turn is passed over.
#[tokio::test]
async fn only_those_present_get_a_turn() {
    let group = Group::<()>::new();
    let (work, mut refused) = scripted();
    let one = joined(group.run("key", work)).await;
    let two = joined(group.run("key", unwanted)).await;
    let three = joined(group.run("key", async |_| Ok(3))).await;
    refused.begun().await;
    drop(two);
    refused.end(Err(Failure::Personal(Oops("refused"))));
    assert_eq!(own(one.await), Oops("refused"));
    assert_eq!(three.await.unwrap(), 3);
}

/// 64 waiters of whom three are refused: one run succeeds, 61 get its value, three get their own errors.
#[tokio::test]
async fn sixty_four_waiters_three_refused() {
    let names = ["ann", "bob", "cyd"];
    let group = Group::<()>::new();
    let (runs, successes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut waiters = Vec::new();
    for waiter in 0..64 {
        let (runs, successes) = (Arc::clone(&runs), Arc::clone(&successes));
        let refusal = names.get(waiter).copied();
        waiters.push(
            joined(group.run("key", async move |_| {
                runs.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                if let Some(name) = refusal {
                    return Err(Failure::Personal(Oops(name)));
                }
                successes.fetch_add(1, Ordering::SeqCst);
                Ok(42)
            }))
            .await,
        );
    }
    let mut answers = futures::future::join_all(waiters).await.into_iter();
    for name in names {
        assert_eq!(own(answers.next().unwrap()), Oops(name), "an error is its own caller's");
    }
    assert!(answers.all(|answer| answer.unwrap() == 42));
    assert_eq!((runs.load(Ordering::SeqCst), successes.load(Ordering::SeqCst)), (4, 1));
    assert_eq!(group.in_flight(), 0);
}

/// Who would be refused but comes after one that is not is served by it, and never asked.
#[tokio::test]
async fn bad_credentials_that_are_not_needed_do_no_harm() {
    let group = Group::<()>::new();
    let (work, mut script) = scripted();
    let good = joined(group.run("key", work)).await;
    let bad = joined(group.run("key", unwanted)).await;
    script.begun().await;
    script.end(Ok(1));
    assert_eq!((good.await.unwrap(), bad.await.unwrap()), (1, 1));
}
