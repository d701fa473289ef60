//! By what the trees of caches are found.

use std::collections::BTreeMap;

use lazyblob_cache::metadata::Space;
use lazyblob_cache::{Manager, RecordId, Result};

/// As lasting as the records that it names.
const CACHES: Space = Space::recoverable("exec-cache");
const READY: &[u8] = b"ready";
const NEW: &[u8] = b"new";

/// A tree of a cache.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: RecordId,
    /// It was filled.
    pub(super) is_ready: bool,
    /// It is found by all that was asked for.
    pub(super) is_whole: bool,
}

/// The trees that are found by any of `keys`.
pub(super) async fn find(manager: &Manager, keys: &[String]) -> Result<Vec<Row>> {
    let keys = keys.to_vec();
    manager
        .database()
        .read(move |rows| {
            let mut found: BTreeMap<RecordId, (usize, bool)> = BTreeMap::new();
            for key in &keys {
                let prefix = format!("{key}/");
                for (row, state) in rows.scan_prefix(&CACHES, prefix.as_bytes(), usize::MAX)? {
                    let id = RecordId::parse(&String::from_utf8_lossy(
                        row.get(prefix.len()..).unwrap_or_default(),
                    ))?;
                    let (times, is_ready) = found.entry(id).or_default();
                    *times += 1;
                    *is_ready |= state == READY;
                }
            }
            let row = |(id, (times, is_ready))| Row { id, is_ready, is_whole: times == keys.len() };
            Ok(found.into_iter().map(row).collect())
        })
        .await
}

/// Has a tree found by all of `keys`.
pub(super) async fn put(manager: &Manager, keys: &[String], row: &Row) -> Result<()> {
    let (keys, row) = (keys.to_vec(), row.clone());
    manager
        .database()
        .write(move |rows| {
            let state = if row.is_ready { READY } else { NEW };
            keys.iter().try_for_each(|key| rows.put(&CACHES, &name(key, &row.id), state))
        })
        .await
}

/// Forgets a tree.
pub(super) async fn remove(manager: &Manager, keys: &[String], id: &RecordId) -> Result<()> {
    let (keys, id) = (keys.to_vec(), id.clone());
    let forget = move |rows: &mut lazyblob_cache::metadata::Transaction<'_>| {
        for key in &keys {
            rows.delete(&CACHES, &name(key, &id));
        }
        Ok(())
    };
    manager.database().write(forget).await
}

fn name(key: &str, id: &RecordId) -> Vec<u8> {
    format!("{key}/{id}").into_bytes()
}
