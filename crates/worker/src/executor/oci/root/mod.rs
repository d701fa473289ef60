//! The directory that is to be `/`.
//!
//! Who wrote it is not trusted: every name in it is looked up as the command would see it, with the directory as the root of
//! all links, and nothing is made or removed through a link. Nobody else writes to it while it is prepared, and the command
//! has ended when it is tidied.

mod resolve;
mod stubs;
mod workdir;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

pub(super) use stubs::{Kind, Stubs};

/// An open root.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    dir: OwnedFd,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = path.canonicalize()?;
        let dir = openat(CWD, &path, flags, Mode::empty())?;
        Ok(Self { path, dir })
    }

    /// Without links in it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file for reading, through whatever links lead to it within the root; none if there is none.
    pub(super) fn read(&self, path: &str) -> io::Result<Option<File>> {
        // A pipe is not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.dir, path, flags, Mode::empty(), how) {
            Ok(file) => {
                let file = File::from(file);
                Ok(file.metadata()?.is_file().then_some(file))
            }
            Err(error) if is_absent(&error.into()) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a directory whose path has no links in it (`""` is the root).
    fn dir(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(openat2(&self.dir, path, flags, Mode::empty(), how)?)
    }
}

/// Whether there is nothing of a name.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A path's directory and its last name.
fn split(path: &Path) -> Option<(&Path, &std::ffi::OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

#[cfg(test)]
mod tests;
