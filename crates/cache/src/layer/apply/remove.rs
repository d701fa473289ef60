//! Removing what is in the way.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::layer::Usage;

/// How a directory is opened to be listed.
pub(super) const LIST: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes a file of any kind, and all in it; gives what that frees but for directories, which are counted at the end,
/// when it is known which there are. Links are removed, not followed.
pub(super) fn remove(at: impl AsFd, name: &[u8], opens_up: bool) -> Result<Usage, Errno> {
    let mut freed = Usage::default();
    if unlink(at.as_fd(), name, &mut freed)? {
        return Ok(freed);
    }
    // The way down: names in the directory above, what is still in it.
    let mut way = vec![Level::open(at.as_fd(), name, opens_up)?];
    while let Some(level) = way.last_mut() {
        if let Some(entry) = level.rest.pop() {
            if !unlink(level.dir.as_fd(), &entry, &mut freed)? {
                let below = Level::open(level.dir.as_fd(), &entry, opens_up)?;
                way.push(below);
            }
            continue;
        }
        let Some(Level { name, .. }) = way.pop() else { break };
        let above = way.last().map_or(at.as_fd(), |level| level.dir.as_fd());
        fs::unlinkat(above, name.as_slice(), AtFlags::REMOVEDIR)?;
    }
    Ok(freed)
}

/// A directory on the way down.
struct Level {
    dir: OwnedFd,
    name: Vec<u8>,
    rest: Vec<Vec<u8>>,
}

impl Level {
    fn open(at: impl AsFd, name: &[u8], opens_up: bool) -> Result<Self, Errno> {
        let dir = list(at, name, opens_up)?;
        let rest = names(&dir)?;
        Ok(Self { dir, name: name.to_vec(), rest })
    }
}

/// The names in a directory.
pub(super) fn names(dir: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Opens a directory to list it.
pub(super) fn list(at: impl AsFd, name: &[u8], opens_up: bool) -> Result<OwnedFd, Errno> {
    if opens_up {
        let mode = fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o7777;
        if mode & 0o700 != 0o700 {
            fs::chmodat(&at, name, Mode::from_raw_mode(mode | 0o700), AtFlags::empty())?;
        }
    }
    fs::openat(at, name, LIST, Mode::empty())
}

/// Removes what is no directory; says whether it was none.
fn unlink(at: impl AsFd, name: &[u8], freed: &mut Usage) -> Result<bool, Errno> {
    let stat = fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(false);
    }
    fs::unlinkat(at, name, AtFlags::empty())?;
    if stat.st_nlink == 1 {
        freed.count(&stat);
    }
    Ok(true)
}
