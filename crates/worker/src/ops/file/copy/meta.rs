//! What is said of a file: owner, extended attributes, mode and times, set in this order, since each undoes what is after it.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

use super::Copier;
use crate::ops::file::tree::Facts;

/// A file in an open directory.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
}

impl<'a> Named<'a> {
    pub(super) fn new(dir: &'a impl AsFd, name: &'a [u8]) -> Self {
        Self { dir: dir.as_fd(), name }
    }

    /// A path by which calls that take only paths reach it.
    fn path(&self) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(self.name);
        path
    }
}

impl Copier<'_> {
    /// Gives a copy all that is said of what it is a copy of, or of all copies.
    pub(super) fn dress(&self, from: Named<'_>, facts: &Facts, to: Named<'_>) -> Result<(), Errno> {
        match self.look.owner {
            Some(_) => self.look.own(to.dir, to.name)?,
            // Nobody else may give files away.
            None if self.is_privileged => {
                let (uid, gid) = facts.owner();
                let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                fs::chownat(to.dir, to.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            None => {}
        }
        self.xattrs(from, to)?;
        if facts.kind() != FileType::Symlink {
            let mode =
                self.mode.as_ref().map_or(facts.mode(), |mode| mode.apply(facts.mode(), facts.is_dir()));
            fs::chmodat(to.dir, to.name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        self.date(facts, to)
    }

    /// Gives it the time that is said of all copies, or that of what it is a copy of.
    pub(super) fn date(&self, facts: &Facts, to: Named<'_>) -> Result<(), Errno> {
        let times = self.look.times().unwrap_or_else(|| facts.times());
        fs::utimensat(to.dir, to.name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn xattrs(&self, from: Named<'_>, to: Named<'_>) -> Result<(), Errno> {
        let source = from.path();
        // Nearly no file has any.
        let listed = match read(|buffer| fs::llistxattr(source.as_slice(), buffer)) {
            Err(Errno::OPNOTSUPP) => return Ok(()),
            listed => listed?,
        };
        let names = listed.split(|byte| *byte == 0).filter(|name| is_of_image(name));
        for name in names.filter(|name| self.is_privileged || name.starts_with(b"user.")) {
            let value = match read(|buffer| fs::lgetxattr(source.as_slice(), name, buffer)) {
                Err(Errno::NODATA) => continue,
                value => value?,
            };
            match fs::lsetxattr(to.path().as_slice(), name, &value, XattrFlags::empty()) {
                // Not for this kind of file, or not here.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether an attribute is a part of what a file is in an image: not what steers overlayfs, nor what the machine or this
/// program says of a file on its disk.
fn is_of_image(name: &[u8]) -> bool {
    !name.is_empty()
        && ![b"trusted.overlay.".as_slice(), b"user.overlay.", b"user.lazyblob."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        && !matches!(name, b"security.selinux" | b"system.nfs4_acl")
}

/// Reads with a buffer that is large enough.
fn read(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 8, 0),
            Err(error) => return Err(error),
        }
    }
}
