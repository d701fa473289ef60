//! Whose turn it is: `db.lock` is held by who has the database, `db.want` by who is next.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::{self, pause};
use crate::error::{IoContext, Result};

/// Who waits looks again after pauses that shrink from this to [`SHORTEST`]: who has waited longer is likelier to be next.
const LONGEST: Duration = Duration::from_millis(4);
const SHORTEST: Duration = Duration::from_millis(1);
/// Who is next looks after these.
const NEXT: Duration = Duration::from_micros(500);
/// Who waits so long is told for whom.
const TELL: Duration = Duration::from_secs(1);
/// So long does the shrinking take.
const LONG: Duration = Duration::from_millis(40);

/// The two lock files of a database.
#[derive(Debug)]
pub(super) struct Locks {
    dir: PathBuf,
}

/// The database is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: File,
    want: File,
}

impl Locks {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Waits for the turn, as long as `goes_on` says so; nothing when it says no.
    pub(super) fn acquire(&self, mut goes_on: impl FnMut() -> bool) -> Result<Option<Turn>> {
        disk::create_dirs(&self.dir).during("lock", "the database", &self.dir)?;
        let (want, lock) = (self.open("db.want")?, self.open("db.lock")?);
        // Who has just let go comes after who has been waiting, since that one has `db.want`.
        // Of that there is one at a time.
        if !self.wait_for(&want, LONGEST, &mut goes_on)? || !self.wait_for(&lock, NEXT, &mut goes_on)? {
            return Ok(None);
        }
        self.sign(&lock)?;
        let path = self.dir.join("db.want");
        want.unlock().during("lock", "the database", &path)?;
        Ok(Some(Turn { _lock: lock, want }))
    }

    /// Says in the lock file whose it is, for who has to wait long.
    fn sign(&self, lock: &File) -> Result<()> {
        let me = format!("{:>10}\n", std::process::id());
        let signed = lock.write_all_at(me.as_bytes(), 0);
        signed.during("lock", "the database", &self.dir.join("db.lock"))
    }

    fn tell_of_waiting(&self) {
        let holder = std::fs::read_to_string(self.dir.join("db.lock")).unwrap_or_default();
        tracing::info!(process = holder.trim(), "waiting for another process to let go of the database");
    }

    fn open(&self, name: &str) -> Result<File> {
        let path = self.dir.join(name);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(&path).during("lock", "the database", &path)
    }

    fn wait_for(&self, file: &File, longest: Duration, goes_on: &mut impl FnMut() -> bool) -> Result<bool> {
        let (since, mut told) = (Instant::now(), false);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(true),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).during("lock", "the database", &self.dir);
                }
            }
            if !goes_on() {
                return Ok(false);
            }
            if !told && since.elapsed() >= TELL {
                told = true;
                self.tell_of_waiting();
            }
            let waited = since.elapsed().as_secs_f64() / LONG.as_secs_f64();
            pause(longest - longest.saturating_sub(SHORTEST).mul_f64(waited.min(1.0)));
        }
    }
}

impl Turn {
    /// Whether somebody waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        match self.want.try_lock_shared() {
            Ok(()) => self.want.unlock().is_err(),
            Err(_) => true,
        }
    }
}
