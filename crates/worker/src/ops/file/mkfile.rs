//! Makes a file.

use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::fault::{At as _, Done};
use super::tree::{Facts, Look, Root};
use crate::llb::pb::FileActionMkFile;

const CREATE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes a file with this in it, in place of whatever is there but a directory: what is there is never opened, so that
/// nothing is written into a device or into another name of the same file.
pub(super) fn mkfile(root: &Root, action: &FileActionMkFile, owner: Option<(u32, u32)>) -> Done<()> {
    let (path, look) = (action.path.as_bytes(), Look::new(owner, action.timestamp));
    let place = root.find(path, true).at(path)?;
    if place.is_within() {
        return Err(Errno::ISDIR).at(path);
    }
    let name = place.name().ok_or(Errno::NOENT).at(path)?;
    let create = || fs::openat(place.dir(), name, CREATE, Mode::RUSR | Mode::WUSR);
    let file = match create() {
        Err(Errno::EXIST) => {
            if Facts::of(place.dir(), name).at(path)?.is_dir() {
                return Err(Errno::ISDIR).at(path);
            }
            fs::unlinkat(place.dir(), name, AtFlags::empty()).at(path)?;
            create().at(path)?
        }
        created => created.at(path)?,
    };
    write(&file, &action.data).at(path)?;
    finish(&file, super::mode_bits(action.mode), &look).at(path)
}

fn write(file: &OwnedFd, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match rustix::io::write(file, data) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => data = data.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn finish(file: &OwnedFd, mode: u32, look: &Look) -> Result<(), Errno> {
    if let Some((uid, gid)) = look.owner {
        fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    fs::fchmod(file, Mode::from_raw_mode(mode))?;
    look.times().map_or(Ok(()), |times| fs::futimens(file, &times))
}
