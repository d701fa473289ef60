//! Makes a directory.

use rustix::fs::{self, AtFlags, Mode};
use rustix::io::Errno;

use super::fault::{At as _, Done};
use super::tree::{Look, Root, make_all};
use crate::llb::pb::FileActionMkDir;

/// Makes a directory, and those above it if that is asked for; they all get the mode, whatever the umask. What is there
/// stays as it is, and without those above it may be anything.
pub(super) fn mkdir(root: &Root, action: &FileActionMkDir, owner: Option<(u32, u32)>) -> Done<()> {
    let (path, look) = (action.path.as_bytes(), Look::new(owner, action.timestamp));
    let mode = super::mode_bits(action.mode);
    let place = root.find(path, true).at(path)?;
    if action.make_parents {
        return make_all(&place, mode, &look).at(path).map(drop);
    }
    if place.is_within() {
        return Ok(());
    }
    let name = place.name().ok_or(Errno::NOENT).at(path)?;
    match fs::mkdirat(place.dir(), name, Mode::RWXU) {
        Err(Errno::EXIST) => return Ok(()),
        made => made.at(path)?,
    }
    look.own(place.dir(), name).at(path)?;
    fs::chmodat(place.dir(), name, Mode::from_raw_mode(mode), AtFlags::empty()).at(path)?;
    look.date(place.dir(), name).at(path)
}
