//! One maker per thing, within a process; the clock is paused, so that every wait is seen.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lazyblob_cache::Error;
use lazyblob_cache::root::{Dir, Pauses, RootSettings};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::support::{Bench, Notes, names, settings};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// Waiters look once an hour unless somebody wakes them.
async fn patient() -> Bench {
    Bench::with(RootSettings { poll: Pauses { first: HOUR, limit: HOUR }, ..settings() }).await
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_woken_and_told_whom_it_waits_for() {
    let bench = patient().await;
    let (locks, token) = (bench.root.staging_locks(), CancellationToken::new());
    let (first, second) = (Notes::default(), Notes::default());
    let claim = locks.claim("name", &first, &token).await.unwrap();
    assert_eq!(names(&bench.root.staging()), ["name.lock"]);
    let other = locks.claim("other", &first, &token).await.unwrap();
    let began = Instant::now();
    let hold = async {
        tokio::time::sleep(MINUTE).await;
        // Other threads have a share, and the last one lets others in.
        let share = Arc::new(claim);
        let last = Arc::clone(&share);
        drop(share);
        tokio::task::spawn_blocking(move || drop(last)).await.unwrap();
    };
    let ((), waited) = tokio::join!(hold, locks.claim("name", &second, &token));
    assert_eq!(began.elapsed(), MINUTE);
    assert!(second.all().is_empty(), "it looked but once: {:?}", second.all());
    drop((waited.unwrap(), other));
    assert!(names(&bench.root.staging()).is_empty(), "locks go with their claims");
    assert!(first.all().is_empty());
}

/// Another handle of the root is as good as another process: nobody is woken, and somebody looks.
#[tokio::test(start_paused = true)]
async fn who_waits_for_another_process_looks_and_says_so_once() {
    let bench = Bench::new().await;
    let other = bench.again().await;
    let (token, notes) = (CancellationToken::new(), Notes::default());
    let claim = other.staging_locks().claim("name", &notes, &token).await.unwrap();
    let began = Instant::now();
    let hold = async {
        tokio::time::sleep(MINUTE).await;
        drop(claim);
    };
    let ((), waited) = tokio::join!(hold, bench.root.staging_locks().claim("name", &notes, &token));
    drop(waited.unwrap());
    assert!(began.elapsed() <= MINUTE + settings().poll.limit, "{:?}", began.elapsed());
    assert_eq!(notes.all(), [format!("name: waiting for process {}: a test", std::process::id())]);
}

#[tokio::test(start_paused = true)]
async fn who_is_cancelled_waits_no_more() {
    let bench = patient().await;
    let (locks, token, notes) = (bench.root.staging_locks(), CancellationToken::new(), Notes::default());
    let claim = locks.claim("name", &notes, &CancellationToken::new()).await.unwrap();
    let cancel = async {
        tokio::time::sleep(MINUTE).await;
        token.cancel();
    };
    let ((), waited) = tokio::join!(cancel, locks.claim("name", &notes, &token));
    assert!(matches!(waited.unwrap_err(), Error::Cancelled { .. }));
    drop(claim);
    drop(locks.claim("name", &notes, &CancellationToken::new()).await.unwrap());
}

#[tokio::test]
async fn there_is_one_maker_at_a_time() {
    let bench = Bench::new().await;
    let other = bench.again().await;
    let (inside, made) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let makers = (0..40).map(async |maker| {
        let root = if maker % 2 == 0 { &bench.root } else { &other };
        let notes = Notes::default();
        let claim = root.staging_locks().claim("name", &notes, &CancellationToken::new()).await.unwrap();
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
        tokio::task::yield_now().await;
        made.fetch_add(1, Ordering::SeqCst);
        assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
        drop(claim);
    });
    futures::future::join_all(makers).await;
    assert_eq!(made.into_inner(), 40);
    assert!(names(&bench.root.dir(Dir::Staging)).is_empty());
}

#[tokio::test]
async fn names_do_not_lead_elsewhere() {
    let bench = Bench::new().await;
    let (locks, token) = (bench.root.staging_locks(), CancellationToken::new());
    for name in ["", ".", "..", "../x", "a/b", "/x", "a\0b", ".hidden", "a.b"] {
        let error = locks.claim(name, &Notes::default(), &token).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{name:?}: {error}");
    }
    assert!(names(&bench.root.staging()).is_empty());
}

/// What killed makers leave goes, and what living ones make stays.
#[tokio::test]
async fn what_nobody_makes_any_more_is_removed() {
    let bench = Bench::new().await;
    let staging = bench.root.staging();
    for dir in ["dead", "dead.1", "living", "living.1", "other.x.y"] {
        fs::create_dir_all(staging.join(dir).join("tree")).unwrap();
    }
    fs::write(staging.join("dead.lock"), "").unwrap();
    fs::write(staging.join(".stranger"), "").unwrap();
    let other = bench.again().await;
    let claim = other.staging_locks().claim("living", &Notes::default(), &CancellationToken::new()).await;
    assert_eq!(bench.root.staging_locks().sweep(bench.root.trash()).unwrap(), 3);
    assert_eq!(names(&staging), [".stranger", "living", "living.1", "living.lock"]);
    drop(claim.unwrap());
    assert_eq!(bench.root.staging_locks().sweep(bench.root.trash()).unwrap(), 2);
    assert_eq!(names(&staging), [".stranger"]);
    assert_eq!(names(&bench.root.dir(Dir::Trash)).len(), 5);
}
