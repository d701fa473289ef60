//! One writer per blob: the flock of `<ingest dir>/<alg>-<hex>/lock`, within a process and between processes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::partial;
use super::state::{self, now};
use crate::error::printable;
use crate::layout::disk;

/// So much of a name is enough to recognise it, in characters.
const NAME: usize = 64;
/// Larger than any record of ours.
const LIMIT: usize = 4096;

/// Who writes a blob, as it says in the lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pid: u32,
    /// What the process calls itself; never its arguments.
    command: String,
    /// The blob's size in bytes.
    pub(super) size: u64,
    /// Since when it is written, in milliseconds since 1970.
    pub(super) started: u64,
}

impl Holder {
    fn this_process(size: u64, name: Option<&str>) -> Self {
        let name = name.map_or_else(program, str::to_owned);
        let command = printable(&name).chars().take(NAME).collect();
        Self { pid: std::process::id(), command, size, started: now() }
    }

    /// What is in the lock file; nothing where its owner has not written it yet.
    fn read(lock: &File) -> Option<Self> {
        let mut record = [0; LIMIT];
        let length = disk::read_at_most(lock, &mut record, 0).ok()?;
        serde_json::from_slice(&record[..length]).ok()
    }
}

/// The base name of the program that runs.
fn program() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}: {}", self.pid, printable(&self.command))
    }
}

/// The right to write a partial. The last one to drop it lets others in, and removes a partial that has no save point:
/// nobody could go on from it.
///
/// That is for blocking threads: who has come to an end, good or bad, drops it in one. Only where a future is dropped is
/// it done right there, so that the partial is free when the future is gone; it is a handful of short calls, and none
/// of them waits for what was written to be durable.
#[derive(Debug)]
pub(super) struct Claim {
    dir: PathBuf,
    lock: File,
    released: Arc<Notify>,
}

/// The outcome of one attempt to get a [`Claim`].
#[derive(Debug)]
pub(super) enum Attempt {
    Held(Claim),
    /// Somebody else has it.
    Busy(Option<Holder>),
    /// There is no such partial.
    Missing,
}

impl Claim {
    /// Tries to get hold of the partial in `dir`. `create` makes one where there is none.
    pub(super) fn attempt(dir: &Path, create: bool, released: &Arc<Notify>) -> io::Result<Attempt> {
        loop {
            if create {
                make(dir)?;
            }
            // A layout may have come with links that lead elsewhere.
            partial::refuse_links(dir)?;
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let lock = match options.open(lock_path(dir)) {
                Ok(lock) => lock,
                // Its last writer has removed it just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound && create => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Missing),
                Err(error) => return Err(error),
            };
            return match take(&lock)? {
                Taken::Yes => {
                    let released = Arc::clone(released);
                    Ok(Attempt::Held(Self { dir: dir.to_owned(), lock, released }))
                }
                Taken::No => Ok(Attempt::Busy(Holder::read(&lock))),
                Taken::TooLate => continue,
            };
        }
    }

    /// What those who wait are woken with when it is dropped.
    #[cfg(test)]
    pub(super) fn released(&self) -> &Arc<Notify> {
        &self.released
    }

    /// Where the partial is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Tells those who wait whom they wait for: this process, as `name` has it. `size` is the blob's.
    pub(super) fn sign(&self, size: u64, name: Option<&str>) -> io::Result<()> {
        let record = serde_json::to_vec(&Holder::this_process(size, name))?;
        self.lock.set_len(0)?;
        self.lock.write_all_at(&record, 0)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A lock file that is gone was removed with its partial; what is there now is somebody else's.
        let ours = self.lock.metadata().is_ok_and(|lock| lock.nlink() > 0);
        // Where it cannot be known whether there is a state, it is kept.
        match state::path(&self.dir).try_exists() {
            Ok(false) if ours => partial::remove(&self.dir),
            _ => drop(self.lock.set_len(0)),
        }
        let _ = self.lock.unlock();
        self.released.notify_waiters();
    }
}

/// What became of locking an open lock file.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    /// Somebody else has it.
    No,
    /// Whoever had it has removed it with its partial since we opened it: it locks nothing any more.
    TooLate,
}

