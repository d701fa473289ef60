//! What is in a directory.

use std::os::fd::OwnedFd;

use rustix::fs::Dir;
use rustix::io::Errno;

/// The names in a directory that is open to be listed, sorted.
pub(in crate::ops::file) fn list(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}
