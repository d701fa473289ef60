//! Databases in temporary directories.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lazyblob_cache::Result;
use lazyblob_cache::metadata::{Database, Engine, Memory, Redb, Settings, Sled, Space};

/// Comes back from the journal.
pub(crate) const HINTS: Space = Space::recoverable("hints");
/// Comes back, and is written over and over.
pub(crate) const COUNTERS: Space = Space::recoverable("counters");
/// Is gone with the database.
pub(crate) const RECORDS: Space = Space::new("records");

pub(crate) fn engines() -> [Arc<dyn Engine>; 3] {
    [Arc::new(Sled), Arc::new(Redb), Arc::new(Memory::default())]
}

/// Those whose data outlive a process.
pub(crate) fn persistent() -> [Arc<dyn Engine>; 2] {
    [Arc::new(Sled), Arc::new(Redb)]
}

pub(crate) fn settings(root: &Path, engine: &Arc<dyn Engine>) -> Settings {
    Settings { idle: Duration::from_millis(200), ..Settings::new(root, Arc::clone(engine)) }
}

pub(crate) fn database(root: &Path, engine: &Arc<dyn Engine>) -> Database {
    Database::new(settings(root, engine))
}

pub(crate) async fn put(database: &Database, space: Space, key: &str, value: &str) -> Result<()> {
    let (key, value) = (key.to_owned(), value.to_owned());
    database.write(move |transaction| transaction.put(&space, key.as_bytes(), value)).await
}

pub(crate) async fn delete(database: &Database, space: Space, key: &str) -> Result<()> {
    let key = key.to_owned();
    let write = database.write(move |transaction| {
        transaction.delete(&space, key.as_bytes());
        Ok(())
    });
    write.await
}

pub(crate) async fn get(database: &Database, space: Space, key: &str) -> Result<Option<String>> {
    let key = key.to_owned();
    let value = database.read(move |state| state.get(&space, key.as_bytes())).await?;
    Ok(value.map(|value| String::from_utf8(value).unwrap()))
}

/// All entries of a space.
pub(crate) async fn all(database: &Database, space: Space) -> Result<Vec<(String, String)>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let read = database.read(move |state| {
        let mut all = Vec::new();
        state.for_each(&space, b"", &mut |key, value| {
            all.push((text(key), text(value)));
            Ok(())
        })?;
        Ok(all)
    });
    read.await
}

/// The file that has most of what an engine stores.
pub(crate) fn data_file(root: &Path, engine: &Arc<dyn Engine>) -> PathBuf {
    let name = if engine.name() == "sled" { "db" } else { "data.redb" };
    root.join("meta").join(engine.name()).join(name)
}

/// What was set aside below `root`.
pub(crate) fn aside(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("meta")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("broken")).collect()
}

/// A root with a hundred hints and as many records, closed.
pub(crate) async fn filled(root: &Path, engine: &Arc<dyn Engine>) {
    let database = database(root, engine);
    for tens in 0..10 {
        let write = database.write(move |transaction| {
            for ones in 0..10 {
                let key = format!("{tens}{ones}");
                transaction.put(&HINTS, key.as_bytes(), format!("hint {key}"))?;
                transaction.put(&RECORDS, key.as_bytes(), format!("record {key}"))?;
            }
            Ok(())
        });
        write.await.unwrap();
    }
    delete(&database, HINTS, "99").await.unwrap();
    database.close().await;
}

/// Asserts that all hints of a [`filled`] root are there.
pub(crate) async fn assert_hints(database: &Database) {
    let expected: Vec<_> = (0..99).map(|key| (format!("{key:02}"), format!("hint {key:02}"))).collect();
    assert_eq!(all(database, HINTS).await.unwrap(), expected);
}
