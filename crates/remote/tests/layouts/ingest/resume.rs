//! Going on with what an earlier attempt has left.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use lazyblob_remote::digest::Hasher;
use lazyblob_remote::layout::{IngestSettings, Layout, Received};
use lazyblob_remote::{Digest, Error, Target};
use oci_spec::image::DigestAlgorithm;

use super::support::{Bench, Ending, Source, eager};
use crate::support::noise;

/// Row 46: a connection that breaks is resumed within the run, and all bytes come once.
#[tokio::test(start_paused = true)]
async fn a_break_costs_no_byte() {
    let bench = Bench::new(1_000_000);
    let source = bench.source([Ending::Breaks(400_000)]);
    let received = bench.ingests.receive(&bench.read_by(&source, 3)).await.unwrap();
    assert_eq!(received, Received::Stored);
    assert_eq!(source.asked(), [0, 400_000]);
    assert_eq!(source.served(), 1_000_000);
    bench.assert_stored();
}

/// Rows 46, 47: what a failed run has brought, the next one does not ask for again.
#[tokio::test]
async fn the_next_run_goes_on_where_the_last_one_failed() {
    let bench = Bench::new(1_000_000);
    bench.leave(400_000).await;
    bench.leave(700_000).await;
    assert!(!bench.place().exists(), "it is not whole");
    let source = bench.source([]);
    bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [700_000]);
    assert_eq!(source.served(), 300_000);
    bench.assert_stored();
    assert!(bench.notes.all().is_empty(), "{:?}", bench.notes.all());
}

/// Row 47: a copy into a layout goes on from what one that failed has left in it.
#[tokio::test]
async fn a_layout_keeps_what_a_failed_copy_has_brought() {
    let bench = Bench::new(300_000);
    let root = bench.temp.path().join("layout");
    let layout = Layout::create_or_open(&root).await.unwrap();
    let broken = bench.read_by(&bench.source([Ending::Breaks(200_000)]), 1);
    layout.put_blob(&broken, None).await.unwrap_err();
    layout.finish().await.unwrap();
    assert_eq!(bench.offset().await, Some(200_000), "neither the end of a run removes it");
    let layout = Layout::create_or_open(&root).await.unwrap();
    let source = bench.source([]);
    layout.put_blob(&bench.read_by(&source, 1), None).await.unwrap();
    layout.finish().await.unwrap();
    assert_eq!(source.asked(), [200_000], "nor the begin of the next");
    bench.assert_stored();
    assert!(!root.join(".ingest").exists());
}

/// Row 47: a cancelled run leaves as much as one that failed.
#[tokio::test]
async fn a_cancelled_run_is_gone_on_with() {
    let bench = Bench::new(1_000_000);
    let error = bench.receive(&bench.source([Ending::Cancelled(650_000)])).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    let source = bench.source([]);
    bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [650_000]);
    bench.assert_stored();
}

/// Row 48a: a source that ignores ranges begins at the first byte; what is here already is dropped.
#[tokio::test]
async fn a_source_that_ignores_ranges_doubles_no_byte() {
    let bench = Bench::new(1_000_000);
    bench.leave(400_000).await;
    let source = Arc::new(Source::new(bench.bytes.clone(), []).ignoring_ranges());
    bench.receive(&source).await.unwrap();
    assert_eq!(source.served(), 1_000_000);
    bench.assert_stored();
}

/// Row 49b: what is longer than the last save point says, even longer than the blob, is cut.
#[tokio::test]
async fn a_partial_that_is_too_long_is_cut() {
    let bench = Bench::new(100_000);
    bench.leave(60_000).await;
    let data = File::options().write(true).open(bench.partial().join("data")).unwrap();
    data.write_all_at(&noise(200_000, 3), 60_000).unwrap();
    let source = bench.source([]);
    bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [60_000]);
    bench.assert_stored();
}

/// Row 47: everything was there when the run before ended; nobody is asked for nothing.
#[tokio::test]
async fn a_partial_that_is_whole_needs_no_source() {
    let bench = Bench::new(100_000);
    let mut ingest = bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap();
    ingest.write(bench.bytes.clone().into()).await.unwrap();
    ingest.save().await.unwrap();
    drop(ingest);
    let source = bench.source([Ending::Refused]);
    assert_eq!(bench.receive(&source).await.unwrap(), Received::Stored);
    assert!(source.asked().is_empty());
    bench.assert_stored();
}

