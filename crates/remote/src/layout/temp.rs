//! Temporary files that vanish with their owner, even one that was killed.
//!
//! A file is flocked as long as its owner lives. Who finds an unlocked one may delete it.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use tempfile::TempPath;

use super::disk;

/// A file that is deleted on drop unless it got its final name.
#[derive(Debug)]
pub(crate) struct TempFile {
    path: TempPath,
    file: Arc<File>,
}

impl TempFile {
    /// Creates a file in `dir` whose name begins with `prefix`, and `dir` itself if it is missing.
    pub(crate) fn create(dir: &Path, prefix: &str) -> io::Result<Self> {
        loop {
            let named = tempfile::Builder::new()
                .prefix(prefix)
                .suffix(".partial")
                .rand_bytes(10)
                .permissions(Permissions::from_mode(0o644))
                .tempfile_in(dir);
            let named = match named {
                Ok(named) => named,
                // Another process found the directory empty and removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    disk::create_dirs(dir)?;
                    continue;
                }
                // The cause as the system named it, without the path that callers add.
                Err(error) => return Err(error.raw_os_error().map_or(error, io::Error::from_raw_os_error)),
            };
            // A sweep may have come between creation and lock; where locks are not supported it comes never.
            let locked = !matches!(named.as_file().try_lock(), Err(TryLockError::WouldBlock));
            if locked && named.as_file().metadata()?.nlink() > 0 {
                let (file, path) = named.into_parts();
                return Ok(Self { path, file: Arc::new(file) });
            }
        }
    }

    /// The open file.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where it is for now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the content durable, then gives the file its final name and makes that durable.
    pub(crate) fn persist(self, to: &Path) -> io::Result<()> {
        self.file.sync_data()?;
        self.path.persist(to).map_err(|refused| refused.error)?;
        disk::sync_dir(disk::parent_of(to))
    }
}

/// Deletes the files in `dir` that begin with `prefix` and whose owners are gone.
pub(crate) fn sweep(dir: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(".partial"));
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if file.try_lock().is_ok() && fs::remove_file(entry.path()).is_ok() {
            tracing::debug!(path = %entry.path().display(), "removed what a killed process left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_spares_the_living_and_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let living = TempFile::create(dir.path(), "x-").unwrap();
        let orphan = dir.path().join("x-0123456789.partial");
        let stranger = dir.path().join("y-0123456789.partial");
        fs::write(&orphan, "left").unwrap();
        fs::write(&stranger, "other").unwrap();
        sweep(dir.path(), "x-");
        assert!(living.path().exists());
        assert!(stranger.exists());
        assert!(!orphan.exists());
    }

    #[test]
    fn a_dropped_file_is_gone_and_a_persisted_one_is_readable_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let dropped = TempFile::create(&dir.path().join("new/dir"), "x-").unwrap();
        let path = dropped.path().to_owned();
        drop(dropped);
        assert!(!path.exists());
        let kept = TempFile::create(dir.path(), "x-").unwrap();
        kept.persist(&dir.path().join("final")).unwrap();
        let mode = fs::metadata(dir.path().join("final")).unwrap().permissions().mode();
        assert_eq!(mode & 0o400, 0o400);
        assert_eq!(mode & 0o133, 0, "neither executable nor writable by others");
    }
}
