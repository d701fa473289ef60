//! Extended attributes of one file, copied to another.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

use super::file::proc_path;

/// By which overlayfs knows a directory that hides what is below it.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
/// An empty one makes overlayfs look for whiteouts in a directory that nothing is below of; else it lists them.
pub(crate) const ORIGIN: &str = "trusted.overlay.origin";

/// Names and values, without those that steer overlayfs.
pub(crate) fn all(dir: &OwnedFd, name: &OsStr) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(dir, name);
    let listed = match read(|buffer| llistxattr(&path, buffer)) {
        Ok(listed) => listed,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        match read(|buffer| lgetxattr(&path, OsStr::from_bytes(name), buffer)) {
            Ok(value) => found.push((name.to_vec(), value)),
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// Copies them. Returns how many were left out: without `privileged`, those that only a privileged process may set, and
/// what the file system does not take.
pub(crate) fn copy(from: (&OwnedFd, &OsStr), to: &Path, privileged: bool) -> io::Result<u64> {
    let mut skipped = 0;
    for (name, value) in all(from.0, from.1)? {
        if !privileged && !name.starts_with(b"user.") {
            // A label is the system's, not the image's.
            skipped += u64::from(name != b"security.selinux");
            continue;
        }
        match lsetxattr(to, OsStr::from_bytes(&name), &value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::PERM) if !privileged => skipped += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(skipped)
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
