//! A file below an open directory, reached without following a link.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, StatxTimestamp,
};
use rustix::io::Errno;

/// Names and values of attributes.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What tells whether a file is still the one it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Kind and permissions, as the kernel has them.
    pub(super) mode: u32,
    pub(super) size: u64,
    /// Seconds since 1970 and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) ctime: (i64, u32),
    /// The device it is on, and its number there.
    pub(super) inode: (u32, u32, u64),
    /// How many names it has.
    pub(super) names: u32,
    /// Of a device node: which device it is.
    pub(super) device: (u32, u32),
}

impl Facts {
    fn of(found: &Statx) -> Self {
        let time = |time: StatxTimestamp| (time.tv_sec, time.tv_nsec);
        Self {
            mode: u32::from(found.stx_mode),
            size: found.stx_size,
            mtime: time(found.stx_mtime),
            ctime: time(found.stx_ctime),
            inode: (found.stx_dev_major, found.stx_dev_minor, found.stx_ino),
            names: found.stx_nlink,
            device: (found.stx_rdev_major, found.stx_rdev_minor),
        }
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Permissions, setuid, setgid and sticky bits.
    pub(super) fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

/// What an open file is.
pub(super) fn facts_of(file: impl AsFd) -> io::Result<Facts> {
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok(Facts::of(&found))
}

/// What `name` in `directory` is, not followed; nothing where there is none.
pub(super) fn facts_at(directory: impl AsFd, name: &[u8]) -> io::Result<Option<Facts>> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    match rustix::fs::statx(directory, OsStr::from_bytes(name), flags, StatxFlags::BASIC_STATS) {
        Ok(found) => Ok(Some(Facts::of(&found))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory by its path, which may be a link.
pub(super) fn open_root(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens what is at a relative path to be read; the empty one is the directory itself. No link is followed, wherever it
/// leads, and nothing is waited for.
pub(super) fn open(root: &OwnedFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = if path.is_empty() { b"." } else { path };
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), beneath) {
        // Where a filter of system calls does not know it: one step at a time.
        Err(Errno::NOSYS | Errno::PERM) => {}
        other => return Ok(other?),
    }
    let step = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(root, ".", step, Mode::empty())?;
    let mut names = path.split(|byte| *byte == b'/').peekable();
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() { step } else { flags };
        at = rustix::fs::openat(&at, OsStr::from_bytes(name), flags, Mode::empty())?;
    }
    Ok(at)
}

/// The names in an open directory, sorted, and what they are as far as the file system says so there.
pub(super) fn list(directory: &OwnedFd) -> io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push((name.to_vec(), entry.file_type()));
        }
    }
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Where a symbolic link leads.
pub(super) fn target(directory: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(directory, OsStr::from_bytes(name), Vec::new())?.into_bytes())
}

/// Attributes of an open file that are kept: those a user may set, and what it may do as a program. Sorted.
pub(super) fn xattrs(file: impl AsFd) -> io::Result<Xattrs> {
    let file = file.as_fd();
    let mut found = Vec::new();
    let names = match sized(|buffer| rustix::fs::flistxattr(file, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(found),
        names => names?,
    };
    for name in names.split(|byte| *byte == 0) {
        let counts = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
            || name == b"security.capability";
        if !counts {
            continue;
        }
        match sized(|buffer| rustix::fs::fgetxattr(file, OsStr::from_bytes(name), buffer)) {
            Ok(value) => found.push((name.to_vec(), value)),
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads what has no known length, up to the kernel's limits.
fn sized(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    for size in [1 << 8, 1 << 12, 1 << 16] {
        let mut buffer = vec![0; size];
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::RANGE)
}

/// A relative path as the system takes it.
pub(super) fn os(path: &[u8]) -> OsString {
    OsString::from_vec(path.to_vec())
}

/// The directory a relative path is in, the empty one for the root, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), path.get(slash + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}
