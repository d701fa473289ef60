//! Engines that fail in the ways that real ones do.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lazyblob_cache::metadata::{Batch, Engine, Entry, MetadataStore, Sled};
use lazyblob_cache::{Error, Result};

use crate::support::{HINTS, RECORDS, all, aside, assert_hints, database, filled, get, put};

/// What goes wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    PanicAtOpen,
    FullAtOpen,
    PanicAtRead,
    PanicAtScan,
    FullDisk,
}

/// sled, with faults: each strikes as many times as it was said.
#[derive(Clone, Debug, Default)]
struct Faulty(Arc<Mutex<Vec<Fault>>>, Arc<AtomicUsize>);

impl Faulty {
    fn of(faults: &[Fault]) -> Self {
        Self(Arc::new(Mutex::new(faults.to_vec())), Arc::default())
    }

    fn strikes(&self, fault: Fault) -> bool {
        let mut faults = self.0.lock().unwrap();
        let found = faults.iter().position(|planned| *planned == fault);
        found.map(|at| faults.remove(at)).is_some()
    }

    fn opened(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

impl Engine for Faulty {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn MetadataStore>> {
        assert!(!self.strikes(Fault::PanicAtOpen), "index out of bounds");
        // As an `unwrap` says it.
        assert!(!self.strikes(Fault::FullAtOpen), "{:?}", std::io::Error::from_raw_os_error(28));
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(FaultyStore { store: Sled.open(dir)?, engine: self.clone() }))
    }
}

#[derive(Debug)]
struct FaultyStore {
    store: Box<dyn MetadataStore>,
    engine: Faulty,
}

impl MetadataStore for FaultyStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let strikes = key.starts_with(b"n/") && self.engine.strikes(Fault::PanicAtRead);
        assert!(!strikes, "a page that is none");
        self.store.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>> {
        assert!(!self.engine.strikes(Fault::PanicAtScan), "a page that is none");
        self.store.scan(from, to, limit)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>> {
        self.store.last(from, to)
    }

    fn apply(&self, batch: &Batch) -> Result<()> {
        if batch.iter().any(|(key, _)| key.starts_with(b"n/")) && self.engine.strikes(Fault::FullDisk) {
            let what = lazyblob_remote::What::new("write", "the database");
            let source = std::io::Error::from_raw_os_error(28);
            return Err(Error::Io { what, path: "db".into(), source });
        }
        self.store.apply(batch)
    }
}

async fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    filled(root.path(), &(Arc::new(Sled) as Arc<dyn Engine>)).await;
    root
}

#[tokio::test]
async fn a_panic_at_open_is_damage() {
    let root = root().await;
    let engine: Arc<dyn Engine> = Arc::new(Faulty::of(&[Fault::PanicAtOpen]));
    let database = database(root.path(), &engine);
    assert_hints(&database).await;
    let notices = database.take_notices();
    assert!(
        notices[0].contains("it panicked: index out of bounds") && notices[0].contains("sled.broken-1"),
        "{notices:?}"
    );
    assert_eq!(aside(root.path()), ["sled.broken-1"]);
    assert!(root.path().join("meta/sled.broken-1/db").exists(), "kept");
    database.close().await;
}

/// A panic over a full disk is no damage.
#[tokio::test]
async fn a_full_disk_at_open_sets_nothing_aside() {
    let root = root().await;
    let engine: Arc<dyn Engine> = Arc::new(Faulty::of(&[Fault::FullAtOpen]));
    let database = database(root.path(), &engine);
    let error = put(&database, RECORDS, "k", "v").await.unwrap_err();
    assert!(matches!(error.root(), Error::Io { .. }), "{error}");
    put(&database, RECORDS, "k", "v").await.unwrap();
    assert_eq!(get(&database, RECORDS, "00").await.unwrap().unwrap(), "record 00");
    assert_eq!((aside(root.path()), database.take_notices()), (vec![], vec![]));
    database.close().await;
}

/// One that cannot be made anew either is not tried for ever.
#[tokio::test]
async fn a_panic_at_every_open_is_an_error() {
    let root = root().await;
    let engine: Arc<dyn Engine> = Arc::new(Faulty::of(&[Fault::PanicAtOpen; 3]));
    let database = database(root.path(), &engine);
    let error = put(&database, RECORDS, "k", "v").await.unwrap_err();
    assert!(matches!(error.root(), Error::Metadata { .. }), "{error}");
    assert_eq!(aside(root.path()), ["sled.broken-1"]);
    put(&database, RECORDS, "k", "v").await.unwrap();
    assert_hints(&database).await;
    database.close().await;
}

/// Where the next look at all of it succeeds it was not damaged, and nothing is lost.
#[tokio::test]
async fn a_panic_while_reading_closes_it_and_has_it_looked_through() {
    let root = root().await;
    let faulty = Faulty::of(&[Fault::PanicAtRead]);
    let engine: Arc<dyn Engine> = Arc::new(faulty.clone());
    let database = database(root.path(), &engine);
    let error = get(&database, RECORDS, "00").await.unwrap_err();
    assert!(matches!(error.root(), Error::Metadata { .. }), "{error}");
    assert_eq!(get(&database, RECORDS, "00").await.unwrap().unwrap(), "record 00");
    assert_eq!(faulty.opened(), 2);
    assert_eq!((aside(root.path()), database.take_notices()), (vec![], vec![]));
    database.close().await;
}

#[tokio::test]
async fn what_fails_again_when_it_is_looked_through_is_set_aside() {
    let root = root().await;
    let engine: Arc<dyn Engine> = Arc::new(Faulty::of(&[Fault::PanicAtScan; 2]));
    let database = database(root.path(), &engine);
    all(&database, RECORDS).await.unwrap_err();
    assert_hints(&database).await;
    assert_eq!(all(&database, RECORDS).await.unwrap(), []);
    assert_eq!(aside(root.path()), ["sled.broken-1"]);
    database.close().await;
}

/// A disk that is full is no damage: the write fails, all in its group with it, and nothing else is lost.
#[tokio::test]
async fn a_full_disk_fails_the_write_and_nothing_else() {
    let root = root().await;
    let engine: Arc<dyn Engine> = Arc::new(Faulty::of(&[Fault::FullDisk]));
    let database = database(root.path(), &engine);
    assert_hints(&database).await;
    let before = database.generation().unwrap();
    let error = database
        .write(|transaction| {
            transaction.put(&RECORDS, b"k", *b"v")?;
            transaction.put(&HINTS, b"k", *b"v")
        })
        .await
        .unwrap_err();
    assert!(matches!(error.root(), Error::Io { .. }), "{error}");
    assert_eq!(get(&database, RECORDS, "k").await.unwrap(), None);
    assert_hints(&database).await;
    assert_eq!(database.generation().unwrap(), before);
    put(&database, RECORDS, "k", "v").await.unwrap();
    assert_eq!((aside(root.path()), database.take_notices()), (vec![], vec![]));
    database.close().await;
}
