//! Deleting trees, a few entries at a time.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

/// So many directories are open at a time at most; one that lies deeper is moved up first.
const DEPTH: usize = 24;
/// So many of the things that could not be deleted are told.
const TOLD: usize = 16;
/// A block of `st_blocks`, in bytes.
const BLOCK: u64 = 512;

/// What was deleted.
#[derive(Debug, Default)]
pub struct Swept {
    /// Files and directories.
    pub entries: u64,
    /// Bytes of the disk that were freed.
    pub bytes: u64,
    /// So many could not be deleted and stay.
    pub kept: u64,
    /// The first of those.
    pub left: Vec<Left>,
}

/// Something that could not be deleted.
#[derive(Debug)]
pub struct Left {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub cause: io::Error,
}

/// Deletes what is in a directory.
#[derive(Debug)]
pub(super) struct Sweeper {
    top: PathBuf,
    stack: Vec<Level>,
    /// Something was moved up since the top was read from its beginning.
    lifted: bool,
    swept: Swept,
}

/// A directory that is being emptied.
#[derive(Debug)]
struct Level {
    fd: OwnedFd,
    entries: Dir,
    /// Its name in the directory above.
    name: CString,
    /// Something of it stays.
    keeps: bool,
    /// It was read to its end once more, for what came meanwhile.
    again: bool,
}

impl Sweeper {
    pub(super) fn begin(top: &Path) -> io::Result<Self> {
        let stack = vec![Level::open(CWD, &CString::new(top.as_os_str().as_bytes())?)?];
        Ok(Self { top: top.to_owned(), stack, lifted: false, swept: Swept::default() })
    }

    pub(super) fn swept(&self) -> &Swept {
        &self.swept
    }

    pub(super) fn into_swept(self) -> Swept {
        self.swept
    }

    /// Deletes so many entries; returns whether there are more.
    pub(super) fn step(&mut self, entries: usize, cancel: &CancellationToken) -> io::Result<bool> {
        for _ in 0..entries {
            if cancel.is_cancelled() {
                return Ok(true);
            }
            let Some(level) = self.stack.last_mut() else { return Ok(false) };
            match level.entries.read() {
                Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Some(Ok(entry)) => self.delete(&entry.file_name().to_owned()),
                Some(Err(error)) if self.stack.len() == 1 => return Err(error.into()),
                Some(Err(error)) => {
                    self.keep(None, error);
                    self.leave();
                }
                None => self.leave(),
            }
        }
        Ok(!self.stack.is_empty())
    }

    /// Deletes one entry of the innermost directory, or goes into it.
    fn delete(&mut self, name: &CString) {
        let Some(level) = self.stack.last() else { return };
        let found = match level.stat(name) {
            Ok(found) => found,
            // Somebody else deletes here as well.
            Err(Errno::NOENT) => return,
            Err(error) => return self.keep(Some(name), error),
        };
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            return match level.unlink(name, AtFlags::empty()) {
                Ok(()) => self.count(&found),
                Err(Errno::NOENT) => {}
                Err(error) => self.keep(Some(name), error),
            };
        }
        let entered = if self.stack.len() < DEPTH { self.enter(name) } else { self.lift(name) };
        match entered {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => self.keep(Some(name), error),
        }
    }

    fn enter(&mut self, name: &CString) -> Result<(), Errno> {
        let Some(level) = self.stack.last() else { return Ok(()) };
        let entered = Level::open(level.fd.as_fd(), name)?;
        self.stack.push(entered);
        Ok(())
    }

    /// Moves a directory up to where it is found anew.
    fn lift(&mut self, name: &CString) -> Result<(), Errno> {
        self.lifted = true;
        let (Some(first), Some(last)) = (self.stack.first(), self.stack.last()) else { return Ok(()) };
        let to = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        match rustix::fs::renameat(&last.fd, name, &first.fd, &to) {
            // Only who may write a directory may give it another parent.
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(&last.fd, name, Mode::RWXU, AtFlags::empty())?;
                rustix::fs::fchmod(&last.fd, Mode::RWXU)?;
                rustix::fs::renameat(&last.fd, name, &first.fd, &to)
            }
            other => other,
        }
    }

    /// The innermost directory is read to its end.
    fn leave(&mut self) {
        let Some(mut level) = self.stack.pop() else { return };
        let Some(above) = self.stack.last_mut() else {
            if std::mem::take(&mut self.lifted) {
                // What stays is found once more.
                (self.swept.kept, self.swept.left) = (0, Vec::new());
                level.entries.rewind();
                self.stack.push(level);
            }
            return;
        };
        if level.keeps {
            above.keeps = true;
            return;
        }
        let found = rustix::fs::fstat(&level.fd);
        match above.unlink(&level.name, AtFlags::REMOVEDIR) {
            Ok(()) => found.iter().for_each(|found| self.count(found)),
            Err(Errno::NOENT) => {}
            // Not all file systems show all there is while some of it is deleted.
            Err(Errno::NOTEMPTY | Errno::EXIST) if !level.again => {
                level.again = true;
                level.entries.rewind();
                self.stack.push(level);
            }
            Err(error) => {
                let name = level.name.clone();
                self.keep(Some(&name), error);
            }
        }
    }

    fn count(&mut self, found: &Stat) {
        self.swept.entries += 1;
        let is_last = FileType::from_raw_mode(found.st_mode) == FileType::Directory || found.st_nlink <= 1;
        if is_last {
            self.swept.bytes += u64::try_from(found.st_blocks).unwrap_or_default() * BLOCK;
        }
    }

    /// Notes what stays, and that so do all directories above it.
    fn keep(&mut self, name: Option<&CString>, error: Errno) {
        self.swept.kept += 1;
        if self.swept.left.len() < TOLD {
            let names = self.stack.iter().skip(1).map(|level| &level.name).chain(name);
            let names = names.map(|name| OsStr::from_bytes(name.to_bytes()));
            let path = names.fold(self.top.clone(), |path, name| path.join(name));
            self.swept.left.push(Left { path, cause: error.into() });
        }
        if let Some(level) = self.stack.last_mut() {
            level.keeps = true;
        }
    }
}

impl Level {
    fn open(above: impl AsFd, name: &CString) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&above, name, flags, Mode::empty()) {
            Err(Errno::ACCESS) => {
                // It is a directory of ours in a directory of ours.
                rustix::fs::chmodat(&above, name, Mode::RWXU, AtFlags::empty())?;
                rustix::fs::openat(&above, name, flags, Mode::empty())?
            }
            opened => opened?,
        };
        // Not opened once more: who may list a directory may not search it yet.
        let entries = Dir::new(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?)?;
        Ok(Self { fd, entries, name: name.clone(), keeps: false, again: false })
    }

    fn stat(&self, name: &CString) -> Result<Stat, Errno> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::ACCESS) => {
                rustix::fs::fchmod(&self.fd, Mode::RWXU)?;
                rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            }
            other => other,
        }
    }

    fn unlink(&self, name: &CString, flags: AtFlags) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.fd, name, flags) {
            Err(Errno::ACCESS) => {
                rustix::fs::fchmod(&self.fd, Mode::RWXU)?;
                rustix::fs::unlinkat(&self.fd, name, flags)
            }
            other => other,
        }
    }
}