/// Row 74a: the beginning is not read again. It is damaged here, which only one who reads it can see.
#[tokio::test]
async fn a_saved_hash_state_stands_for_the_bytes_before_it() {
    for algorithm in [DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512] {
        let bench = Bench::new(1_000_000);
        let mut hasher = Hasher::new(&algorithm).unwrap();
        hasher.update(&bench.bytes);
        let digest: Digest = hasher.finish().parse().unwrap();
        let bench = bench.named_by(digest);
        bench.leave(800_001).await;
        let data = File::options().write(true).open(bench.partial().join("data")).unwrap();
        data.write_all_at(&[!bench.bytes[17]], 17).unwrap();
        let source = bench.source([]);
        bench.receive(&source).await.unwrap();
        assert_eq!(source.asked(), [800_001], "{algorithm}");
        let stored = fs::read(bench.place()).unwrap();
        assert_eq!(stored[17], !bench.bytes[17]);
        assert!(stored[18..] == bench.bytes[18..]);
    }
}

/// Row 74b: bytes that come after a resume are held against the digest with those before.
#[tokio::test]
async fn a_resumed_sha512_blob_is_verified_as_a_whole() {
    let bench = Bench::new(300_000);
    let mut hasher = Hasher::new(&DigestAlgorithm::Sha512).unwrap();
    hasher.update(&bench.bytes);
    let bench = bench.named_by(hasher.finish().parse().unwrap());
    bench.leave(100_000).await;
    let mut wrong = bench.bytes.clone();
    wrong[299_999] ^= 1;
    let error = bench.receive(&Arc::new(Source::new(wrong, []))).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { .. }), "{error}");
    assert!(!bench.place().exists());
    bench.leave(100_000).await;
    bench.receive(&bench.source([])).await.unwrap();
    bench.assert_stored();
}

/// Row 47: save points are made by bytes and time, not before both have passed, and not for what is soon whole.
#[tokio::test(start_paused = true)]
async fn save_points_are_due_by_bytes_and_time() {
    const PIECE: usize = 512 * 1024;
    let settings = IngestSettings::default();
    let (bytes, interval) = (usize::try_from(settings.save_bytes).unwrap(), settings.save_interval);
    let bench = Bench::with(noise(bytes + 4 * PIECE, 1), settings);
    let pieces: Vec<_> = bench.bytes.chunks(PIECE).map(bytes::Bytes::copy_from_slice).collect();
    let state = || bench.partial().join("state").exists();
    let begin = async || bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap();

    // Enough bytes, too little time: there is nothing to go on with.
    let mut fast = begin().await;
    for piece in &pieces {
        fast.write(piece.clone()).await.unwrap();
    }
    drop(fast);
    bench.assert_nothing_unfinished();

    // Enough time, one piece too few; then enough of both.
    let mut slow = begin().await;
    tokio::time::advance(interval).await;
    for piece in &pieces[..bytes / PIECE - 1] {
        slow.write(piece.clone()).await.unwrap();
    }
    slow.write(pieces[bytes / PIECE - 1].slice(1..)).await.unwrap();
    assert_eq!((slow.saved(), state()), (0, false));
    drop(slow);
    let mut due = begin().await;
    tokio::time::advance(interval).await;
    for piece in &pieces[..=bytes / PIECE] {
        due.write(piece.clone()).await.unwrap();
    }
    drop(due);
    // The thread that makes the save point has the lock until it has.
    let again = begin().await;
    assert_eq!(again.position(), settings.save_bytes);
    assert_eq!(again.saved(), settings.save_bytes);
    drop(again);

    // The last piece is followed by the commit, which makes it durable.
    bench.ingests.abort(bench.blob.digest()).await.unwrap();
    let mut last = begin().await;
    for (number, piece) in pieces.iter().enumerate() {
        if number + 1 == pieces.len() {
            tokio::time::advance(interval).await;
        }
        last.write(piece.clone()).await.unwrap();
    }
    drop(last);
    bench.assert_nothing_unfinished();
    assert_eq!(begin().await.position(), 0);
}

/// Row 47: after a save point of a running transfer, a receiver that is dropped loses only what came since.
#[tokio::test]
async fn a_dropped_receiver_leaves_its_last_save_point() {
    let bench = Bench::with(noise(2_000_000, 5), eager());
    let stalling = bench.source([Ending::Stalls(1_900_000)]);
    tokio::select! {
        done = bench.receive(&stalling) => panic!("it cannot end: {done:?}"),
        () = stalling.stalled.notified() => {}
    }
    let source = bench.source([]);
    bench.receive(&source).await.unwrap();
    let [from] = source.asked()[..] else { panic!("{:?}", source.asked()) };
    assert!((512 * 1024..1_900_000).contains(&from), "{from}");
    bench.assert_stored();
}
