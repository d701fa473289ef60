//! The directory of this process below `mounts/`, and those of dead ones.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::shown::{SHOW, bare};
use crate::error::{IoContext as _, Result};
use crate::root::trash;
use crate::snapshot::places::{nonce, private_directory};

/// What the names of these directories begin with: no record of a mount has such a name.
pub(crate) const PREFIX: &str = "live-";

/// Overlayfs wants two layers, and not twice the same.
const NOTHING: [&str; 2] = ["0", "1"];

/// Where this process shows trees. All calls block.
#[derive(Debug)]
pub(crate) struct Trees {
    mounts: PathBuf,
    trash: PathBuf,
    /// Made with the first tree.
    own: Mutex<Option<Own>>,
    next: AtomicU64,
}

/// A directory and the lock that says that its process lives.
#[derive(Debug)]
struct Own {
    path: PathBuf,
    _lock: File,
}

impl Trees {
    /// `mounts` and `trash` are directories of one root.
    pub(crate) fn new(mounts: PathBuf, trash: PathBuf) -> Self {
        // The first names are those of the layers of nothing.
        Self { mounts, trash, own: Mutex::default(), next: AtomicU64::new(2) }
    }

    /// Takes away what dead processes have left: mounts, then directories. Returns how many processes they were.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub(crate) fn recover(&self) -> Result<usize> {
        let operation = "take away trees of dead processes";
        let io = |error| Err(error).during(operation, self.mounts.display(), &self.mounts);
        let entries = match fs::read_dir(&self.mounts) {
            Ok(entries) => entries,
            Err(error) => return io(error),
        };
        let mut taken = 0;
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return io(error),
            };
            if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
                continue;
            }
            let path = entry.path();
            match self.recover_one(&path) {
                Ok(is_dead) => taken += usize::from(is_dead),
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).during(operation, path.display(), &path),
            }
        }
        Ok(taken)
    }

    fn recover_one(&self, path: &Path) -> io::Result<bool> {
        let lock = File::open(path)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let mut is_bare = true;
        for entry in fs::read_dir(path)? {
            is_bare &= bare(&entry?.path());
        }
        // What would be deleted with something mounted in it is somebody's tree.
        if !is_bare {
            tracing::warn!(path = %path.display(), "a dead process's trees are mounted and cannot be unmounted");
            return Ok(false);
        }
        match trash::put(path, &self.trash) {
            Ok(_) => Ok(true),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// A new directory to show a tree in.
    pub(super) fn new_directory(&self) -> Result<PathBuf> {
        let own = self.own()?;
        let path = own.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        private_directory(&path).during(SHOW, path.display(), &path)?;
        Ok(path)
    }

    /// Two layers of nothing.
    pub(super) fn nothing(&self) -> Result<[PathBuf; 2]> {
        let own = self.own()?;
        Ok(NOTHING.map(|name| own.join(name)))
    }

    /// Removes a directory that nothing is shown in, with what a copy that failed has left there.
    pub(super) fn discard(&self, path: &Path) {
        let removed = fs::remove_dir(path).or_else(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOTEMPTY) => trash::put(path, &self.trash).map(drop).map_err(io::Error::other),
            _ => Err(error),
        });
        if let Err(error) = removed {
            tracing::debug!(path = %path.display(), %error, "a directory for a tree stays");
        }
    }

    /// Removes the directory of this process, if nothing is shown there. It is made again when it is needed.
    pub(crate) fn close(&self) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Own { path, .. }) = &*own else { return };
        let is_free = |entries: fs::ReadDir| {
            entries.flatten().all(|entry| NOTHING.iter().any(|name| entry.file_name() == *name))
        };
        if !fs::read_dir(path).is_ok_and(is_free) {
            return;
        }
        let removed = NOTHING
            .iter()
            .try_for_each(|name| fs::remove_dir(path.join(name)))
            .and_then(|()| fs::remove_dir(path));
        if let Err(error) = removed {
            tracing::debug!(path = %path.display(), %error, "the directory for trees stays");
        }
        *own = None;
    }

    fn own(&self) -> Result<PathBuf> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = &*own {
            return Ok(own.path.clone());
        }
        let made = make(&self.mounts).during(SHOW, self.mounts.display(), &self.mounts)?;
        let path = made.path.clone();
        *own = Some(made);
        Ok(path)
    }
}

