//! Directories, with all that are above them.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::root::{Place, SEARCH};

/// What is said of all that an action makes.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::ops::file) struct Look {
    /// User and group; the caller's where nothing is said.
    pub(in crate::ops::file) owner: Option<(u32, u32)>,
    /// Of the last change; now where nothing is said.
    pub(in crate::ops::file) time: Option<Timespec>,
}

impl Look {
    /// With the time an action says, in nanoseconds since 1970; -1 says nothing.
    pub(in crate::ops::file) fn new(owner: Option<(u32, u32)>, timestamp: i64) -> Self {
        // As Go divides: to zero. Nanoseconds are positive to the kernel.
        let time = (timestamp != -1).then(|| Timespec {
            tv_sec: timestamp.div_euclid(1_000_000_000),
            tv_nsec: timestamp.rem_euclid(1_000_000_000),
        });
        Self { owner, time }
    }

    /// Gives a name in a directory its owner. Links are not followed.
    pub(in crate::ops::file) fn own(&self, dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Gives a name in a directory its time. Links are not followed.
    pub(in crate::ops::file) fn date(&self, dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
        match self.times() {
            Some(times) => fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW),
            None => Ok(()),
        }
    }

    pub(in crate::ops::file) fn times(&self) -> Option<Timestamps> {
        self.time.map(|time| Timestamps { last_access: time, last_modification: time })
    }
}

/// Makes what is missing of a directory and gives it, open to find something in it. `NOTDIR` where something else is.
pub(in crate::ops::file) fn make_all(place: &Place<'_>, mode: u32, look: &Look) -> Result<OwnedFd, Errno> {
    let mut at = fs::openat(place.dir(), ".", SEARCH, Mode::empty())?;
    let mut is_new = false;
    for name in place.rest() {
        let was_new = is_new;
        is_new = match fs::mkdirat(&at, name.as_slice(), Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error),
        };
        let next = fs::openat(&at, name.as_slice(), SEARCH, Mode::empty())?;
        if is_new {
            look.own(&at, name)?;
            fs::chmodat(&at, name.as_slice(), Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        // Only now: what is made in a directory changes its time.
        if was_new {
            look.date(&at, b".")?;
        }
        at = next;
    }
    if is_new {
        look.date(&at, b".")?;
    }
    Ok(at)
}
