//! Databases that are damaged, gone, newer, or not ours to write.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use lazyblob_cache::Error;
use lazyblob_cache::metadata::{Batch, Database, Engine, SCHEMA, Space};

use crate::support::{
    HINTS, RECORDS, all, aside, assert_hints, data_file, database, filled, get, persistent, put,
};

/// What was done to the files is noticed, told, set aside, and the hints are there; and it can be written to.
async fn comes_back(root: &Path, engine: &Arc<dyn Engine>, damage: &str, is_set_aside: bool) {
    let name = engine.name();
    let first = database(root, engine);
    let before = first.generation().unwrap();
    assert_hints(&first).await;
    assert_eq!(
        all(&first, RECORDS).await.unwrap(),
        [],
        "{name}: {damage}: records are for others to find again"
    );
    let notices = first.take_notices();
    let told = notices.iter().any(|notice| notice.contains("99 entries from the journal"));
    assert!(told, "{name}: {damage}: {notices:?}");
    assert_eq!(
        notices.iter().any(|notice| notice.contains("set aside")),
        is_set_aside,
        "{damage}: {notices:?}"
    );
    assert_eq!(aside(root).len(), usize::from(is_set_aside), "{name}: {damage}");
    assert!(first.generation().unwrap() > before, "{name}: {damage}: who has read before has to read again");
    assert_eq!(first.take_notices(), [""; 0], "told once");
    put(&first, RECORDS, "new", "record").await.unwrap();
    first.close().await;

    let again = database(root, engine);
    assert_hints(&again).await;
    assert_eq!(get(&again, RECORDS, "new").await.unwrap().unwrap(), "record");
    assert_eq!(again.take_notices(), [""; 0], "{name}: {damage}: all is well now");
    again.close().await;
    assert_eq!(aside(root).len(), usize::from(is_set_aside), "{name}: {damage}");
}

/// BuildKit row 76: that of the solver's keys, too: it is the same one.
#[tokio::test]
async fn a_file_of_garbage_is_set_aside() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path(), &engine).await;
        let file = data_file(root.path(), &engine);
        let length = usize::try_from(fs::metadata(&file).unwrap().len()).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let garbage: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        fs::write(&file, &garbage).unwrap();
        comes_back(root.path(), &engine, "garbage", true).await;
    }
}

/// BuildKit row 76: also where a part is readable.
#[tokio::test]
async fn a_truncated_file_is_set_aside() {
    for engine in persistent() {
        for part in [0, 1, 2] {
            let root = tempfile::tempdir().unwrap();
            filled(root.path(), &engine).await;
            let file = data_file(root.path(), &engine);
            let length = fs::metadata(&file).unwrap().len();
            // What sled preallocates behind its last entry is no loss.
            let length = if engine.name() == "sled" { length.min(16 << 10) } else { length };
            OpenOptions::new().write(true).open(&file).unwrap().set_len(length * part / 4).unwrap();
            comes_back(root.path(), &engine, &format!("{part} quarters are left"), true).await;
        }
    }
}

#[tokio::test]
async fn a_database_that_is_gone_is_filled_again() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path(), &engine).await;
        let dir = root.path().join("meta").join(engine.name());
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        comes_back(root.path(), &engine, "an empty directory", false).await;
        let root = tempfile::tempdir().unwrap();
        filled(root.path(), &engine).await;
        fs::remove_dir_all(root.path().join("meta")).unwrap();
        comes_back(root.path(), &engine, "no directory", false).await;
    }
}

