//! One file copied with all an image says of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::file::{Facts, proc_path, read_link};
use super::xattrs;
use crate::layer::Skipped;

/// Between two looks at the token.
const CHUNK: u64 = 8 << 20;

/// What is taken over from snapshots to a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Owners and groups; otherwise all is the caller's.
    pub owners: bool,
    /// Device nodes; otherwise skipped and counted.
    pub devices: bool,
    /// The setuid and setgid bits of files; otherwise dropped and counted.
    pub setuid: bool,
    /// All extended attributes; otherwise those of `user.` alone, as far as the file system takes them.
    pub xattrs: bool,
}

impl Keep {
    /// Everything: what a privileged process can do.
    #[must_use]
    pub fn privileged() -> Self {
        Self { owners: true, devices: true, setuid: true, xattrs: true }
    }

    /// What a process without privileges can do.
    #[must_use]
    pub fn unprivileged() -> Self {
        Self { owners: false, devices: false, setuid: false, xattrs: false }
    }

    /// Everything where this process is root.
    #[must_use]
    pub fn as_able() -> Self {
        if rustix::process::geteuid().is_root() { Self::privileged() } else { Self::unprivileged() }
    }
}

/// A file in an open directory.
pub(crate) type At<'a> = (&'a OwnedFd, &'a OsStr);

/// Copies anything but a directory to a name that is free. Returns whether it was: a device may be skipped.
pub(crate) fn copy(
    from: At<'_>,
    facts: &Facts,
    to: At<'_>,
    keep: Keep,
    skipped: &mut Skipped,
    cancel: &CancellationToken,
) -> io::Result<bool> {
    let private = Mode::RUSR | Mode::WUSR;
    match facts.kind() {
        FileType::RegularFile => content(from, facts, to, cancel)?,
        FileType::Symlink => rustix::fs::symlinkat(read_link(from.0, from.1)?, to.0, to.1)?,
        // No privileges are needed for these two.
        kind @ (FileType::Fifo | FileType::Socket) => rustix::fs::mknodat(to.0, to.1, kind, private, 0)?,
        kind => {
            if !keep.devices {
                skipped.devices += 1;
                return Ok(false);
            }
            let (major, minor) = facts.device();
            rustix::fs::mknodat(to.0, to.1, kind, private, makedev(major, minor))?;
        }
    }
    dress(from, facts, to, keep, skipped)?;
    Ok(true)
}

/// Gives a file owner, extended attributes, mode and times of another: in this order, since each undoes what is after it.
pub(crate) fn dress(
    from: At<'_>,
    facts: &Facts,
    to: At<'_>,
    keep: Keep,
    skipped: &mut Skipped,
) -> io::Result<()> {
    if keep.owners {
        let (uid, gid) = facts.owner();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(to.0, to.1, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let path = proc_path(to.0, to.1);
    skipped.xattrs += xattrs::copy(from, &path, keep.xattrs)?;
    if facts.kind() != FileType::Symlink {
        let mut mode = xattrs::mode(from, facts)?;
        // On a directory the bit gives nobody anything.
        if !keep.setuid && mode & 0o6000 != 0 && !facts.is_dir() {
            skipped.setuid += 1;
            mode &= !0o6000;
        }
        rustix::fs::chmodat(to.0, to.1, Mode::from_raw_mode(mode), AtFlags::empty())?;
    }
    rustix::fs::utimensat(to.0, to.1, &facts.times(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Copies data and keeps holes.
fn content(from: At<'_>, facts: &Facts, to: At<'_>, cancel: &CancellationToken) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = File::from(rustix::fs::openat(from.0, from.1, OFlags::RDONLY | flags, Mode::empty())?);
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags;
    let target = File::from(rustix::fs::openat(to.0, to.1, create, Mode::RUSR | Mode::WUSR)?);
    let size = facts.size();
    if facts.allocated() >= size {
        return range(&source, &target, 0, size, cancel);
    }
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(&source, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&source, rustix::fs::SeekFrom::Hole(start))?.min(size);
        range(&source, &target, start, end, cancel)?;
        at = end.max(start + 1);
    }
    target.set_len(size)
}

/// Copies from `at` to `end`: in the kernel where it can.
fn range(
    mut source: &File,
    mut target: &File,
    mut at: u64,
    end: u64,
    cancel: &CancellationToken,
) -> io::Result<()> {
    let mut to = at;
    while at < end {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = usize::try_from((end - at).min(CHUNK)).unwrap_or(1 << 20);
        match rustix::fs::copy_file_range(source, Some(&mut at), target, Some(&mut to), length) {
            // Shorter than it was: a file that somebody else writes to.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if at == end {
        return Ok(());
    }
    source.seek(SeekFrom::Start(at))?;
    target.seek(SeekFrom::Start(at))?;
    let mut buffer = vec![0; 1 << 18];
    while at < end {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = usize::try_from((end - at).min(1 << 18)).unwrap_or(1 << 18);
        let read = source.read(buffer.get_mut(..most).unwrap_or_default())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        target.write_all(buffer.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    Ok(())
}
