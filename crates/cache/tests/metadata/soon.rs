//! What is written to be durable soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lazyblob_cache::metadata::{Barrier, Database, Settings};
use lazyblob_cache::{Error, Result};
use lazyblob_remote::What;

use crate::support::{HINTS, RECORDS, database, engines, get, persistent, put, settings};

/// Counts, and fails on demand.
#[derive(Debug, Default)]
struct Counting {
    commits: AtomicUsize,
    fails: AtomicBool,
}

impl Barrier for Counting {
    fn before(&self, commit: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            let reason = "the disk is full".to_owned();
            return Err(Error::Metadata { what: What::new("sync", "trees"), reason });
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        commit()
    }
}

async fn put_soon(database: &Database, key: &str, value: &str) -> Result<()> {
    let (key, value) = (key.to_owned(), value.to_owned());
    database
        .write_soon(move |rows| {
            rows.put(&RECORDS, key.as_bytes(), value.clone())?;
            rows.put(&HINTS, key.as_bytes(), value)
        })
        .await
}

#[tokio::test]
async fn it_is_seen_at_once_and_committed_together() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let barrier = Arc::new(Counting::default());
        let settings =
            Settings { barrier: Some(Arc::clone(&barrier) as _), ..settings(root.path(), &engine) };
        let first = Database::new(settings);
        put(&first, RECORDS, "before", "durable").await.unwrap();
        let generation = first.generation().unwrap();
        for number in 0..20 {
            put_soon(&first, "k", &number.to_string()).await.unwrap();
            assert_eq!(get(&first, RECORDS, "k").await.unwrap().unwrap(), number.to_string());
        }
        assert_eq!((first.generation().unwrap(), barrier.commits.load(Ordering::SeqCst)), (generation, 0));
        first.settle().await.unwrap();
        assert_eq!(
            (first.generation().unwrap(), barrier.commits.load(Ordering::SeqCst)),
            (generation + 1, 1)
        );
        first.settle().await.unwrap();
        put(&first, RECORDS, "other", "durable").await.unwrap();
        assert_eq!(barrier.commits.load(Ordering::SeqCst), 1, "no trees are spoken of");
        // Whoever is to be durable takes along what is to be so soon.
        put_soon(&first, "k", "last").await.unwrap();
        put(&first, RECORDS, "other", "again").await.unwrap();
        assert_eq!(
            (first.generation().unwrap(), barrier.commits.load(Ordering::SeqCst)),
            (generation + 3, 2)
        );
        put_soon(&first, "k", "closed").await.unwrap();
        first.close().await;
        assert!(matches!(first.settle().await, Err(Error::Cancelled { .. })));
        let again = database(root.path(), &engine);
        assert_eq!(get(&again, RECORDS, "k").await.unwrap().unwrap(), "closed");
        assert_eq!(get(&again, HINTS, "k").await.unwrap().unwrap(), "closed");
        again.close().await;
    }
}

#[tokio::test]
async fn another_process_sees_it() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (database(root.path(), &engine), database(root.path(), &engine));
        put_soon(&one, "k", "mine").await.unwrap();
        assert_eq!(get(&other, RECORDS, "k").await.unwrap().unwrap(), "mine");
        put_soon(&other, "k", "yours").await.unwrap();
        assert_eq!(get(&one, RECORDS, "k").await.unwrap().unwrap(), "yours");
        one.close().await;
        other.close().await;
    }
}

/// Whoever settles is told that something is lost, once; it is gone, and nothing that is there speaks of it.
#[tokio::test]
async fn what_could_not_be_made_durable_is_gone_and_told() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let barrier = Arc::new(Counting::default());
        let settings =
            Settings { barrier: Some(Arc::clone(&barrier) as _), ..settings(root.path(), &engine) };
        let first = Database::new(settings);
        put_soon(&first, "k", "kept").await.unwrap();
        first.settle().await.unwrap();
        put_soon(&first, "k", "lost").await.unwrap();
        barrier.fails.store(true, Ordering::SeqCst);
        let error = put(&first, RECORDS, "other", "lost with it").await.unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
        barrier.fails.store(false, Ordering::SeqCst);
        assert_eq!(get(&first, RECORDS, "k").await.unwrap().unwrap(), "kept");
        assert_eq!(get(&first, RECORDS, "other").await.unwrap(), None);
        let error = first.settle().await.unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");
        first.settle().await.unwrap();
        first.close().await;
    }
}
