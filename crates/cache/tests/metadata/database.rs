//! Reading, writing and committing in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lazyblob_cache::Error;
use lazyblob_cache::metadata::{Database, Read, Space};

use crate::support::{HINTS, RECORDS, all, database, engines, get, put};

#[tokio::test]
async fn what_was_written_is_read_also_after_it_was_closed() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let first = database(root.path(), &engine);
        assert!(!root.path().join("meta").exists(), "nothing is opened before somebody asks");
        assert_eq!(first.generation().unwrap(), 0);
        assert_eq!(get(&first, RECORDS, "k").await.unwrap(), None);
        put(&first, RECORDS, "k", "record").await.unwrap();
        put(&first, HINTS, "k", "hint").await.unwrap();
        let generation = first.generation().unwrap();
        first.close().await;

        let again = database(root.path(), &engine);
        assert_eq!(get(&again, RECORDS, "k").await.unwrap().unwrap(), "record");
        assert_eq!(get(&again, HINTS, "k").await.unwrap().unwrap(), "hint");
        assert_eq!(again.generation().unwrap(), generation, "opening and reading changes nothing");
        assert_eq!(again.take_notices(), [""; 0], "{}", engine.name());
        again.close().await;
    }
}

#[tokio::test]
async fn a_closed_database_says_so_and_closing_twice_is_closing_once() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let unused = database(root.path(), &engine);
        unused.close().await;
        assert!(matches!(get(&unused, RECORDS, "k").await, Err(Error::Cancelled { .. })));
        assert!(!root.path().join("meta").exists());

        let used = database(root.path(), &engine);
        put(&used, RECORDS, "k", "v").await.unwrap();
        tokio::join!(used.close(), used.close());
        assert!(matches!(put(&used, RECORDS, "k", "v").await, Err(Error::Cancelled { .. })));
    }
}

#[tokio::test]
async fn what_was_asked_before_closing_is_done() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let first = database(root.path(), &engine);
        let keys: Vec<String> = (0..50).map(|number| format!("{number:02}")).collect();
        let writes = futures::future::join_all(keys.iter().map(|key| put(&first, RECORDS, key, "v")));
        let (written, ()) = tokio::join!(writes, first.close());
        assert!(written.iter().all(Result::is_ok), "{written:?}");
        let again = database(root.path(), &engine);
        assert_eq!(all(&again, RECORDS).await.unwrap().len(), 50);
        again.close().await;
    }
}

/// Many writers at once make few commits, and each sees those before it.
///
/// BuildKit row 45: changes are committed in batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_are_committed_in_groups() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let database = database(root.path(), &engine);
        put(&database, RECORDS, "count", "0").await.unwrap();
        let before = database.generation().unwrap();
        let increments = (0..400).map(|_| database.write(increment));
        let mut seen = futures::future::try_join_all(increments).await.unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (1..=400).collect::<Vec<u32>>(), "no increment was lost");
        assert_eq!(get(&database, RECORDS, "count").await.unwrap().unwrap(), "400");
        let commits = database.generation().unwrap() - before;
        assert!((1..100).contains(&commits), "{commits} commits of 400 writers");
        database.close().await;
    }
}

fn increment(transaction: &mut lazyblob_cache::metadata::Transaction<'_>) -> lazyblob_cache::Result<u32> {
    let count = transaction.get(&RECORDS, b"count")?.unwrap();
    let count = String::from_utf8(count).unwrap().parse::<u32>().unwrap() + 1;
    transaction.put(&RECORDS, b"count", count.to_string())?;
    assert_eq!(transaction.get(&RECORDS, b"count")?.unwrap(), count.to_string().into_bytes());
    Ok(count)
}

/// One that fails, by an error or a panic, leaves nothing, and its neighbours are not harmed.
#[tokio::test]
async fn an_error_takes_back_its_own_writes_only() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let database = database(root.path(), &engine);
        let good = |key: &'static str| put(&database, HINTS, key, "good");
        let bad = database.write(|transaction| {
            transaction.put(&HINTS, b"bad", *b"v")?;
            transaction.delete(&HINTS, b"a");
            Err::<(), _>(Error::refused("test", "it", "no"))
        });
        let panicking = database.write(|transaction| {
            transaction.put(&HINTS, b"worse", *b"v")?;
            assert!(transaction.generation() == u64::MAX, "a closure's own trouble");
            Ok(())
        });
        let (first, bad, panicking, last) = tokio::join!(good("a"), bad, panicking, good("b"));
        assert!(first.is_ok() && last.is_ok());
        assert!(matches!(bad, Err(Error::Refused { .. })));
        let panicking = panicking.unwrap_err().to_string();
        assert!(panicking.contains("a closure's own trouble"), "{panicking}");
        let pairs = [("a", "good"), ("b", "good")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(all(&database, HINTS).await.unwrap(), pairs);
        assert_eq!(database.take_notices(), [""; 0], "the database is not to blame");
        database.close().await;
    }
}

