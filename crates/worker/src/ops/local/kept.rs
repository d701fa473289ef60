//! What is kept of a directory for the next time.
//!
//! ```text
//! database, "local-source"   sha256 of the directory and what is sent of it  ->  the record of what was made of it last
//! snapshots/KEY/local        what each of its files was then; it goes with the snapshot
//! ```

use std::fs;
use std::path::Path;
use std::sync::Arc;

use lazyblob_cache::metadata::{Read as _, Space};
use lazyblob_cache::record::RecordId;
use lazyblob_cache::{GetOptions, ImmutableRef, Manager};
use lazyblob_remote::digest;
use serde::{Deserialize, Serialize};

use super::file::{Facts, open_root};
use super::index::Index;
use super::make::Before;
use crate::error::{Error, Result};
use crate::llb::LocalSource;
use crate::ops::beside;

const LAST: Space = Space::new("local-source");
/// How many directories are remembered.
const MOST: usize = 1024;
const FILE: &str = "local";

/// What was made of a directory last.
#[derive(Serialize, Deserialize)]
struct Last {
    record: RecordId,
    /// Of those that are remembered the smallest was made longest ago.
    at: u64,
}

/// What is remembered of which directory: the same name, seen under the same conditions, of the same directory.
pub(super) fn name(local: &LocalSource, path: &Path, root: &Facts) -> String {
    let (major, minor, inode) = root.inode;
    let text = format!(
        "{:?}",
        (
            (&local.name, &local.shared_key_hint, path, major, minor, inode),
            (&local.include_patterns, &local.exclude_patterns, &local.follow_paths),
        )
    );
    digest::sha256(text.as_bytes()).digest().to_owned()
}

/// What was made of a directory last, if all of it is still there.
pub(super) async fn last(manager: &Manager, name: &str) -> Result<Option<(ImmutableRef, Before)>> {
    let key = name.to_owned();
    let row = manager.database().read(move |rows| rows.get(&LAST, key.as_bytes())).await?;
    let Some(last) = row.and_then(|row| serde_json::from_slice::<Last>(&row).ok()) else { return Ok(None) };
    let tree = match manager.get(&last.record, GetOptions::default()).await {
        Ok(tree) => tree,
        // It was pruned: the next one is made from nothing.
        Err(error) => {
            tracing::debug!(%error, "what was made of a local directory is gone");
            return Ok(None);
        }
    };
    let Some(key) = tree.record().snapshot.clone() else { return Ok(None) };
    let snapshots = Arc::clone(manager.snapshots());
    let before = super::blocking(move || {
        let Ok(directory) = snapshots.directory(&key) else { return Ok(None) };
        let index = fs::read(beside(&directory).join(FILE)).ok().and_then(|bytes| Index::decode(&bytes));
        let tree = open_root(&directory).ok();
        Ok(index.zip(tree).map(|(index, tree)| Before { index, tree }))
    });
    Ok(before.await?.map(|before| (tree, before)))
}

/// Remembers what was made of a directory.
pub(super) async fn keep(manager: &Manager, name: &str, tree: &ImmutableRef, index: Vec<u8>) -> Result<()> {
    let Some(key) = tree.record().snapshot.clone() else { return Ok(()) };
    let snapshots = Arc::clone(manager.snapshots());
    super::blocking(move || {
        let file = beside(&snapshots.directory(&key)?).join(FILE);
        fs::write(&file, index).map_err(|error| Error::io("keep index of local directory", &file, error))
    })
    .await?;
    let (name, record) = (name.to_owned(), tree.id());
    manager
        .database()
        .write(move |rows| {
            let all = rows.scan(&LAST, &[], None, MOST + 1)?;
            let at = |row: &[u8]| serde_json::from_slice::<Last>(row).map_or(0, |last| last.at);
            let newest = all.iter().map(|(_, row)| at(row)).max().unwrap_or_default();
            if all.len() >= MOST
                && let Some((oldest, _)) = all.iter().min_by_key(|(_, row)| at(row))
            {
                rows.delete(&LAST, oldest);
            }
            let last = serde_json::to_vec(&Last { record, at: newest + 1 });
            rows.put(&LAST, name.as_bytes(), last.unwrap_or_default())
        })
        .await?;
    Ok(())
}