/// Bytes in the middle of the file, in many places: whatever the engine makes of it, it is no panic of ours and no record
/// is wrong. What sled has lost is told, and all hints are there; redb trusts a file that was closed in order.
#[tokio::test]
async fn damage_in_the_middle_is_never_a_wrong_value() {
    let rounds = if crate::processes::soaks() { 200 } else { 12 };
    for engine in persistent() {
        for seed in 0..rounds {
            let root = tempfile::tempdir().unwrap();
            filled(root.path(), &engine).await;
            let file = data_file(root.path(), &engine);
            let length = fs::metadata(&file).unwrap().len().min(64 << 10);
            let mut random = fastrand::Rng::with_seed(seed);
            let writing = OpenOptions::new().write(true).open(&file).unwrap();
            for _ in 0..4 {
                let garbage: Vec<u8> = (0..64).map(|_| random.u8(..)).collect();
                writing.write_all_at(&garbage, random.u64(0..length)).unwrap();
            }
            let database = database(root.path(), &engine);
            let records = persistently(&database, RECORDS).await;
            assert!(records.iter().all(|(key, value)| *value == format!("record {key}")), "{records:?}");
            let hints = persistently(&database, HINTS).await;
            assert!(hints.iter().all(|(key, value)| *value == format!("hint {key}")), "{hints:?}");
            if engine.name() == "sled" {
                assert!(records.len() == 100 || !database.take_notices().is_empty(), "{seed}");
                assert_hints(&database).await;
            }
            database.close().await;
        }
    }
}

/// One that has failed is looked through when it is opened the next time, and mended then.
async fn persistently(database: &Database, space: Space) -> Vec<(String, String)> {
    let read = all(database, space).await;
    match read {
        Ok(entries) => entries,
        Err(error) => {
            assert!(matches!(error.root(), Error::Metadata { .. }), "{error}");
            all(database, space).await.unwrap()
        }
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        filled(root.path(), &engine).await;
        let dir = root.path().join("meta").join(engine.name());
        let store = engine.open(&dir).unwrap();
        let mut batch = Batch::default();
        let mut sum = flate2::Crc::new();
        let newer = (SCHEMA + 1).to_string();
        sum.update(format!("m/schema{newer}").as_bytes());
        batch.put(*b"m/schema", [newer.as_bytes(), &sum.sum().to_le_bytes()].concat());
        store.apply(&batch).unwrap();
        let before = store.scan(b"", b"\xff", usize::MAX).unwrap();
        drop(store);
        let journal = fs::read(root.path().join("hints/journal")).unwrap();

        let database = database(root.path(), &engine);
        for _ in 0..2 {
            let refused = put(&database, HINTS, "k", "v").await.unwrap_err();
            assert!(matches!(refused.root(), Error::Refused { .. }), "{refused}");
            let said = refused.to_string();
            assert!(said.contains("schema is 2") && said.contains("up to 1"), "{said}");
        }
        database.close().await;
        assert_eq!(aside(root.path()), [""; 0]);
        assert_eq!(fs::read(root.path().join("hints/journal")).unwrap(), journal);
        let store = engine.open(&dir).unwrap();
        assert_eq!(store.scan(b"", b"\xff", usize::MAX).unwrap(), before);
    }
}

/// What cannot be written to is not damaged.
#[tokio::test]
async fn a_directory_that_cannot_be_made_is_an_error_of_the_file_system() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("meta"), b"a file").unwrap();
        let database = database(root.path(), &engine);
        let error = put(&database, RECORDS, "k", "v").await.unwrap_err();
        assert!(matches!(error.root(), Error::Io { .. }), "{error}");
        assert!(error.to_string().contains("meta"), "it names the path: {error}");
        fs::remove_file(root.path().join("meta")).unwrap();
        put(&database, RECORDS, "k", "v").await.unwrap();
        assert_eq!(database.take_notices(), [""; 0]);
        database.close().await;
    }
}

/// The root of somebody else, read by who may not write there: the child of `processes` does it, with no privileges.
#[test]
fn a_root_that_is_read_only_is_an_error_of_the_file_system() {
    for engine in persistent() {
        let root = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(filled(root.path(), &engine));
        for entry in [root.path(), &root.path().join("meta"), &root.path().join("meta").join(engine.name())] {
            fs::set_permissions(entry, fs::Permissions::from_mode(0o555)).unwrap();
        }
        let said = crate::processes::unprivileged(root.path(), engine.name());
        assert!(said.contains("io: ") && said.contains("ermission denied"), "{said}");
        fs::set_permissions(root.path().join("meta"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(aside(root.path()), [""; 0], "what may not be opened is not damaged");
    }
}