#[tokio::test]
async fn who_changes_nothing_makes_no_generation() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let database = database(root.path(), &engine);
        put(&database, RECORDS, "k", "v").await.unwrap();
        let before = database.generation().unwrap();
        database.write(|transaction| transaction.get(&RECORDS, b"k")).await.unwrap();
        let refused =
            database.write(|transaction| transaction.put(&RECORDS, b"k", vec![0; 64 << 10 | 1])).await;
        assert!(matches!(refused, Err(Error::Refused { .. })));
        assert_eq!(database.generation().unwrap(), before);
        assert_eq!(database.read(|state| Ok(state.generation())).await.unwrap(), before);
        put(&database, RECORDS, "k", "w").await.unwrap();
        assert_eq!(database.generation().unwrap(), before + 1);
        database.close().await;
    }
}

/// A future that is dropped before its turn has no effect.
#[tokio::test]
async fn a_dropped_future_withdraws() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let database = database(root.path(), &engine);
        let runs = Arc::new(AtomicUsize::new(0));
        let (began, wait_for) = (tokio::sync::oneshot::channel(), std::sync::mpsc::channel::<()>());
        let first = database.read(move |_| {
            began.0.send(()).unwrap();
            wait_for.1.recv().unwrap();
            Ok(())
        });
        let second = async {
            began.1.await.unwrap();
            let counted = Arc::clone(&runs);
            let mut write = Box::pin(database.write(move |transaction| {
                counted.fetch_add(1, Ordering::Relaxed);
                transaction.put(&RECORDS, b"k", *b"v")
            }));
            assert!(futures::poll!(&mut write).is_pending());
            drop(write);
            wait_for.0.send(()).unwrap();
        };
        let (first, ()) = tokio::join!(first, second);
        first.unwrap();
        assert_eq!(get(&database, RECORDS, "k").await.unwrap(), None);
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        database.close().await;
    }
}

#[tokio::test]
async fn spaces_do_not_meet() {
    const NESTED: Space = Space::new("records2");
    const TWIN: Space = Space::recoverable("records");
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let database = database(root.path(), &engine);
        for (space, value) in [(RECORDS, "one"), (NESTED, "two"), (TWIN, "three")] {
            put(&database, space, "k", value).await.unwrap();
            put(&database, space, "\u{7f}", value).await.unwrap();
        }
        for (space, value) in [(RECORDS, "one"), (NESTED, "two"), (TWIN, "three")] {
            let all = all(&database, space).await.unwrap();
            assert!(all.len() == 2 && all.iter().all(|(_, found)| found == value), "{space:?}: {all:?}");
        }
        database.close().await;
    }
}

/// Pages, prefixes, first and last, on what is stored and on what a transaction has changed.
#[tokio::test]
async fn scans_see_the_transaction_s_own_changes() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let database = database(root.path(), &engine);
        database.write(|transaction| fill(transaction, 0..1500)).await.unwrap();
        let write = database.write(|transaction| {
            fill(transaction, 1500..1600)?;
            transaction.delete(&RECORDS, b"k/0000");
            transaction.delete(&RECORDS, b"k/1599");
            transaction.put(&RECORDS, b"l", *b"")?;
            Ok((edges(transaction)?, number(transaction)?))
        });
        assert_eq!(write.await.unwrap(), (("k/0001".to_owned(), "k/1598".to_owned()), 1598));
        let read = database.read(|state| Ok((edges(state)?, number(state)?)));
        assert_eq!(read.await.unwrap(), (("k/0001".to_owned(), "k/1598".to_owned()), 1598));
        database.close().await;
    }
}

fn fill(
    transaction: &mut lazyblob_cache::metadata::Transaction<'_>,
    numbers: std::ops::Range<u32>,
) -> lazyblob_cache::Result<()> {
    for number in numbers {
        transaction.put(&RECORDS, format!("k/{number:04}").as_bytes(), *b"v")?;
    }
    Ok(())
}

fn edges(state: &dyn Read) -> lazyblob_cache::Result<(String, String)> {
    let text = |entry: Option<(Vec<u8>, Vec<u8>)>| String::from_utf8(entry.unwrap().0).unwrap();
    Ok((text(state.first(&RECORDS, b"k/")?), text(state.last(&RECORDS, b"k/")?)))
}

fn number(state: &dyn Read) -> lazyblob_cache::Result<usize> {
    let mut number = 0;
    state.for_each(&RECORDS, b"k/", &mut |_, _| {
        number += 1;
        Ok(())
    })?;
    assert_eq!(state.scan_prefix(&RECORDS, b"k/1", 7)?.len(), 7);
    assert_eq!(state.scan(&RECORDS, b"k/1000", Some(b"k/1010"), 99)?.len(), 10);
    Ok(number)
}

#[test]
fn it_is_shared_between_threads() {
    fn is_shared<T: Clone + Send + Sync + 'static>() {}
    is_shared::<Database>();
}
