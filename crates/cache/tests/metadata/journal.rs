//! The journal: torn, damaged, behind, ahead, gone, and written anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lazyblob_cache::metadata::{Database, Engine, Settings};

use crate::support::{
    HINTS, RECORDS, all, aside, assert_hints, database, delete, engines, filled, get, persistent, put,
    settings,
};

fn journal(root: &Path) -> PathBuf {
    root.join("hints/journal")
}

fn lose_database(root: &Path) {
    fs::remove_dir_all(root.join("meta")).unwrap();
}

fn append(root: &Path, bytes: &[u8]) {
    let mut all = fs::read(journal(root)).unwrap();
    all.extend(bytes);
    fs::write(journal(root), all).unwrap();
}

async fn opens_quietly(root: &Path, engine: &Arc<dyn Engine>) {
    let database = database(root, engine);
    assert_hints(&database).await;
    assert_eq!(database.take_notices(), [""; 0], "{}", engine.name());
    database.close().await;
}

/// A batch that was being written when the power went is no batch, with the database and without it.
#[tokio::test]
async fn a_torn_end_is_cut_off() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path(), &engine).await;
        let whole = fs::read(journal(root.path())).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        // An entry without its commit, and half a line.
        let entry = lines.iter().find(|line| line.contains(" P ")).unwrap();
        for torn in [
            format!("{entry}\n"),
            entry[..20].to_owned(),
            format!("{entry}\n{}", &lines[lines.len() - 1][..9]),
        ] {
            append(root.path(), torn.as_bytes());
            opens_quietly(root.path(), &engine).await;
            assert_eq!(fs::read(journal(root.path())).unwrap(), whole, "cut");
            append(root.path(), torn.as_bytes());
            lose_database(root.path());
            let database = database(root.path(), &engine);
            assert_hints(&database).await;
            put(&database, HINTS, "more", "v").await.unwrap();
            delete(&database, HINTS, "more").await.unwrap();
            database.close().await;
            fs::write(journal(root.path()), &whole).unwrap();
            lose_database(root.path());
            opens_with(root.path(), &engine, "99 entries").await;
        }
    }
}

async fn opens_with(root: &Path, engine: &Arc<dyn Engine>, notice: &str) {
    let database = database(root, engine);
    assert_hints(&database).await;
    let notices = database.take_notices();
    assert!(notices.iter().any(|said| said.contains(notice)), "{}: {notices:?}", engine.name());
    database.close().await;
}

/// A batch is all or nothing in the journal, too.
#[tokio::test]
async fn half_a_batch_is_not_put_back() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let first = database(root.path(), &engine);
        put(&first, HINTS, "whole", "v").await.unwrap();
        let length = fs::metadata(journal(root.path())).unwrap().len();
        let write = first.write(|transaction| {
            transaction.put(&HINTS, b"one", *b"v")?;
            transaction.put(&HINTS, b"two", *b"v")
        });
        write.await.unwrap();
        first.close().await;
        let all_of_it = fs::read(journal(root.path())).unwrap();
        let begin = usize::try_from(length).unwrap();
        for end in begin..all_of_it.len() {
            fs::write(journal(root.path()), &all_of_it[..end]).unwrap();
            lose_database(root.path());
            let database = database(root.path(), &engine);
            assert_eq!(all(&database, HINTS).await.unwrap().len(), 1, "cut at {end} of {}", all_of_it.len());
            database.close().await;
        }
    }
}

/// While there is a database nothing is lost by it; without one, the line is.
#[tokio::test]
async fn a_bad_line_is_passed_over_and_told_of() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path(), &engine).await;
        let mut bytes = fs::read(journal(root.path())).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let fifth = text.match_indices(" P ").nth(5).unwrap().0;
        bytes[fifth + 9] ^= 0x15;
        fs::write(journal(root.path()), &bytes).unwrap();
        opens_quietly(root.path(), &engine).await;

        lose_database(root.path());
        let database = database(root.path(), &engine);
        let hints = all(&database, HINTS).await.unwrap();
        assert_eq!(hints.len(), 98);
        assert!(hints.iter().all(|(key, value)| *value == format!("hint {key}") && key != "05"), "{hints:?}");
        let notices = database.take_notices();
        assert!(notices.iter().any(|notice| notice.contains("1 lines cannot be read")), "{notices:?}");
        database.close().await;
        let again = fs::read_to_string(journal(root.path())).unwrap();
        assert!(again.lines().filter(|line| line.contains(" P ")).count() == 98, "it was written anew");
    }
}

