//! One writer per blob within a process; the clock is paused, so that every wait is seen.

use std::time::Duration;

use lazyblob_remote::layout::{Ingest, IngestSettings, Ingests, Received};
use tokio::time::Instant;

use super::support::{Bench, Ending};
use crate::support::noise;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// A bench whose waiters look once an hour unless somebody wakes them.
fn patient() -> Bench {
    Bench::with(noise(100_000, 8), IngestSettings { poll: HOUR, ..IngestSettings::default() })
}

async fn begin(bench: &Bench) -> Ingest {
    bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap()
}

/// Row 68a: who waits for a blob has it the moment it is committed, and asks no source.
#[tokio::test(start_paused = true)]
async fn a_waiter_wakes_at_the_commit() {
    let bench = patient();
    let mut winner = begin(&bench).await;
    let began = Instant::now();
    let source = bench.source([]);
    let work = async {
        winner.write(bench.bytes.clone().into()).await.unwrap();
        tokio::time::sleep(MINUTE).await;
        winner.commit().await.unwrap();
    };
    let ((), received) = tokio::join!(work, bench.receive(&source));
    assert_eq!(received.unwrap(), Received::Present);
    assert_eq!(began.elapsed(), MINUTE);
    assert!(source.asked().is_empty());
    bench.assert_stored();
}

/// Row 68b: when the first one fails, the second goes on where it ended and succeeds.
#[tokio::test(start_paused = true)]
async fn a_waiter_takes_over_from_one_that_failed() {
    let bench = patient();
    let mut first = begin(&bench).await;
    let began = Instant::now();
    let source = bench.source([]);
    let work = async {
        first.write(bench.bytes[..40_000].to_vec().into()).await.unwrap();
        first.save().await.unwrap();
        tokio::time::sleep(MINUTE).await;
        drop(first);
    };
    let ((), received) = tokio::join!(work, bench.receive(&source));
    assert_eq!(received.unwrap(), Received::Stored);
    assert_eq!(began.elapsed(), MINUTE);
    assert_eq!(source.asked(), [40_000]);
    bench.assert_stored();
}

