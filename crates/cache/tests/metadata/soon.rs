//! What is written to be durable soon.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use lazyblob_cache::metadata::{Barrier, Database, Engine, Settings};
use lazyblob_cache::{Error, Result};
use lazyblob_remote::What;

use crate::support::{HINTS, RECORDS, database, engines, get, persistent, put, settings};

/// Counts, and fails on demand.
#[derive(Debug, Default)]
struct Counting {
    syncs: AtomicUsize,
    fails: AtomicBool,
}

impl Barrier for Counting {
    fn sync(&self) -> Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            let reason = "the disk is full".to_owned();
            return Err(Error::Metadata { what: What::new("sync", "trees"), reason });
        }
        self.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
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
        assert_eq!((first.generation().unwrap(), barrier.syncs.load(Ordering::SeqCst)), (generation, 0));
        first.settle().await.unwrap();
        assert_eq!((first.generation().unwrap(), barrier.syncs.load(Ordering::SeqCst)), (generation + 1, 1));
        first.settle().await.unwrap();
        put(&first, RECORDS, "other", "durable").await.unwrap();
        assert_eq!(barrier.syncs.load(Ordering::SeqCst), 1, "no trees are spoken of");
        // Whoever is to be durable is so after what is to be so soon.
        put_soon(&first, "k", "last").await.unwrap();
        put(&first, RECORDS, "other", "again").await.unwrap();
        assert_eq!((first.generation().unwrap(), barrier.syncs.load(Ordering::SeqCst)), (generation + 4, 2));
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

/// Whoever settles is told that something is lost, however often and by whomever it is asked; it is gone, and nothing that
/// is there speaks of it. Who asks for what came later is not told.
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
        let before = first.now();
        put_soon(&first, "k", "lost").await.unwrap();
        barrier.fails.store(true, Ordering::SeqCst);
        // It runs when the batch has ended, and sees nothing of it.
        put(&first, RECORDS, "other", "durable").await.unwrap();
        barrier.fails.store(false, Ordering::SeqCst);
        assert_eq!(get(&first, RECORDS, "k").await.unwrap().unwrap(), "kept");
        assert_eq!(get(&first, RECORDS, "other").await.unwrap().unwrap(), "durable");
        let after = first.now();
        put_soon(&first, "k", "written later").await.unwrap();
        for told in [first.settle().await, first.settle_since(before).await, first.settle().await] {
            let error = told.unwrap_err();
            assert!(error.to_string().contains("the disk is full"), "{error}");
        }
        first.settle_since(after).await.unwrap();
        assert_eq!(get(&first, RECORDS, "k").await.unwrap().unwrap(), "written later");
        first.close().await;
    }
}

/// Syncs when it is let.
#[derive(Debug, Default)]
struct Slow {
    begun: AtomicUsize,
    outcomes: Mutex<Vec<bool>>,
    changed: Condvar,
}

impl Slow {
    fn end(&self, fails: bool) {
        self.outcomes.lock().unwrap().push(fails);
        self.changed.notify_all();
    }

    async fn begun(&self, wanted: usize) {
        while self.begun.load(Ordering::SeqCst) < wanted {
            tokio::task::yield_now().await;
        }
    }
}

impl Barrier for Slow {
    fn sync(&self) -> Result<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut outcomes =
            self.changed.wait_while(self.outcomes.lock().unwrap(), |all| all.is_empty()).unwrap();
        match outcomes.remove(0) {
            false => Ok(()),
            true => {
                let reason = "the disk is full".to_owned();
                Err(Error::Metadata { what: What::new("sync", "trees"), reason })
            }
        }
    }
}

fn slow(root: &std::path::Path, engine: &Arc<dyn Engine>) -> (Database, Arc<Slow>) {
    let barrier = Arc::new(Slow::default());
    let settings = Settings { barrier: Some(Arc::clone(&barrier) as _), ..settings(root, engine) };
    (Database::new(settings), barrier)
}

