//! redb 4: one file, copy on write, durable by itself.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use lazyblob_remote::What;
use redb::{
    Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};

use super::disk;
use super::{Batch, Engine, Entry, MetadataStore};
use crate::error::{Error, IoContext, Result};

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("entries");
/// What redb may keep of its pages in memory, in bytes.
const CACHE: usize = 32 << 20;

/// One file, `data.redb`. What is damaged by the disk shows when a value is read, or by entries that are missing: redb
/// trusts a file that was closed in order, and to check all of it at each hand-over would take too long.
#[derive(Clone, Copy, Debug, Default)]
pub struct Redb;

impl Engine for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn MetadataStore>> {
        disk::create_dirs(dir).during("open", "the database", dir)?;
        let path = dir.join("data.redb");
        let opened = Database::builder().set_cache_size(CACHE).create(&path);
        let store = RedbStore { db: opened.map_err(|error| of_database(dir, error))?, dir: dir.to_owned() };
        if store.table().is_err() {
            store.apply(&Batch::default())?;
            File::open(&path).and_then(|file| file.sync_all()).during("open", "the database", &path)?;
            disk::sync_dir(dir).during("open", "the database", dir)?;
        }
        Ok(Box::new(store))
    }
}

struct RedbStore {
    db: Database,
    dir: PathBuf,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl RedbStore {
    fn failed<E: Into<redb::Error>>(&self, operation: &'static str) -> impl Fn(E) -> Error {
        move |error| failed(operation, &self.dir, error.into())
    }

    fn table(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>> {
        let reading = self.db.begin_read().map_err(self.failed("read"))?;
        reading.open_table(TABLE).map_err(self.failed("read"))
    }
}

impl MetadataStore for RedbStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let table = self.table()?;
        let value = ReadableTable::get(&table, key).map_err(self.failed("read"))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>> {
        let table = self.table()?;
        let range = ReadableTable::range(&table, from..to.max(from)).map_err(self.failed("read"))?;
        let entries = range.take(limit).map(|entry| {
            let (key, value) = entry.map_err(self.failed("read"))?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        });
        entries.collect()
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>> {
        let table = self.table()?;
        let mut range = ReadableTable::range(&table, from..to.max(from)).map_err(self.failed("read"))?;
        let last = range.next_back().transpose().map_err(self.failed("read"))?;
        Ok(last.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
    }

    fn apply(&self, batch: &Batch) -> Result<()> {
        let writing = self.db.begin_write().map_err(self.failed("write"))?;
        {
            let mut table = writing.open_table(TABLE).map_err(self.failed("write"))?;
            for (key, value) in batch.iter() {
                match value {
                    Some(value) => drop(table.insert(key, value).map_err(self.failed("write"))?),
                    None => drop(table.remove(key).map_err(self.failed("write"))?),
                }
            }
        }
        writing.commit().map_err(self.failed("write"))
    }
}

/// redb of a newer version may have written it: that is not damage.
fn of_database(dir: &Path, error: DatabaseError) -> Error {
    match error {
        DatabaseError::UpgradeRequired(version) => {
            Error::refused("open", dir.display(), format_args!("redb's file format {version} is not ours"))
        }
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::Locked { what: What::new("open", dir.display()), reason: error.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(source)) if source.raw_os_error().is_some() => {
            Error::Io { what: What::new("open", "the database"), path: dir.to_owned(), source }
        }
        other => failed("open", dir, other.into()),
    }
}

fn failed(operation: &'static str, dir: &Path, error: redb::Error) -> Error {
    match error {
        redb::Error::Io(source) if source.raw_os_error().is_some() => {
            Error::Io { what: What::new(operation, "the database"), path: dir.to_owned(), source }
        }
        other => Error::Metadata { what: What::new(operation, dir.display()), reason: other.to_string() },
    }
}
