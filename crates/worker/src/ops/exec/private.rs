//! A directory for what must never reach a disk, and for what is shown of a tree that others change.
//!
//! It is flat: files, sockets, and directories or files that something is mounted on. So it is never deleted but entry by
//! entry, and nothing that was mounted is deleted with it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use lazyblob_remote::What;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use crate::error::{Error, Result};
use crate::executor;
use crate::llb::pb::{ExecOp, MountType};

/// What such directories are called, wherever they are.
const PREFIX: &str = "lazyblob-private-";

/// A directory that nobody else can look into, in memory where the machine has a place for that. It goes with this, and
/// what a process that was killed has left of it goes when the next one is made.
#[derive(Debug)]
pub(super) struct Private {
    path: PathBuf,
    /// Says to others that somebody lives here.
    lock: File,
}

impl Private {
    /// Makes one. Blocking.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn make() -> Result<Self> {
        let above = place();
        let made = sweep(&above).and_then(|()| make(&above));
        made.map_err(|error| Error::io("make a private directory in", &above, error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Mounts a directory or file that somebody has found, whatever its name stands for by now. Blocking.
    ///
    /// # Errors
    /// [`Error::Executor`] where this process may not mount; [`Error::Io`].
    pub(super) fn show(&self, number: usize, found: &OwnedFd) -> Result<PathBuf> {
        let path = self.path.join(format!("mount-{number}"));
        let mount = || -> io::Result<()> {
            if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(found)?.st_mode).is_dir() {
                fs::create_dir(&path)?;
            } else {
                File::create_new(&path)?;
            }
            let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = open_tree(found, "", clone | OpenTreeFlags::AT_EMPTY_PATH)?;
            move_mount(&tree, "", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            Ok(())
        };
        match mount() {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let reason = "that takes root (CAP_SYS_ADMIN): mount all of the cache instead".to_owned();
                Err(Error::Executor { what: What::new("mount part of a cache at", path.display()), reason })
            }
            Err(error) => Err(Error::io("mount part of a cache", &path, error)),
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a private directory stays behind");
        }
        drop(self.lock.unlock());
    }
}

/// Whether a command is given secrets, in files or in variables.
pub(super) fn uses_secrets(op: &ExecOp) -> bool {
    !op.secretenv.is_empty() || op.mounts.iter().any(|mount| mount.mount_type() == MountType::Secret)
}

/// What those are told whose command is given secrets, where there is no place in memory.
pub(super) fn warning(memory: Option<&Path>) -> Option<String> {
    let text = "secrets of this command are in files of a disk while it runs, and stay there if this process is killed: \
                nothing that may be written to of /run, /dev/shm and $XDG_RUNTIME_DIR is a tmpfs; mount one";
    memory.is_none().then(|| text.to_owned())
}

/// Where memory is a file system that we may write to; the directory for temporary files otherwise.
fn place() -> PathBuf {
    executor::memory().unwrap_or_else(std::env::temp_dir)
}

/// Makes a directory and lives in it. Whoever sweeps may take it before it is locked; then another is made.
fn make(above: &Path) -> io::Result<Private> {
    loop {
        let mut bits = [0; 16];
        rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty())?;
        let path = above.join(format!("{PREFIX}{:032x}", u128::from_ne_bytes(bits)));
        DirBuilder::new().mode(0o700).create(&path)?;
        match locked(&path) {
            Ok(Some(lock)) => return Ok(Private { path, lock }),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// The lock of a directory, if nobody lives there and it still has its name.
fn locked(path: &Path) -> io::Result<Option<File>> {
    let lock = File::open(path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    let is_named = fs::symlink_metadata(path)?.ino() == lock.metadata()?.ino();
    Ok(is_named.then_some(lock))
}

/// Removes such a directory. What is mounted there goes out of sight, and nothing of it is removed.
fn remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        while unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
        if fs::symlink_metadata(&path)?.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }?;
    }
    fs::remove_dir(path)
}

/// Takes away what processes have left that were killed.
fn sweep(above: &Path) -> io::Result<()> {
    for entry in fs::read_dir(above)? {
        let Ok(entry) = entry else { continue };
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let ours = rustix::process::geteuid().as_raw();
        let is_ours = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && found.uid() == ours);
        if is_ours && let Ok(Some(_lock)) = locked(&path) {
            // What cannot be removed now may be next time.
            drop(remove(&path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn who_is_given_secrets_is_warned_where_no_memory_is() {
        let plain = ExecOp::default();
        assert!(!uses_secrets(&plain));
        let secret = crate::llb::pb::Mount { mount_type: MountType::Secret.into(), ..Default::default() };
        assert!(uses_secrets(&ExecOp { mounts: vec![secret], ..ExecOp::default() }));
        assert!(uses_secrets(&ExecOp { secretenv: vec![Default::default()], ..ExecOp::default() }));
        assert_eq!(warning(Some(Path::new("/run"))), None);
        assert!(warning(None).unwrap().contains("mount one"));
    }

    #[test]
    fn nobody_else_looks_into_it_and_it_goes() {
        let private = Private::make().unwrap();
        let path = private.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("secret"), "hunter2").unwrap();
        // Another one is made meanwhile: what somebody lives in is not swept.
        drop(Private::make().unwrap());
        assert!(path.join("secret").exists());
        drop(private);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_shown_is_what_was_found_and_outlives_the_directory() {
        if !rustix::process::geteuid().is_root() {
            println!("not run: mounting takes root");
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let (found, file) = (temp.path().join("found"), temp.path().join("file"));
        fs::create_dir(&found).unwrap();
        fs::write(found.join("kept"), "inside").unwrap();
        fs::write(&file, "file").unwrap();
        let open = |path: &Path| OwnedFd::from(File::open(path).unwrap());
        let (directory, alone) = (open(&found), open(&file));
        // Somebody puts a link there after it was found.
        fs::rename(&found, temp.path().join("moved")).unwrap();
        std::os::unix::fs::symlink("/etc", &found).unwrap();
        let private = Private::make().unwrap();
        let path = private.path().to_owned();
        let shown = match private.show(0, &directory) {
            Err(Error::Executor { .. }) => return println!("not run: this machine does not let root mount"),
            shown => shown.unwrap(),
        };
        assert_eq!(fs::read_to_string(shown.join("kept")).unwrap(), "inside");
        assert_eq!(fs::read_to_string(private.show(1, &alone).unwrap()).unwrap(), "file");
        drop(private);
        assert!(!path.exists());
        assert_eq!(fs::read_to_string(temp.path().join("moved/kept")).unwrap(), "inside");
        assert_eq!(fs::read_to_string(&file).unwrap(), "file");
    }

    #[test]
    fn what_a_killed_process_has_left_goes_with_the_next_one() {
        let above = tempfile::tempdir().unwrap();
        let left = above.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("secret"), "hunter2").unwrap();
        let other = above.path().join("other");
        fs::create_dir(&other).unwrap();
        let living = make(above.path()).unwrap();
        sweep(above.path()).unwrap();
        assert!(!left.exists());
        assert!(other.exists() && living.path().exists());
    }
}
