//! sled 0.34. What it says is flushed is not durable yet (it calls `sync_file_range`), so its files are synced here.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lazyblob_remote::What;

use super::disk::{self, pause};
use super::{Batch, Engine, Entry, MetadataStore};
use crate::error::{Error, IoContext, Result};

/// What sled may keep of its pages in memory, in bytes.
const CACHE: u64 = 64 << 20;
/// Its threads may have its file open a little longer than its owner.
const LATE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_micros(200);

/// The engine that is taken where nobody asks for another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sled;

impl Engine for Sled {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn open(&self, dir: &Path) -> Result<Box<dyn MetadataStore>> {
        disk::create_dirs(dir).during("open", "the database", dir)?;
        free(dir)?;
        let config = sled::Config::new().path(dir).flush_every_ms(None).cache_capacity(CACHE);
        let db = config.open().map_err(|error| failed("open", dir, error))?;
        let path = dir.join("db");
        let file = File::open(&path).during("open", "the database", &path)?;
        let store = SledStore { db: Some(db), file, dir: dir.to_owned(), synced: Mutex::default() };
        store.sync().during("open", "the database", dir)?;
        disk::sync_dir(disk::parent_of(dir)).during("open", "the database", dir)?;
        Ok(Box::new(store))
    }
}

#[derive(Debug)]
struct SledStore {
    /// There until it is dropped.
    db: Option<sled::Db>,
    /// Our own handle of its log: the one that `fsync` is called on.
    file: File,
    dir: PathBuf,
    /// Files that were durable, with their names, at the last sync: snapshots, and what is too large for the log.
    synced: Mutex<HashSet<OsString>>,
}

impl SledStore {
    fn db(&self) -> Result<&sled::Db> {
        self.db.as_ref().ok_or_else(|| Error::Metadata {
            what: What::new("use", self.dir.display()),
            reason: "it is closed".to_owned(),
        })
    }

    fn failed(&self, operation: &'static str) -> impl Fn(sled::Error) -> Error {
        move |error| failed(operation, &self.dir, error)
    }

    /// Makes durable what sled has written: its log, files that were not there the last time, and their names.
    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = HashSet::new();
        for dir in [self.dir.clone(), self.dir.join("blobs")] {
            let mut grown = false;
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                if !entry.file_type()?.is_file() {
                    continue;
                }
                let name = entry.file_name();
                if !synced.contains(&name) {
                    match File::open(entry.path()) {
                        Ok(file) => file.sync_all()?,
                        // A snapshot that another one has taken the place of.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(error),
                    }
                    grown = true;
                }
                present.insert(name);
            }
            if grown {
                disk::sync_dir(&dir)?;
            }
        }
        *synced = present;
        Ok(())
    }
}

impl MetadataStore for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.db()?.get(key).map_err(self.failed("read"))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>> {
        let range = self.db()?.range(from..to.max(from)).take(limit);
        range
            .map(|entry| {
                entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(self.failed("read"))
            })
            .collect()
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>> {
        let last = self.db()?.range(from..to.max(from)).next_back();
        last.map(|entry| {
            entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(self.failed("read"))
        })
        .transpose()
    }

    fn apply(&self, batch: &Batch) -> Result<()> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch.iter() {
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        let db = self.db()?;
        db.apply_batch(changes).map_err(self.failed("write"))?;
        db.flush().map_err(self.failed("write"))?;
        self.sync().during("write", "the database", &self.dir)
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.db = None;
        if let Err(error) = free(&self.dir) {
            tracing::warn!(%error, "sled does not let go of its file");
        }
    }
}

/// Waits until none of sled's threads has the log of `dir` locked: they are not joined when it is dropped.
fn free(dir: &Path) -> Result<()> {
    let path = dir.join("db");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome.during("open", "the database", &path)?,
    };
    let since = Instant::now();
    loop {
        match file.try_lock() {
            // It is let go with the file.
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if since.elapsed() < LATE => pause(POLL),
            Err(TryLockError::WouldBlock) => {
                let what = What::new("open", dir.display());
                return Err(Error::Locked { what, reason: "sled has its file locked".to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(source).during("open", "the database", &path),
        }
    }
}

/// What the system refused may work another time; what sled itself says of its files is damage.
fn failed(operation: &'static str, dir: &Path, error: sled::Error) -> Error {
    let io = |source| Error::Io { what: What::new(operation, "the database"), path: dir.to_owned(), source };
    match error {
        sled::Error::Io(source) if source.raw_os_error().is_some() => io(source),
        // A copy of an error has its words only.
        other => disk::quoted_error(&other.to_string()).map_or_else(
            || Error::Metadata { what: What::new(operation, dir.display()), reason: other.to_string() },
            io,
        ),
    }
}