impl Drop for Trees {
    fn drop(&mut self) {
        self.close();
    }
}

/// Makes a directory of this process. Whoever takes away those of dead ones may take it before it is locked; then it is
/// made again.
fn make(mounts: &Path) -> io::Result<Own> {
    loop {
        let path = mounts.join(format!("{PREFIX}{}", nonce()));
        private_directory(&path)?;
        let locked = || -> io::Result<Option<File>> {
            let lock = File::open(&path)?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockExclusive))?;
            let (held, there) = (lock.metadata()?, fs::symlink_metadata(&path)?);
            Ok((held.ino() == there.ino()).then_some(lock))
        };
        match locked() {
            Ok(Some(lock)) => {
                for name in NOTHING {
                    private_directory(&path.join(name))?;
                }
                return Ok(Own { path, _lock: lock });
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::attach;
    use crate::mount::overlayfs::{Overlayfs, Trusts};

    fn trees(dir: &Path) -> Trees {
        let (mounts, trash) = (dir.join("mounts"), dir.join("trash"));
        for path in [&mounts, &trash] {
            fs::create_dir_all(path).unwrap();
        }
        Trees::new(mounts, trash)
    }

    #[test]
    fn what_the_dead_have_left_goes_and_what_the_living_have_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (trees(dir.path()), trees(dir.path()));
        let path = own.new_directory().unwrap();
        assert_eq!(other.recover().unwrap(), 0, "its process lives");
        assert!(path.exists());
        let dead = dir.path().join("mounts/live-dead");
        fs::create_dir_all(dead.join("2/copied")).unwrap();
        fs::create_dir_all(dir.path().join("mounts/else")).unwrap();
        assert_eq!(other.recover().unwrap(), 1);
        assert!(!dead.exists() && path.exists() && dir.path().join("mounts/else").exists());
        own.close();
        assert!(path.exists(), "something may be shown there");
        own.discard(&path);
        own.close();
        assert!(!path.parent().unwrap().exists());
        assert!(own.new_directory().unwrap().exists(), "it is made again");
    }

    #[test]
    fn trees_of_the_dead_are_unmounted_and_not_deleted() {
        if !rustix::process::geteuid().is_root() {
            return lazyblob_remote::testing::not_run("unmounting trees of the dead", "mounting needs root");
        }
        let dir = tempfile::tempdir().unwrap();
        let trees = trees(dir.path());
        let dead = dir.path().join("mounts/live-dead");
        let (at, lower) = (dead.join("2"), [dead.join("below")]);
        let [upper, work] = ["upper", "work"].map(|name| dir.path().join(name));
        for path in [&at, &lower[0], &upper, &work] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(upper.join("file"), "kept").unwrap();
        let overlay = Overlayfs {
            source: "lazyblob",
            lower: &lower,
            upper: Some((&upper, &work)),
            trusts: Trusts::default(),
            volatile: true,
        };
        overlay.attach(&at).unwrap();
        // Over it another one, as a program that was run there may have left it.
        attach::bind(&upper, &at, false, Trusts::default()).unwrap();
        let taken = trees.recover();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(taken.unwrap(), 1);
        assert!(!table.contains(dead.to_str().unwrap()), "{table}");
        assert_eq!(fs::read_to_string(upper.join("file")).unwrap(), "kept");
        // What was volatile is mounted again.
        fs::create_dir_all(&lower[0]).unwrap();
        fs::create_dir_all(&at).unwrap();
        overlay.attach(&at).unwrap();
        let seen = fs::read_to_string(at.join("file"));
        attach::detach(&at, false).unwrap();
        assert_eq!(seen.unwrap(), "kept");
    }
}
