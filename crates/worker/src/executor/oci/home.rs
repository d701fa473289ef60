//! Where an executor keeps what there is about its containers.
//!
//! ```text
//! <state>/                     0700
//!   <pid>-<nonce>/             one process: all below is gone when it ends
//!     lock                     flocked by it while it lives
//!     runtime/                 the runtime's own state (`runc --root`)
//!     <container>/             a bundle: config.json (which has secrets in it), hosts, resolv.conf, pid, log.json
//! ```
//!
//! Who gets the lock of another's directory sweeps it: its containers are killed, their cgroups and the directory removed.
//! Their roots are left alone, as they may be somebody else's by now. A directory gets its name after it is locked.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cgroup::Cgroups;
use super::find::Runtime;
use super::purge;
use super::spec::Machine;

/// A directory without its name yet begins with this.
const NEW: &str = ".new-";
const LOCK: &str = "lock";
/// Where the runtime keeps its state.
const RUNTIME: &str = "runtime";

/// What this process keeps, until it is dropped.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) runtime: Runtime,
    pub(super) cgroups: Cgroups,
    pub(super) machine: Machine,
    dir: PathBuf,
    nonce: u64,
    next: AtomicU64,
    /// Locked.
    _lock: File,
}

impl Home {
    /// Makes a directory in `state`, and sweeps those of dead processes.
    pub(super) fn open(
        state: &Path,
        runtime: Runtime,
        cgroups: Cgroups,
        machine: Machine,
    ) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        // Runtimes want to know where a bundle really is.
        let state = state.canonicalize()?;
        sweep(&state, &runtime, &cgroups);
        let nonce = rand();
        let name = format!("{}-{nonce:016x}", std::process::id());
        let new = state.join(format!("{NEW}{name}"));
        let dir = state.join(name);
        fs::DirBuilder::new().mode(0o700).create(&new)?;
        let lock = File::create_new(new.join(LOCK))?;
        lock.lock()?;
        fs::DirBuilder::new().mode(0o700).create(new.join(RUNTIME))?;
        fs::rename(&new, &dir)?;
        Ok(Self { runtime, cgroups, machine, dir, nonce, next: AtomicU64::new(0), _lock: lock })
    }

    /// A name that no other container on the machine has.
    pub(super) fn name(&self, id: &str) -> String {
        format!("{id}-{:016x}-{}", self.nonce, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Where the bundle of a container is.
    pub(super) fn bundle(&self, container: &str) -> PathBuf {
        self.dir.join(container)
    }

    /// Where the runtime keeps its state.
    pub(super) fn states(&self) -> PathBuf {
        self.dir.join(RUNTIME)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Whoever holds it last has no containers any more.
        if let Err(error) = remove(&self.dir) {
            tracing::debug!(%error, path = %self.dir.display(), "an executor's directory stays");
        }
    }
}

/// Sweeps what dead processes left. What cannot be swept is left for the next one.
fn sweep(state: &Path, runtime: &Runtime, cgroups: &Cgroups) {
    let Ok(entries) = fs::read_dir(state) else { return };
    for entry in entries.flatten() {
        let dir = entry.path();
        match take_over(&dir) {
            Ok(None) => {}
            Ok(Some(_lock)) => {
                if let Err(error) = clear(&dir, runtime, cgroups) {
                    tracing::warn!(%error, path = %dir.display(), "what a dead process left stays");
                }
            }
            Err(error) => tracing::debug!(%error, path = %dir.display(), "not looked at"),
        }
    }
}

/// Whether a dead process has left something in `state`.
pub(super) fn has_dead(state: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(state) else { return false };
    entries.any(|entry| entry.is_ok_and(|entry| matches!(take_over(&entry.path()), Ok(Some(_)))))
}

/// The lock of a directory whose process is dead.
fn take_over(dir: &Path) -> io::Result<Option<File>> {
    let is_new = dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NEW));
    let file = match File::open(dir.join(LOCK)) {
        Ok(file) => file,
        // It is being made, or somebody died in the middle of that; nothing is in it then.
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_new => {
            if is_old(&fs::metadata(dir)?) {
                fs::remove_dir(dir)?;
            }
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        // Two who sweep: the other one was faster.
        Ok(()) if file.metadata()?.nlink() == 0 => Ok(None),
        // Between making and locking it.
        Ok(()) if is_new && !is_old(&file.metadata()?) => Ok(None),
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn clear(dir: &Path, runtime: &Runtime, cgroups: &Cgroups) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == LOCK || name == RUNTIME {
            continue;
        }
        let container = name.to_string_lossy();
        tracing::debug!(%container, "killed: its process is dead");
        purge::purge(runtime, &dir.join(RUNTIME), &entry.path(), cgroups)?;
        fs::remove_dir_all(entry.path())?;
    }
    remove(dir)
}

/// Removes a process's directory, with its lock last: whoever finds that sweeps what is left.
fn remove(dir: &Path) -> io::Result<()> {
    purge::remove(&dir.join(RUNTIME))?;
    fs::remove_dir_all(dir)
}

/// Whether its maker must have got on since: making takes no minute.
fn is_old(metadata: &Metadata) -> bool {
    let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
    age.is_some_and(|age| age > Duration::from_secs(60))
}

/// A number that nobody else has.
fn rand() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        // The clock will do: the process's number stands before it.
        _ => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() ^ u64::from(since.subsec_nanos()) << 32),
    }
}