fn take(lock: &File) -> io::Result<Taken> {
    match lock.try_lock() {
        Ok(()) if lock.metadata()?.nlink() > 0 => Ok(Taken::Yes),
        Ok(()) => Ok(Taken::TooLate),
        Err(TryLockError::WouldBlock) => Ok(Taken::No),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether somebody writes the partial in `dir`, and who.
pub(super) fn holder(dir: &Path) -> io::Result<(bool, Option<Holder>)> {
    let lock = match File::open(lock_path(dir)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((false, None)),
        Err(error) => return Err(error),
    };
    // Shared: two who look do not take each other for a writer.
    match lock.try_lock_shared() {
        Ok(()) => Ok((false, None)),
        Err(TryLockError::WouldBlock) => Ok((true, Holder::read(&lock))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Where the lock of the partial in `dir` is.
pub(super) fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// Creates the directory of a partial. Its name is made durable with the first save point, not here.
fn make(dir: &Path) -> io::Result<()> {
    loop {
        return match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk::create_dirs(disk::parent_of(dir))?;
                continue;
            }
            other => other,
        };
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Wake};
    use std::thread::{self, ThreadId};

    use super::*;

    /// Waits for a claim to be released, and sees on which thread it was.
    pub(in super::super) struct Woken {
        on: Arc<On>,
        _waits: Pin<Box<dyn Future<Output = ()> + Send>>,
    }

    #[derive(Default)]
    struct On(Mutex<Option<ThreadId>>);

    impl Wake for On {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() = Some(thread::current().id());
        }
    }

    impl Woken {
        pub(in super::super) fn by(released: &Arc<Notify>) -> Self {
            let (on, mut waits) = (Arc::<On>::default(), Box::pin(Arc::clone(released).notified_owned()));
            let waker = Arc::clone(&on).into();
            assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            Self { on, _waits: waits }
        }

        pub(in super::super) fn thread(&self) -> Option<ThreadId> {
            *self.on.0.lock().unwrap()
        }
    }

    fn claim(dir: &Path) -> Claim {
        match Claim::attempt(dir, true, &Arc::default()).unwrap() {
            Attempt::Held(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    /// Row 68a: a lock that went with its partial between opening and locking it is no lock.
    #[test]
    fn a_lock_without_a_name_is_not_held() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("ingest/p");
        let first = claim(&dir);
        let opened = File::open(lock_path(&dir)).unwrap();
        assert_eq!(take(&opened).unwrap(), Taken::No);
        partial::remove(&dir);
        drop(first);
        assert_eq!(take(&opened).unwrap(), Taken::TooLate);
        let second = claim(&dir);
        assert_eq!(take(&File::open(lock_path(&dir)).unwrap()).unwrap(), Taken::No);
        drop(second);
    }

    /// Row 98: who has removed a partial does not remove what somebody else begins in its place.
    #[test]
    fn an_old_claim_spares_what_is_new() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("p");
        let old = claim(&dir);
        partial::remove(&dir);
        let new = claim(&dir);
        fs::write(partial::data_path(&dir), "new").unwrap();
        drop(old);
        assert!(partial::data_path(&dir).exists());
        drop(new);
        assert!(!dir.exists(), "nothing was saved");
    }

    /// Arguments may be secret.
    #[test]
    fn a_holder_is_called_by_its_program_and_no_argument() {
        // The harness that runs this was given its path, and often the name of this test.
        let program = std::env::args().next().unwrap();
        assert!(program.contains('/'), "{program}");
        let holder = Holder::this_process(17, None);
        assert_eq!(holder.command, program.rsplit('/').next().unwrap());
        let long = Holder::this_process(17, Some(&"x".repeat(1000)));
        assert_eq!(long.command.len(), NAME);
    }

    #[test]
    fn a_claim_says_whose_it_is_and_is_silent_after_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("p");
        let held = claim(&dir);
        held.sign(17, Some("program verb")).unwrap();
        let Attempt::Busy(Some(found)) = Claim::attempt(&dir, false, &Arc::default()).unwrap() else {
            panic!()
        };
        assert_eq!((found.pid, found.size), (std::process::id(), 17));
        assert_eq!(found.to_string(), format!("process {}: program verb", std::process::id()));
        let mode = fs::metadata(lock_path(&dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "for nobody else");
        assert_eq!(holder(&dir).unwrap(), (true, Some(found)));
        fs::write(state::path(&dir), "saved").unwrap();
        drop(held);
        assert_eq!(holder(&dir).unwrap(), (false, None));
        assert_eq!(fs::read(lock_path(&dir)).unwrap(), b"");
        assert!(matches!(
            Claim::attempt(&temp.path().join("q"), false, &Arc::default()),
            Ok(Attempt::Missing)
        ));
        assert!(!temp.path().join("q").exists());
    }
}
