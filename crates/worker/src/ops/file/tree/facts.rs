//! What a file is.

use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags, FileType, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps};
use rustix::io::Errno;

/// What a file is, by one call.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops::file) struct Facts(Statx);

/// Tells files of all file systems apart.
pub(in crate::ops::file) type Id = (u32, u32, u64);

impl Facts {
    /// Of what is called `name` in a directory, links not followed.
    pub(in crate::ops::file) fn of(dir: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).map(Self)
    }

    /// The same; nothing where nothing is.
    pub(in crate::ops::file) fn find(dir: impl AsFd, name: &[u8]) -> Result<Option<Self>, Errno> {
        match Self::of(dir, name) {
            Err(Errno::NOENT) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Of an open file.
    pub(in crate::ops::file) fn open(file: impl AsFd) -> Result<Self, Errno> {
        fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(Self)
    }

    pub(in crate::ops::file) fn kind(&self) -> FileType {
        FileType::from_raw_mode(u32::from(self.0.stx_mode))
    }

    pub(in crate::ops::file) fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Permissions, setuid, setgid and sticky bits.
    pub(in crate::ops::file) fn mode(&self) -> u32 {
        u32::from(self.0.stx_mode) & 0o7777
    }

    pub(in crate::ops::file) fn owner(&self) -> (u32, u32) {
        (self.0.stx_uid, self.0.stx_gid)
    }

    pub(in crate::ops::file) fn size(&self) -> u64 {
        self.0.stx_size
    }

    /// Whether fewer bytes are stored than it has.
    pub(in crate::ops::file) fn has_holes(&self) -> bool {
        self.0.stx_blocks.saturating_mul(512) < self.0.stx_size
    }

    /// How many names it has.
    pub(in crate::ops::file) fn names(&self) -> u32 {
        self.0.stx_nlink
    }

    pub(in crate::ops::file) fn id(&self) -> Id {
        (self.0.stx_dev_major, self.0.stx_dev_minor, self.0.stx_ino)
    }

    /// Major and minor of a device.
    pub(in crate::ops::file) fn device(&self) -> (u32, u32) {
        (self.0.stx_rdev_major, self.0.stx_rdev_minor)
    }

    pub(in crate::ops::file) fn times(&self) -> Timestamps {
        Timestamps { last_access: timespec(self.0.stx_atime), last_modification: timespec(self.0.stx_mtime) }
    }
}

fn timespec(time: StatxTimestamp) -> Timespec {
    Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec.into() }
}
