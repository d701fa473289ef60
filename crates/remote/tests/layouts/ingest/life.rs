//! Unfinished blobs are listed, removed on request, and expire.

use std::fs::{self, File};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lazyblob_remote::layout::{Ingest, IngestSettings, Layout, Partial};
use lazyblob_remote::{Error, digest};
use serde_json::json;

use super::support::Bench;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

async fn only(bench: &Bench) -> Partial {
    let mut list = bench.ingests.list().await.unwrap();
    assert_eq!(list.len(), 1, "{list:?}");
    list.remove(0)
}

async fn begin(bench: &Bench) -> Ingest {
    bench.ingests.begin(&bench.blob, &*bench.notes).await.unwrap().unwrap()
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Says in the state that it was written then.
fn saved_at(bench: &Bench, time: SystemTime) {
    bench.edit_state(|state| state["updated"] = json!(millis(time)));
}

/// Row 73a: the list shows digest, size, offset, and when each was started and updated; abort removes one.
#[tokio::test]
async fn the_list_shows_what_there_is_and_abort_removes_it() {
    let bench = Bench::new(100_000);
    assert!(bench.ingests.list().await.unwrap().is_empty());
    let before = SystemTime::now() - Duration::from_millis(1);
    bench.leave(40_000).await;
    let first = only(&bench).await;
    assert_eq!((&first.digest, first.size, first.offset), (bench.blob.digest(), 100_000, 40_000));
    assert!(before <= first.started && first.started <= first.updated);
    assert!(first.updated <= SystemTime::now() && !first.in_use);
    bench.leave(50_000).await;
    let second = only(&bench).await;
    assert_eq!((second.offset, second.started), (50_000, first.started), "it is still the same one");
    assert!(second.updated >= first.updated);

    bench.ingests.abort(bench.blob.digest()).await.unwrap();
    assert!(bench.ingests.list().await.unwrap().is_empty());
    bench.assert_nothing_unfinished();
    let error = bench.ingests.abort(bench.blob.digest()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    bench.leave(10_000).await;
}

/// Rows 73a, 98: one that is being written is listed as such, and nobody else removes it.
#[tokio::test]
async fn what_is_in_use_is_listed_and_stays() {
    let bench = Bench::new(100_000);
    let mut ingest = begin(&bench).await;
    ingest.write(bench.bytes[..5000].to_vec().into()).await.unwrap();
    let listed = only(&bench).await;
    assert_eq!((listed.size, listed.offset, listed.in_use), (100_000, 0, true), "nothing is durable yet");
    assert!(listed.started <= SystemTime::now());
    let untouched = async || {
        let error = bench.ingests.abort(bench.blob.digest()).await.unwrap_err();
        let Error::Refused { what, reason } = &error else { panic!("{error}") };
        assert!(what.object.contains(bench.blob.digest().as_ref()), "{error}");
        assert!(reason.contains(&format!("process {}", std::process::id())), "{reason}");
        assert_eq!(bench.ingests.expire(Duration::ZERO).await.unwrap().len(), 0);
        bench.ingests.sweep().await.unwrap();
        bench.ingests.tidy().await.unwrap();
        assert!(only(&bench).await.in_use);
    };
    untouched().await;
    ingest.save().await.unwrap();
    // Whatever the clock has done meanwhile.
    for time in [UNIX_EPOCH, SystemTime::now() + 1000 * DAY] {
        saved_at(&bench, time);
        untouched().await;
    }
    ingest.write(bench.bytes[5000..].to_vec().into()).await.unwrap();
    ingest.commit().await.unwrap();
    bench.assert_stored();
}

/// A look at a partial locks it for a moment, which is no reason to say that it is being written.
#[tokio::test(start_paused = true)]
async fn who_only_looks_does_not_keep_it_from_being_removed() {
    let bench = Bench::new(100_000);
    bench.leave(40_000).await;
    let look = File::open(bench.partial().join("lock")).unwrap();
    look.lock_shared().unwrap();
    let poll = bench.ingests.settings().poll;
    let looks = async {
        tokio::time::sleep(poll / 2).await;
        drop(look);
    };
    let (aborted, ()) = tokio::join!(bench.ingests.abort(bench.blob.digest()), looks);
    aborted.unwrap();
    bench.assert_nothing_unfinished();
}

/// Row 98: what a cancelled run left can be gone on with for a day, and is gone after it.
#[tokio::test]
async fn an_unfinished_blob_expires() {
    let bench = Bench::new(100_000);
    let root = bench.temp.path().join("layout");
    drop(Layout::create_or_open(&root).await.unwrap());
    bench.leave(40_000).await;
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    saved_at(&bench, SystemTime::now() - DAY + MINUTE);
    Layout::create_or_open(&root).await.unwrap();
    assert_eq!(bench.offset().await, Some(40_000));
    assert_eq!(bench.ingests.expire(DAY).await.unwrap().len(), 0);
    // A setting says for how long.
    let settings = IngestSettings { keep: 2 * DAY, ..IngestSettings::default() };
    saved_at(&bench, SystemTime::now() - DAY - MINUTE);
    Layout::create_or_open_with(&root, settings).await.unwrap();
    assert_eq!(bench.offset().await, Some(40_000));
    Layout::create_or_open(&root).await.unwrap();
    assert_eq!(bench.offset().await, None);
    bench.assert_nothing_unfinished();
}

/// Row 98: one from the future was written before the clock was set back. It is kept for as long as any other from now
/// on, and not for ever.
#[tokio::test]
async fn a_clock_that_was_set_back_makes_nothing_immortal() {
    let bench = Bench::new(100_000);
    bench.leave(40_000).await;
    saved_at(&bench, SystemTime::now() + 1000 * DAY);
    bench.edit_state(|state| state["started"] = json!(u64::MAX));
    let listed = only(&bench).await;
    assert!(listed.started <= listed.updated, "{listed:?}");
    bench.ingests.sweep().await.unwrap();
    let listed = only(&bench).await;
    assert!(listed.updated <= SystemTime::now(), "its age is counted from now on");
    assert_eq!(listed.offset, 40_000);

    // It is as good as any other: it can be gone on with, and it expires.
    bench.leave(60_000).await;
    saved_at(&bench, SystemTime::now() + 1000 * DAY);
    bench.ingests.sweep().await.unwrap();
    saved_at(&bench, SystemTime::now() - 2 * DAY);
    bench.ingests.sweep().await.unwrap();
    bench.assert_nothing_unfinished();

    // Who wants all of them gone gets that, too.
    bench.leave(40_000).await;
    saved_at(&bench, SystemTime::now() + 1000 * DAY);
    assert_eq!(bench.ingests.expire(Duration::ZERO).await.unwrap().len(), 1);
    bench.assert_nothing_unfinished();
}

/// Row 98: what a later version of this program left is of no use to us, and its to expire as any other.
#[tokio::test]
async fn what_a_later_version_left_stays_as_long() {
    let bench = Bench::new(100_000);
    bench.leave(40_000).await;
    bench.edit_state(|state| state["version"] = json!(2));
    let state = bench.partial().join("state");
    let saved_at = |time| File::options().write(true).open(&state).unwrap().set_modified(time).unwrap();
    bench.ingests.sweep().await.unwrap();
    assert!(state.exists());
    assert!(bench.ingests.list().await.unwrap().is_empty(), "we cannot say how much of it there is");
    saved_at(SystemTime::now() + 1000 * DAY);
    bench.ingests.sweep().await.unwrap();
    assert!(fs::metadata(&state).unwrap().modified().unwrap() <= SystemTime::now());
    saved_at(SystemTime::now() - DAY - MINUTE);
    bench.ingests.sweep().await.unwrap();
    bench.assert_nothing_unfinished();
}

/// Row 98: what nobody can go on with is removed at once; what is not an unfinished blob is somebody else's.
#[tokio::test]
async fn orphans_go_at_once_and_strangers_stay() {
    let bench = Bench::new(100_000);
    let dir = bench.ingests.dir();
    let orphan = |text: &[u8], files: &[&str]| {
        let hex = digest::sha256(text).digest().to_owned();
        let orphan = dir.join(format!("sha256-{hex}"));
        fs::create_dir_all(&orphan).unwrap();
        files.iter().for_each(|name| fs::write(orphan.join(name), "left").unwrap());
    };
    orphan(b"empty", &[]);
    orphan(b"locked and killed", &["lock"]);
    orphan(b"never saved", &["lock", "data"]);
    orphan(b"damaged", &["lock", "data", "state"]);
    orphan(b"half", &["lock", "data", "state.new"]);
    let strangers = ["sha256-abc", "notes", "blake9-00"];
    strangers.iter().for_each(|name| fs::create_dir(dir.join(name)).unwrap());
    fs::write(dir.join(format!("sha256-{}", digest::sha256(b"file").digest())), "a file").unwrap();
    bench.leave(40_000).await;
    bench.ingests.sweep().await.unwrap();
    bench.ingests.tidy().await.unwrap();
    assert_eq!(fs::read_dir(dir).unwrap().count(), strangers.len() + 2);
    assert_eq!(only(&bench).await.offset, 40_000);
}

/// Row 98: what there is of a blob that came by another way is of no use any more.
#[tokio::test]
async fn what_is_whole_is_not_unfinished() {
    let bench = Bench::new(100_000);
    bench.leave(40_000).await;
    bench.ingests.store(&bench.blob, bench.bytes.clone().into()).await.unwrap();
    bench.ingests.sweep().await.unwrap();
    bench.assert_stored();
}

/// Row 98: the directory of unfinished blobs goes when it is empty, and only then.
#[tokio::test]
async fn the_directory_goes_when_it_is_empty() {
    let bench = Bench::new(100_000);
    bench.leave(40_000).await;
    bench.ingests.tidy().await.unwrap();
    assert_eq!(bench.offset().await, Some(40_000));
    bench.receive(&bench.source([])).await.unwrap();
    bench.ingests.tidy().await.unwrap();
    assert!(!bench.ingests.dir().exists());
}
