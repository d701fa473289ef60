//! Trees that are deeper than a process may have files open.
//!
//! Of the directories on the way to where work goes on only the last few are open. Those above are opened again from below,
//! and must be what they were.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::facts::{Facts, Id};

/// How many directories on a way are open.
pub(in crate::ops::file) const KEPT: usize = 16;
/// How a directory is opened to be listed.
pub(in crate::ops::file) const LIST: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory that `child` is in. One that is not the directory it was is `STALE`: somebody has moved something.
pub(in crate::ops::file) fn up(child: impl AsFd, is: Id) -> Result<OwnedFd, Errno> {
    let parent = fs::openat(child, "..", LIST, Mode::empty())?;
    if Facts::open(&parent)?.id() == is { Ok(parent) } else { Err(Errno::STALE) }
}
