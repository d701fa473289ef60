//! The blobs that are here: known without asking, found where others stored them, forgotten where they are gone.

use std::fs::{self, File};
use std::io::Read as _;
use std::sync::Arc;

use futures::StreamExt as _;
use lazyblob_cache::content::Store;
use lazyblob_cache::root::Pin;
use lazyblob_cache::{Error, Result};
use lazyblob_remote::layout::Received;
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::transfer::{Blob, Retry, Settings};
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{Access, Mismatch, Provider, progress};
use oci_spec::image::Descriptor;
use tokio_util::sync::CancellationToken;

use super::support::{Bench, blob};

async fn put(store: &Store, bytes: &[u8]) -> Descriptor {
    let blob = blob(bytes);
    store.ingests().store(&blob, bytes.to_vec().into()).await.unwrap();
    blob
}

fn size_error(result: Result<File>) -> (u64, u64) {
    match result.unwrap_err() {
        Error::Integrity { mismatch: Mismatch::Size { expected, actual }, .. } => (expected, actual),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_others_store_is_found_and_what_they_remove_is_noticed_by_who_reads() {
    let bench = Bench::new().await;
    let (store, others) = (Store::new(&bench.root), Store::new(&bench.again().await));
    let missing = blob(b"bytes");
    assert!(!store.has(&missing).unwrap() && !store.holds(&missing).await.unwrap());
    assert!(store.open_file(&missing).unwrap_err().is_not_found());
    let blob = put(&others, b"bytes").await;
    assert!(!store.knows(&blob), "nobody has looked");
    assert!(store.holds(&blob).await.unwrap() && store.knows(&blob));
    let mut text = String::new();
    store.open_file(&blob).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "bytes");
    // What is open stays readable; what is gone is noticed when it is opened, and only then.
    let mut open = store.open_file(&blob).unwrap();
    others.remove(blob.digest()).unwrap().unwrap();
    assert!(!others.knows(&blob) && !others.has(&blob).unwrap());
    assert!(store.has(&blob).unwrap(), "the disk is not asked for what is known");
    assert!(store.open_file(&blob).unwrap_err().is_not_found());
    assert!(!store.knows(&blob) && !store.has(&blob).unwrap());
    text.clear();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bytes");
    assert!(others.remove(blob.digest()).unwrap().is_none());
}

#[tokio::test]
async fn a_removed_blob_can_be_put_back_and_is_freed_with_the_trash() {
    let bench = Bench::new().await;
    let store = Store::new(&bench.root);
    let blob = put(&store, b"bytes").await;
    store.stored(&blob);
    assert!(store.remove(blob.digest()).unwrap().unwrap().restore().unwrap());
    assert!(store.has(&blob).unwrap());
    drop(store.remove(blob.digest()).unwrap().unwrap());
    let swept = bench.root.trash().empty(None, &CancellationToken::new()).await.unwrap();
    assert_eq!(swept.entries, 1);
    assert!(swept.bytes > 0);
    assert!(!store.has(&blob).unwrap());
}

#[tokio::test]
async fn a_file_of_another_size_is_not_the_blob() {
    let bench = Bench::new().await;
    let store = Store::new(&bench.root);
    let good = put(&store, b"bytes").await;
    fs::write(store.path(good.digest()).unwrap(), "byte").unwrap();
    assert!(!store.has(&good).unwrap());
    store.stored(&good);
    assert_eq!(size_error(store.open_file(&good)), (5, 4));
    assert!(!store.knows(&good));
    let wrong = Descriptor::new(good.media_type().clone(), 7, good.digest().clone());
    assert!(!store.has(&wrong).unwrap(), "of the size that is asked for");
}

#[tokio::test]
async fn links_and_directories_are_no_blobs() {
    let bench = Bench::new().await;
    let store = Store::new(&bench.root);
    let good = put(&store, b"bytes").await;
    let path = store.path(good.digest()).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(bench.outside("elsewhere"), "bytes").unwrap();
    std::os::unix::fs::symlink(bench.outside("elsewhere"), &path).unwrap();
    assert!(!store.has(&good).unwrap());
    assert!(matches!(store.open_file(&good).unwrap_err(), Error::Refused { .. }));
    assert!(store.list().unwrap().is_empty());
    // It is the link that is removed.
    assert!(store.remove(good.digest()).unwrap().is_some());
    bench.root.trash().empty(None, &CancellationToken::new()).await.unwrap();
    assert!(bench.outside("elsewhere").exists());
}

#[tokio::test]
async fn blobs_and_unfinished_ones_are_listed() {
    let bench = Bench::new().await;
    let store = Store::new(&bench.root);
    assert!(store.list().unwrap().is_empty());
    let (one, two) = (put(&store, b"one").await, put(&store, b"twofold").await);
    fs::write(store.path(one.digest()).unwrap().with_file_name("stranger"), "no blob").unwrap();
    let mut list = store.list().unwrap();
    list.sort_by_key(|blob| blob.size);
    let found: Vec<_> = list.iter().map(|blob| (&blob.digest, blob.size)).collect();
    assert_eq!(found, [(one.digest(), 3), (two.digest(), 7)]);
    let unfinished = blob(b"unfinished");
    let mut ingest = store.ingests().begin(&unfinished, &progress::Silent).await.unwrap().unwrap();
    ingest.write("unfin".into()).await.unwrap();
    ingest.save().await.unwrap();
    ingest.release().await;
    let partials = store.ingests().list().await.unwrap();
    assert_eq!((partials.len(), partials[0].offset), (1, 5));
    assert_eq!(store.list().unwrap().len(), 2, "it is no blob");
    store.ingests().abort(unfinished.digest()).await.unwrap();
    assert!(store.ingests().list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_blob_is_read_and_held_against_its_name() {
    let bench = Bench::new().await;
    let store = Store::new(&bench.root);
    let bytes = vec![5; 1_000_000];
    let good = put(&store, &bytes).await;
    let go = CancellationToken::new();
    store.verify_blob(&good, &go).unwrap();
    let mut wrong = bytes.clone();
    wrong[700_000] ^= 1;
    fs::write(store.path(good.digest()).unwrap(), &wrong).unwrap();
    let error = store.verify_blob(&good, &go).unwrap_err();
    assert!(matches!(&error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error}");
    assert!(error.to_string().contains(good.digest().as_ref()));
    assert!(!store.knows(&good));
    assert!(store.path(good.digest()).unwrap().exists(), "it is for others to say what becomes of it");
    fs::write(store.path(good.digest()).unwrap(), &wrong[1..]).unwrap();
    size_error(store.verify_blob(&good, &go).map(|()| unreachable!()));
    let stop = CancellationToken::new();
    stop.cancel();
    fs::write(store.path(good.digest()).unwrap(), &bytes).unwrap();
    assert!(matches!(store.verify_blob(&good, &stop).unwrap_err(), Error::Cancelled { .. }));
}

/// What a prune does that keeps nothing for its own sake.
fn collect(bench: &Bench, store: &Store) -> usize {
    let pinned = bench.root.live().pinned().unwrap();
    let mut removed = 0;
    for blob in store.list().unwrap() {
        if !pinned.contains(&Pin::Blob(blob.digest.clone())) {
            removed += usize::from(store.remove(&blob.digest).unwrap().is_some());
        }
    }
    removed
}

/// Row 34: a blob is held from before it exists until whoever wanted it lets go: garbage collected between its last byte
/// and that does not delete it, and garbage collected after it does.
#[tokio::test]
async fn a_blob_is_held_from_before_its_first_byte_until_it_is_let_go() {
    let bench = Bench::new().await;
    let collector = Store::new(&bench.again().await);
    let store = Store::new(&bench.root);
    let (wanted, other) = (blob(b"wanted"), put(&store, b"other").await);
    let pinned = bench.root.live().pin(&[Pin::Blob(wanted.digest().clone())]).unwrap();
    let mut ingest = store.ingests().begin(&wanted, &progress::Silent).await.unwrap().unwrap();
    ingest.write("wanted".into()).await.unwrap();
    assert_eq!(collect(&bench, &collector), 1, "the other one");
    assert!(!store.has(&other).unwrap());
    ingest.commit().await.unwrap();
    assert_eq!(collect(&bench, &collector), 0);
    assert!(store.has(&wanted).unwrap());
    drop(pinned);
    assert_eq!(collect(&bench, &collector), 1);
    assert!(!store.look(&wanted).unwrap());
}

/// Brings these bytes, once.
#[derive(Debug)]
struct Brings(&'static [u8]);

#[async_trait::async_trait]
impl Provider for Brings {
    async fn open(&self, _: &Descriptor, range: std::ops::Range<u64>) -> lazyblob_remote::Result<Unverified> {
        Ok(Unverified::new(range, futures::stream::iter([Ok(self.0.into())]).boxed()))
    }

    async fn info(&self, _: &Descriptor) -> lazyblob_remote::Result<BlobInfo> {
        Ok(BlobInfo { size: None })
    }

    fn origin(&self) -> Origin {
        Origin { host: "memory".into(), repository: "source".into() }
    }
}

#[tokio::test]
async fn what_this_process_stores_it_knows_at_once_and_nothing_wrong() {
    let bench = Bench::new().await;
    let store = Store::new(&bench.root);
    let receive = async |wanted: &Descriptor, bytes| {
        let source = Arc::new(Brings(bytes)) as Arc<dyn Provider>;
        let settings = Settings { retry: Retry { tries: 1, ..Retry::default() }, ..Settings::default() };
        store.receive(&Blob::new(wanted.clone(), &[source], settings, Access::anonymous())).await
    };
    let (read, given, wrong) = (blob(b"read"), blob(b"given"), blob(b"right"));
    assert_eq!(receive(&read, b"read").await.unwrap(), Received::Stored);
    assert_eq!(receive(&read, b"read").await.unwrap(), Received::Present);
    store.put(&given, "given".into()).await.unwrap();
    assert!(store.knows(&read) && store.knows(&given));
    receive(&wrong, b"wrong").await.unwrap_err();
    store.put(&wrong, "wrong".into()).await.unwrap_err();
    assert!(!store.knows(&wrong) && !store.has(&wrong).unwrap());
}
