//! The end of an ingest: a blob that is right, one that is not, and one that is there already.

use std::fs;
use std::sync::Arc;

use lazyblob_remote::layout::Received;
use lazyblob_remote::{Error, Mismatch};

use super::support::{Bench, Ending, Source};

fn size_mismatch(error: &Error, expected: u64, actual: u64) {
    let Error::Integrity { mismatch, .. } = error else { panic!("{error}") };
    assert_eq!(*mismatch, Mismatch::Size { expected, actual });
}

/// Row 51b: more bytes than the descriptor allows are refused as they come, and nothing of them is kept.
#[tokio::test]
async fn too_many_bytes_are_refused_at_once() {
    let bench = Bench::new(100_000);
    let endless = [bench.bytes.clone(), vec![0; 5_000_000]].concat();
    let source = Arc::new(Source::new(endless, []));
    let error = bench.receive(&source).await.unwrap_err();
    size_mismatch(&error, 100_000, 110_000);
    assert!(error.to_string().contains("size is 110000 bytes, expected 100000"), "{error}");
    assert_eq!(source.served(), 110_000, "one chunk too many is enough");
    assert!(!bench.place().exists());
    bench.assert_nothing_unfinished();
}

/// Rows 51b, 73b: a source that ends early is an error of size, and what it brought is gone on with.
#[tokio::test]
async fn too_few_bytes_are_kept_for_the_next_run() {
    let bench = Bench::new(100_000);
    let mut ingest = bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap();
    ingest.write(bench.bytes[..30_000].to_vec().into()).await.unwrap();
    size_mismatch(&ingest.commit().await.unwrap_err(), 100_000, 30_000);
    assert!(!bench.place().exists());
    let source = bench.source([Ending::Ends(90_000)]);
    bench.receive(&source).await.unwrap_err();
    assert_eq!(source.asked(), [30_000]);
    let source = bench.source([]);
    bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [90_000]);
    bench.assert_stored();
}

/// Row 73b: of bytes with another digest nothing is kept; the error names both digests, and the lock is free.
#[tokio::test]
async fn wrong_bytes_leave_nothing() {
    let bench = Bench::new(100_000);
    let error = bench.receive(&Arc::new(Source::new(vec![7; 100_000], []))).await.unwrap_err();
    let Error::Integrity { mismatch: Mismatch::Digest { expected, actual }, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(expected, bench.blob.digest().as_ref());
    assert_eq!(actual, lazyblob_remote::digest::sha256(&[7; 100_000]).as_ref());
    assert!(!bench.place().exists());
    bench.assert_nothing_unfinished();
    let source = bench.source([]);
    bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [0]);
    bench.assert_stored();
}

/// Row 73b: where the wrong bytes are from an earlier attempt, today's source is not blamed for them.
#[tokio::test]
async fn a_beginning_that_was_wrong_is_read_once_more() {
    let bench = Bench::new(100_000);
    let wrong = Arc::new(Source::new(vec![7; 100_000], [Ending::Breaks(50_000)]));
    bench.receive(&wrong).await.unwrap_err();
    let source = bench.source([]);
    bench.receive(&source).await.unwrap();
    assert_eq!(source.asked(), [50_000, 0]);
    bench.assert_stored();
    assert!(bench.notes.all()[0].contains("starting over"), "{:?}", bench.notes.all());

    // Once, and not for ever.
    fs::remove_file(bench.place()).unwrap();
    let wrong = Arc::new(Source::new(vec![7; 100_000], [Ending::Breaks(50_000)]));
    bench.receive(&wrong).await.unwrap_err();
    let error = bench.receive(&wrong).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error}");
    assert_eq!(wrong.asked(), [0, 50_000, 0]);
    bench.assert_nothing_unfinished();
}

/// Row 73b: a blob that came by another way meanwhile is no error, and the ingest goes.
#[tokio::test]
async fn a_blob_that_is_there_at_the_commit_is_fine() {
    let bench = Bench::new(100_000);
    let mut ingest = bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap();
    ingest.write(bench.bytes.clone().into()).await.unwrap();
    bench.ingests.store(&bench.blob, bench.bytes.clone().into()).await.unwrap();
    ingest.commit().await.unwrap();
    bench.assert_stored();
    assert!(bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().is_none(), "it is there");
    bench.assert_nothing_unfinished();
}

/// Row 73b: a commit that was killed between the rename and its last steps leaves a whole blob.
#[tokio::test]
async fn what_a_commit_killed_late_has_left_goes_with_the_next_look() {
    let bench = Bench::new(100_000);
    let killed = async || {
        bench.leave(60_000).await;
        fs::create_dir_all(bench.place().parent().unwrap()).unwrap();
        fs::remove_file(bench.partial().join("data")).unwrap();
        fs::write(bench.place(), &bench.bytes).unwrap();
        assert_eq!(bench.offset().await, None, "nobody can go on with it");
    };
    killed().await;
    let source = bench.source([]);
    assert_eq!(bench.receive(&source).await.unwrap(), Received::Present);
    assert!(source.asked().is_empty());
    bench.assert_stored();
    fs::remove_file(bench.place()).unwrap();
    killed().await;
    bench.ingests.sweep().await.unwrap();
    bench.assert_stored();
}

/// Row 73b: a commit whose last step fails has everything for the next run to try it again.
#[tokio::test]
async fn a_commit_that_cannot_rename_keeps_all_bytes() {
    let bench = Bench::new(100_000);
    fs::create_dir_all(bench.place()).unwrap();
    let error = bench.receive(&bench.source([])).await.unwrap_err();
    let Error::Io { path, .. } = &error else { panic!("{error}") };
    assert_eq!(*path, bench.place());
    assert_eq!(bench.offset().await, Some(100_000));
    fs::remove_dir(bench.place()).unwrap();
    let source = bench.source([]);
    bench.receive(&source).await.unwrap();
    assert!(source.asked().is_empty());
    bench.assert_stored();
}

/// A writer may go back to the first byte.
#[tokio::test]
async fn a_restarted_ingest_begins_with_nothing() {
    let bench = Bench::new(100_000);
    bench.leave(60_000).await;
    let mut ingest = bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap();
    assert_eq!((ingest.position(), ingest.saved()), (60_000, 60_000));
    ingest.write(vec![9; 1000].into()).await.unwrap();
    ingest.restart().await.unwrap();
    assert_eq!((ingest.position(), ingest.saved()), (0, 0));
    assert!(!bench.partial().join("state").exists());
    ingest.write(bench.bytes.clone().into()).await.unwrap();
    ingest.commit().await.unwrap();
    bench.assert_stored();
}

/// A source that fails before its first byte, and a blob without one.
#[tokio::test]
async fn a_source_that_brings_nothing_leaves_nothing() {
    let bench = Bench::new(100_000);
    let error = bench.receive(&bench.source([Ending::Refused])).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(bench.ingests.list().await.unwrap(), []);
    assert!(!bench.partial().exists());
    // A partial stays as it is.
    bench.leave(50_000).await;
    bench.receive(&bench.source([Ending::Refused])).await.unwrap_err();
    assert_eq!(bench.offset().await, Some(50_000));

    let empty = Bench::new(0);
    let source = empty.source([Ending::Refused]);
    empty.receive(&source).await.unwrap();
    assert!(source.asked().is_empty());
    empty.assert_stored();
}