/// While trees are synced everybody is served but those who wait for it; what they speak of is committed after it.
#[tokio::test]
async fn a_sync_is_in_nobodys_way() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let (first, barrier) = slow(root.path(), &engine);
        put(&first, RECORDS, "before", "durable").await.unwrap();
        let generation = first.generation().unwrap();
        put_soon(&first, "tree", "one").await.unwrap();
        let mut durable = Box::pin(put(&first, RECORDS, "other", "durable"));
        assert!(futures::poll!(&mut durable).is_pending());
        barrier.begun(1).await;
        assert_eq!(get(&first, RECORDS, "tree").await.unwrap().unwrap(), "one");
        assert_eq!(get(&first, RECORDS, "other").await.unwrap(), None, "nobody sees it before it is durable");
        assert_eq!(first.generation().unwrap(), generation, "nothing is committed before it is synced");
        assert!(futures::poll!(&mut durable).is_pending());
        barrier.end(false);
        durable.await.unwrap();
        assert_eq!(first.generation().unwrap(), generation + 2);
        // What comes while it is synced has a sync of its own.
        put_soon(&first, "tree", "synced").await.unwrap();
        let mut settled = Box::pin(first.settle());
        assert!(futures::poll!(&mut settled).is_pending());
        barrier.begun(2).await;
        put_soon(&first, "tree", "two").await.unwrap();
        assert_eq!(get(&first, RECORDS, "tree").await.unwrap().unwrap(), "two");
        barrier.end(false);
        settled.await.unwrap();
        assert_eq!(get(&first, RECORDS, "tree").await.unwrap().unwrap(), "two");
        barrier.end(false);
        first.settle().await.unwrap();
        assert_eq!((barrier.begun.load(Ordering::SeqCst), first.generation().unwrap()), (3, generation + 4));
        first.close().await;
        let again = database(root.path(), &engine);
        assert_eq!(get(&again, HINTS, "tree").await.unwrap().unwrap(), "two");
        again.close().await;
    }
}

/// What was gathered on top of a batch that is lost is lost with it: it may speak of it.
#[tokio::test]
async fn a_batch_takes_along_what_is_gathered_on_top_of_it() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let (first, barrier) = slow(root.path(), &engine);
        put(&first, RECORDS, "before", "durable").await.unwrap();
        put_soon(&first, "parent", "one").await.unwrap();
        let mut settled = Box::pin(first.settle());
        assert!(futures::poll!(&mut settled).is_pending());
        barrier.begun(1).await;
        let child = first.now();
        put_soon(&first, "child", "of parent").await.unwrap();
        barrier.end(true);
        let told = [settled.await, first.settle_since(child).await];
        for error in told.map(Result::unwrap_err) {
            assert!(error.to_string().contains("the disk is full"), "{error}");
        }
        for key in ["parent", "child"] {
            assert_eq!(get(&first, RECORDS, key).await.unwrap(), None, "{key}");
        }
        assert_eq!(barrier.begun.load(Ordering::SeqCst), 1, "there is nothing to be synced for");
        assert_eq!(get(&first, RECORDS, "before").await.unwrap().unwrap(), "durable");
        first.close().await;
    }
}

/// Who never leaves the database idle does not keep it from being durable.
#[tokio::test]
async fn it_is_durable_soon_whoever_reads_without_a_pause() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let long = Duration::from_secs(3600);
        let barrier = Arc::new(Counting::default());
        let settings = Settings {
            barrier: Some(Arc::clone(&barrier) as _),
            soon: Duration::from_millis(30),
            idle: long,
            ..settings(root.path(), &engine)
        };
        let first = Database::new(settings);
        put(&first, RECORDS, "before", "durable").await.unwrap();
        let generation = first.generation().unwrap();
        put_soon(&first, "k", "soon").await.unwrap();
        let reading = async {
            while first.generation().unwrap() == generation {
                get(&first, RECORDS, "k").await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it is never committed");
        assert_eq!(barrier.syncs.load(Ordering::SeqCst), 1);
        first.close().await;
    }
}
