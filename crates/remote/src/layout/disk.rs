//! File operations in blocking threads, and the order that makes them durable.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tokio::task::JoinError;

use crate::error::{Error, Result, What};

/// Bytes that one trip to a blocking thread reads or writes: enough to pay for the trip, little enough to be
/// cancelled soon and to be held once per transfer.
pub(crate) const CHUNK: usize = 512 * 1024;

/// Runs `work` in a blocking thread. Dropping the future does not stop it, so it must be short.
pub(crate) async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> What,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    outcome(what, tokio::task::spawn_blocking(work).await)
}

/// What blocking work came to; its panic goes on here.
pub(crate) fn outcome<T>(what: impl FnOnce() -> What, joined: Result<T, JoinError>) -> Result<T> {
    match joined {
        Ok(value) => Ok(value),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_shut_down) => Err(Error::Cancelled { what: what() }),
        },
    }
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The directory a path is in, which is the working directory for a bare name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Creates a directory and those above it; each new name is durable on return.
pub(crate) fn create_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = parent_of(dir);
    create_dirs(parent)?;
    match fs::create_dir(dir) {
        // Somebody else was faster, or it is a file: then this says so.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        other => other?,
    }
    sync_dir(parent)
}

/// Fills `buffer` from `offset`; returns how many bytes there were before the end of the file.
pub(crate) fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_along_the_way_and_files_are_not_taken_for_them() {
        let temp = tempfile::tempdir().unwrap();
        create_dirs(&temp.path().join("a/b/c")).unwrap();
        create_dirs(&temp.path().join("a/b/c")).unwrap();
        assert!(temp.path().join("a/b/c").is_dir());
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(create_dirs(&temp.path().join("file")).is_err());
        assert!(create_dirs(&temp.path().join("file/below")).is_err());
    }

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        for (path, parent) in [("a", "."), ("./a", "."), ("a/b", "a"), ("/a", "/"), ("../a", "..")] {
            assert_eq!(parent_of(Path::new(path)), Path::new(parent));
        }
        assert!(sync_dir(parent_of(Path::new("a"))).is_ok());
    }

    #[tokio::test]
    #[should_panic(expected = "in the work")]
    async fn a_panic_in_the_work_is_not_swallowed() {
        let _ = blocking(|| What::new("test", "panic"), || panic!("in the work")).await;
    }
}
