//! A file by an open directory and its name, so that no path is too long and none is followed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps,
};
use rustix::io::Errno;

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts(Statx);

impl Facts {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(u32::from(self.0.stx_mode))
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Permissions, setuid, setgid and sticky bits.
    pub(crate) fn mode(&self) -> u32 {
        u32::from(self.0.stx_mode) & 0o7777
    }

    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.0.stx_uid, self.0.stx_gid)
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.stx_size
    }

    /// Bytes of allocated blocks.
    pub(crate) fn allocated(&self) -> u64 {
        self.0.stx_blocks.saturating_mul(512)
    }

    pub(crate) fn names(&self) -> u32 {
        self.0.stx_nlink
    }

    /// Tells inodes of one file system apart.
    pub(crate) fn inode(&self) -> u64 {
        self.0.stx_ino
    }

    /// The file system it is on.
    pub(crate) fn file_system(&self) -> (u32, u32) {
        (self.0.stx_dev_major, self.0.stx_dev_minor)
    }

    pub(crate) fn device(&self) -> (u32, u32) {
        (self.0.stx_rdev_major, self.0.stx_rdev_minor)
    }

    pub(crate) fn mtime(&self) -> (i64, u32) {
        (self.0.stx_mtime.tv_sec, self.0.stx_mtime.tv_nsec)
    }

    /// As overlayfs knows a whiteout: a character device 0/0.
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind() == FileType::CharacterDevice && self.device() == (0, 0)
    }

    pub(crate) fn times(&self) -> Timestamps {
        Timestamps { last_access: timespec(self.0.stx_atime), last_modification: timespec(self.0.stx_mtime) }
    }
}

fn timespec(time: StatxTimestamp) -> Timespec {
    Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec.into() }
}

/// Opens a directory to be listed. Nothing is followed in the last component; what comes before it is known to be
/// directories.
pub(crate) fn open_dir(root: &Path, relative: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let whole = root.join(relative);
    match rustix::fs::openat(CWD, &whole, flags, Mode::empty()) {
        // Deeper than a path may be long: one step at a time.
        Err(Errno::NAMETOOLONG) => {
            let mut at = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
            for part in names(relative) {
                at = rustix::fs::openat(&at, part, flags, Mode::empty())?;
            }
            Ok(at)
        }
        other => Ok(other?),
    }
}

/// The components of a relative path.
pub(crate) fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

/// The directory a relative path is in, and its name there.
pub(crate) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

/// What `name` in `dir` is, not followed; `.` is the directory itself. Nothing where there is none.
pub(crate) fn facts(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Facts>> {
    match rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(found) => Ok(Some(Facts(found))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What an open file is.
pub(crate) fn facts_of(file: impl AsFd) -> io::Result<Facts> {
    Ok(Facts(rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
}

/// The names in a directory and what they are, as far as the file system says so there.
pub(crate) fn list(dir: &OwnedFd) -> io::Result<Vec<(OsString, FileType)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push((OsString::from_vec(name.to_vec()), entry.file_type()));
        }
    }
    Ok(found)
}

/// A path by which calls that take only paths reach `name` in an open directory.
pub(crate) fn proc_path(dir: &OwnedFd, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name)
}

/// Where a symbolic link leads.
pub(crate) fn read_link(dir: &OwnedFd, name: &OsStr) -> io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
}
