//! Extended attributes of one file, copied to another.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

use super::file::{Facts, facts, proc_path};
use crate::layer::xattr::{MODE, is_of_image, is_refused, mode_of, note_mode, stored_mode};

/// Names and values.
pub(crate) type Found = Vec<(Vec<u8>, Vec<u8>)>;

/// By which overlayfs knows a directory that hides what is below it.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
/// An empty one makes overlayfs look for whiteouts in a directory that nothing is below of; else it lists them.
pub(crate) const ORIGIN: &str = "trusted.overlay.origin";

/// Names and values of those that are an image's, sorted.
pub(crate) fn all(dir: &OwnedFd, name: &OsStr) -> io::Result<Found> {
    let path = proc_path(dir, name);
    of_image(&path, &listed(&path)?)
}

/// The mode an image gives a file, and its extended attributes, with one call where it has none.
pub(crate) fn with_mode(from: (&OwnedFd, &OsStr), facts: &Facts) -> io::Result<(u32, Found)> {
    let path = proc_path(from.0, from.1);
    let listed = listed(&path)?;
    let is_noted = listed.split(|byte| *byte == 0).any(|name| name == MODE.as_bytes());
    let mode = if is_noted { mode(from, facts)? } else { facts.mode() };
    Ok((mode, of_image(&path, &listed)?))
}

/// All names, each with a NUL behind it.
fn listed(path: &Path) -> io::Result<Vec<u8>> {
    match read(|buffer| llistxattr(path, buffer)) {
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        other => Ok(other?),
    }
}

fn of_image(path: &Path, listed: &[u8]) -> io::Result<Found> {
    let mut found = Found::new();
    for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if !is_of_image(name) {
            continue;
        }
        match read(|buffer| lgetxattr(path, OsStr::from_bytes(name), buffer)) {
            Ok(value) => found.push((name.to_vec(), value)),
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// Copies them. Returns how many were left out: without `privileged`, those that only a privileged process may set, and
/// what is refused, by the rule for applying layers.
pub(crate) fn copy(from: (&OwnedFd, &OsStr), to: &Path, privileged: bool) -> io::Result<u64> {
    let mut skipped = 0;
    for (name, value) in all(from.0, from.1)? {
        if !privileged && !name.starts_with(b"user.") {
            skipped += 1;
            continue;
        }
        match lsetxattr(to, OsStr::from_bytes(&name), &value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(error) if is_refused(error) => skipped += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(skipped)
}

/// The mode an image gives a file.
pub(crate) fn mode(from: (&OwnedFd, &OsStr), facts: &Facts) -> io::Result<u32> {
    if !matches!(facts.kind(), FileType::RegularFile | FileType::Directory) {
        return Ok(facts.mode());
    }
    let path = proc_path(from.0, from.1);
    Ok(mode_of(facts.mode(), facts.is_dir(), |name, value| lgetxattr(&path, name, value))?)
}

/// Makes a file or directory of a plain snapshot one that its owner can read, and notes the mode it had. Where the file
/// system keeps no such notes it is forgotten.
pub(crate) fn keep_readable(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let Some(facts) = facts(dir, name)? else { return Ok(()) };
    let (mode, is_dir) = (facts.mode(), facts.is_dir());
    let stored = stored_mode(mode, is_dir);
    if stored == mode || !(is_dir || facts.kind() == FileType::RegularFile) {
        return Ok(());
    }
    let set = |mode: u32| rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty());
    // Who may not write a file may not note anything of it.
    set(stored | 0o200)?;
    let path = proc_path(dir, name);
    note_mode(mode, |name, value, how| lsetxattr(&path, name, value, how))?;
    Ok(set(stored)?)
}

/// Whether overlayfs takes the directory for opaque.
pub(crate) fn is_opaque(dir: &OwnedFd) -> io::Result<bool> {
    let mut value = [0; 1];
    match rustix::fs::fgetxattr(dir, OPAQUE, &mut value) {
        Ok(length) => Ok(length == 1 && value == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sets one on an open directory.
pub(crate) fn set(dir: &OwnedFd, name: &str, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(dir, name, value, XattrFlags::empty())?)
}

/// Reads what has no known length.
fn read(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    // The kernel's limits: XATTR_SIZE_MAX, XATTR_LIST_MAX.
    for size in [256, 4096, 65536] {
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
