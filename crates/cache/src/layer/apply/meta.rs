//! Owner, xattrs, mode and time, in the order that keeps each: a change of owner clears setuid bits and capabilities, an
//! attribute of `user.` may need the right to write, an access list changes the mode, and all but the time itself change it.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::directories::Meta;
use super::{Applier, Place, as_path};
use crate::error::Result;
use crate::layer::tarball::{Entry, Xattr};
use crate::layer::{Form, xattr};

const SPECIAL: u32 = 0o6000;

/// What metadata are set of.
pub(super) enum Target<'a> {
    /// A file or directory that is open.
    Open(BorrowedFd<'a>),
    /// What cannot be opened, or had better not.
    Named { at: &'a Place, is_link: bool },
}

impl From<Entry> for Meta {
    fn from(entry: Entry) -> Self {
        let Entry { mode, uid, gid, mtime, xattrs, .. } = entry;
        Self { mode, uid, gid, mtime, xattrs }
    }
}

impl Applier<'_> {
    /// Sets all metadata of a file that has just been made.
    pub(super) fn set_meta(&mut self, target: &Target<'_>, meta: &Meta, place: &Place) -> Result<()> {
        let mut mode = meta.mode;
        let is_link = matches!(target, Target::Named { is_link: true, .. });
        if mode & SPECIAL != 0 && !self.options.setuid && !is_link {
            mode &= !SPECIAL;
            self.skipped.setuid += 1;
        }
        self.set_all(target, meta, mode, &place.path)
    }

    /// Sets all metadata, with this mode.
    pub(super) fn set_all(&mut self, target: &Target<'_>, meta: &Meta, mode: u32, path: &[u8]) -> Result<()> {
        if self.options.owners {
            let (uid, gid) = self.options.owner.unwrap_or((meta.uid, meta.gid));
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            let set = match target {
                Target::Open(fd) => fs::fchown(fd, uid, gid),
                Target::Named { at, .. } => {
                    fs::chownat(&at.parent.fd, at.last.as_slice(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                }
            };
            set.map_err(|error| self.io(path, error))?;
        }
        self.set_xattrs(target, meta, path, false)?;
        let set = match target {
            Target::Open(fd) => {
                let mode = self.stored_mode(*fd, mode).map_err(|error| self.io(path, error))?;
                fs::fchmod(fd, Mode::from_raw_mode(mode))
            }
            Target::Named { is_link: true, .. } => Ok(()),
            Target::Named { at, .. } => {
                let name = at.last.as_slice();
                fs::chmodat(&at.parent.fd, name, Mode::from_raw_mode(mode), AtFlags::empty())
            }
        };
        set.map_err(|error| self.io(path, error))?;
        self.set_xattrs(target, meta, path, true)?;
        self.set_time(target, meta.mtime, path)
    }

    /// The mode a file or directory gets here: one with which its owner can read it, in a plain snapshot.
    fn stored_mode(&mut self, fd: BorrowedFd<'_>, mode: u32) -> std::result::Result<u32, Errno> {
        if self.options.form != Form::Plain || mode & 0o500 == 0o500 {
            return Ok(mode);
        }
        let is_dir = FileType::from_raw_mode(fs::fstat(fd)?.st_mode) == FileType::Directory;
        let stored = xattr::stored_mode(mode, is_dir);
        let is_noted =
            stored == mode || xattr::note_mode(mode, |name, value, how| fs::fsetxattr(fd, name, value, how))?;
        self.skipped.xattrs += u64::from(!is_noted);
        Ok(stored)
    }

    pub(super) fn set_time(&self, target: &Target<'_>, mtime: Timespec, path: &[u8]) -> Result<()> {
        let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: omitted, last_modification: mtime };
        let set = match target {
            Target::Open(fd) => fs::futimens(fd, &times),
            Target::Named { at, .. } => {
                let name = at.last.as_slice();
                fs::utimensat(&at.parent.fd, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        set.map_err(|error| self.io(path, error))
    }

    /// Sets access lists, or all the others.
    fn set_xattrs(&mut self, target: &Target<'_>, meta: &Meta, path: &[u8], lists: bool) -> Result<()> {
        for Xattr { name, value } in &meta.xattrs {
            if name.starts_with(b"system.posix_acl_") != lists {
                continue;
            }
            if !self.takes_xattr(name) {
                self.skipped.xattrs += 1;
                continue;
            }
            let set = match target {
                Target::Open(fd) => fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()),
                Target::Named { at, .. } => {
                    // There is no call for a name in an open directory, and this way only the last part is looked up.
                    let dir = format!("/proc/self/fd/{}", at.parent.fd.as_raw_fd());
                    let file = std::path::Path::new(&dir).join(as_path(&at.last));
                    fs::lsetxattr(file.as_os_str().as_bytes(), name.as_slice(), value, XattrFlags::empty())
                }
            };
            match set {
                Ok(()) => {}
                Err(error) if xattr::is_refused(error) => self.skipped.xattrs += 1,
                Err(Errno::RANGE | Errno::TOOBIG | Errno::INVAL) => {
                    let reason = format!("its xattr {} cannot be set", name.escape_ascii());
                    return Err(self.invalid(path, &reason));
                }
                Err(error) => return Err(self.io(path, error)),
            }
        }
        Ok(())
    }

    /// Removes the xattrs of a directory that gets those of a new entry.
    pub(super) fn clear_xattrs(&self, dir: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let mut list = vec![0; 64 << 10];
        let length = match fs::flistxattr(dir, &mut list) {
            Err(Errno::NOTSUP) => return Ok(()),
            length => length.map_err(|error| self.io(path, error))?,
        };
        let names = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
        for name in names.filter(|name| !name.is_empty() && self.takes_xattr(name)) {
            // What a process may not remove was not set by one like it.
            match fs::fremovexattr(dir, name) {
                Ok(()) | Err(Errno::NODATA | Errno::PERM | Errno::NOTSUP) => {}
                Err(error) => return Err(self.io(path, error)),
            }
        }
        Ok(())
    }

    fn takes_xattr(&self, name: &[u8]) -> bool {
        xattr::is_of_image(name) && (self.options.xattrs || name.starts_with(b"user."))
    }
}