/// Row 68b: the second one's own failure is its own, too; the third succeeds.
#[tokio::test(start_paused = true)]
async fn of_many_that_ask_one_after_the_other_tries() {
    let bench = patient();
    let sources = [
        bench.source([Ending::Breaks(30_000)]),
        bench.source([Ending::Refused]),
        bench.source([]),
        bench.source([]),
    ];
    let mut holder = Some(begin(&bench).await);
    let receive = async |number: usize| {
        // One minute apart, so that the order is known.
        tokio::time::sleep(MINUTE * u32::try_from(number).unwrap()).await;
        bench.receive(&sources[number]).await
    };
    let go = async {
        tokio::time::sleep(MINUTE * 30).await;
        drop(holder.take());
    };
    let (a, b, c, d, ()) = tokio::join!(receive(0), receive(1), receive(2), receive(3), go);
    let outcomes = [a, b, c, d];
    let stored = outcomes.iter().filter(|one| matches!(one, Ok(Received::Stored))).count();
    assert_eq!(stored, 1, "{outcomes:?}");
    assert!(outcomes[3].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    let asked: u64 = sources.iter().map(|source| source.served()).sum();
    assert_eq!(asked, 100_000, "no byte came twice");
    bench.assert_stored();
}

/// Row 68a: of two that begin at the same moment one writes; the other lets its connection go after the first bytes.
#[tokio::test(start_paused = true)]
async fn of_two_that_begin_together_one_writes() {
    let bench = patient();
    let sources = [bench.source([]), bench.source([])];
    let (a, b) = tokio::join!(bench.receive(&sources[0]), bench.receive(&sources[1]));
    let outcomes = [a.unwrap(), b.unwrap()];
    let winner = outcomes.iter().position(|one| *one == Received::Stored).unwrap();
    assert_eq!(outcomes[1 - winner], Received::Present, "{outcomes:?}");
    assert_eq!(sources[winner].served(), 100_000);
    assert!(sources[1 - winner].served() <= 10_000, "a chunk at most");
    bench.assert_stored();
}

/// Row 68a: those that do not share a waker look again and again, and say once whom they wait for.
#[tokio::test(start_paused = true)]
async fn a_stranger_looks_often_and_says_once_whom_it_waits_for() {
    let bench = Bench::new(100_000);
    let settings = bench.ingests.settings();
    let mut winner = begin(&bench).await;
    let stranger =
        Ingests::new(bench.temp.path().join("layout"), bench.ingests.dir()).with_settings(settings);
    let source = bench.source([]);
    let work = async {
        winner.write(bench.bytes.clone().into()).await.unwrap();
        tokio::time::sleep(MINUTE).await;
        winner.commit().await.unwrap();
        Instant::now()
    };
    let wait = async {
        let received = stranger.receive(&bench.read_by(&source, 1)).await;
        (received, Instant::now())
    };
    let (committed, (received, woken)) = tokio::join!(work, wait);
    assert_eq!(received.unwrap(), Received::Present);
    assert!(woken - committed <= settings.poll_limit, "{:?}", woken - committed);
    let notes = bench.notes.all();
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert!(note.contains(&format!("waiting for process {}: ", std::process::id())), "{note}");
    assert!(source.asked().is_empty());
}

/// Row 68a: the longer it takes the other one, the less often they look.
#[tokio::test(start_paused = true)]
async fn the_pauses_of_a_stranger_grow() {
    let (first, limit) = (Duration::from_millis(10), Duration::from_secs(1));
    let settings = IngestSettings { poll: first, poll_limit: limit, ..IngestSettings::default() };
    let bench = Bench::with(noise(100_000, 8), settings);
    let winner = begin(&bench).await;
    let stranger =
        Ingests::new(bench.temp.path().join("layout"), bench.ingests.dir()).with_settings(settings);
    let began = Instant::now();
    let work = async {
        tokio::time::sleep(MINUTE).await;
        drop(winner);
    };
    let (ingest, ()) = tokio::join!(stranger.begin(&bench.blob, &*bench.notes), work);
    assert!(ingest.unwrap().is_some());
    // 10, 20, … 640 ms, and a second from then on.
    let growing = first * (2_u32.pow(7) - 1);
    let looks = (MINUTE - growing).as_secs() + 1;
    assert_eq!(began.elapsed(), growing + limit * u32::try_from(looks).unwrap());
}

/// Row 68a: who waits for one blob is not woken by what becomes of another.
#[tokio::test(start_paused = true)]
async fn a_waiter_sleeps_on_when_another_blob_is_released() {
    let bench = patient();
    let _winner = begin(&bench).await;
    let other = lazyblob_remote::digest::sha256(b"other");
    let other = lazyblob_remote::Descriptor::new("x/y".into(), 5, other);
    let other = bench.ingests.begin(&other, &*bench.notes).await.unwrap().unwrap();
    let source = bench.source([]);
    let release = async {
        tokio::time::sleep(MINUTE).await;
        drop(other);
        tokio::time::sleep(MINUTE).await;
    };
    tokio::select! {
        done = bench.receive(&source) => panic!("it cannot end: {done:?}"),
        () = release => {}
    }
    assert!(bench.notes.all().is_empty(), "it has not looked again: {:?}", bench.notes.all());
}

/// Row 68a: dropping who waits leaves no trace; other blobs are not waited for.
#[tokio::test(start_paused = true)]
async fn a_waiter_may_go_away() {
    let bench = patient();
    let winner = begin(&bench).await;
    let source = bench.source([]);
    let waited = tokio::time::timeout(MINUTE, bench.receive(&source)).await;
    assert!(waited.is_err(), "{waited:?}");
    let other = lazyblob_remote::digest::sha256(b"other");
    let other = lazyblob_remote::Descriptor::new("x/y".into(), 5, other);
    let mut ingest = bench.ingests.begin(&other, &*bench.notes).await.unwrap().unwrap();
    ingest.write(bytes::Bytes::from_static(b"other")).await.unwrap();
    ingest.commit().await.unwrap();
    drop(winner);
    bench.receive(&source).await.unwrap();
    bench.assert_stored();
}