/// A crash between the commit and the journal.
#[tokio::test]
async fn a_journal_that_is_behind_is_written_anew() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path(), &engine).await;
        let before = fs::read(journal(root.path())).unwrap();
        let first = database(root.path(), &engine);
        put(&first, HINTS, "last", "v").await.unwrap();
        first.close().await;
        fs::write(journal(root.path()), &before).unwrap();

        let second = database(root.path(), &engine);
        assert_eq!(get(&second, HINTS, "last").await.unwrap().unwrap(), "v", "the database is the truth");
        assert_eq!(second.take_notices(), [""; 0], "nothing was lost");
        second.close().await;
        lose_database(root.path());
        let third = database(root.path(), &engine);
        assert_eq!(get(&third, HINTS, "last").await.unwrap().unwrap(), "v");
        assert_eq!(all(&third, HINTS).await.unwrap().len(), 100);
        third.close().await;
    }
}

#[tokio::test]
async fn a_journal_that_is_gone_is_written_anew() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path(), &engine).await;
        fs::remove_dir_all(root.path().join("hints")).unwrap();
        opens_with(root.path(), &engine, "was gone").await;
        lose_database(root.path());
        opens_with(root.path(), &engine, "99 entries").await;
    }
}

/// A database that has forgotten what was stored is damaged, even if it can be opened.
#[tokio::test]
async fn a_journal_that_is_ahead_shows_that_the_database_has_lost_something() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let (meta, old) = (root.path().join("meta"), root.path().join("old"));
        let first = database(root.path(), &engine);
        put(&first, HINTS, "00", "old").await.unwrap();
        first.close().await;
        copy(&meta, &old);
        filled(root.path(), &engine).await;
        fs::remove_dir_all(&meta).unwrap();
        fs::rename(&old, &meta).unwrap();
        opens_with(root.path(), &engine, "forgotten").await;
        assert_eq!(aside(root.path()).len(), 1);
        opens_quietly(root.path(), &engine).await;
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Another engine on the same root begins with the hints of the first one.
#[tokio::test]
async fn another_engine_is_filled_from_the_journal() {
    let root = tempfile::tempdir().unwrap();
    let [sled, redb] = persistent();
    filled(root.path(), &sled).await;
    opens_with(root.path(), &redb, "99 entries").await;
    let there = database(root.path(), &redb);
    put(&there, HINTS, "99", "hint of redb").await.unwrap();
    there.close().await;
    let back = database(root.path(), &sled);
    assert_eq!(get(&back, HINTS, "99").await.unwrap().unwrap(), "hint of redb");
    assert_eq!(aside(root.path()).len(), 1, "what sled had was out of date");
    back.close().await;
}

/// It does not grow for ever, and nothing is lost by that.
#[tokio::test]
async fn dead_lines_are_left_out_in_the_end() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let database = Database::new(Settings { dead_lines: 50, ..settings(root.path(), &engine) });
        for round in 0..300 {
            let key = format!("{}", round % 7);
            put(&database, HINTS, &key, &format!("{round}")).await.unwrap();
            let lines = fs::read_to_string(journal(root.path())).unwrap().lines().count();
            assert!(lines < 120, "{lines} lines for 7 entries");
        }
        put(&database, RECORDS, "k", "v").await.unwrap();
        let hints = all(&database, HINTS).await.unwrap();
        database.close().await;
        if !engine.is_persistent() {
            continue;
        }
        lose_database(root.path());
        let again = crate::support::database(root.path(), &engine);
        assert_eq!(all(&again, HINTS).await.unwrap(), hints);
        assert_eq!(hints.len(), 7);
        again.close().await;
    }
}

/// Entries that are not recoverable cost no line.
#[tokio::test]
async fn records_are_not_in_the_journal() {
    for engine in engines() {
        let root = tempfile::tempdir().unwrap();
        let database = database(root.path(), &engine);
        put(&database, HINTS, "k", "v").await.unwrap();
        let before = fs::read(journal(root.path())).unwrap();
        put(&database, RECORDS, "k", "v").await.unwrap();
        assert_eq!(fs::read(journal(root.path())).unwrap(), before);
        put(&database, HINTS, "k", "v").await.unwrap();
        assert_ne!(fs::read(journal(root.path())).unwrap(), before);
        database.close().await;
    }
}
