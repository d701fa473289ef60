//! Makes a symbolic link.

use rustix::fs;
use rustix::io::Errno;

use super::fault::{At as _, Done, Fault};
use super::tree::{Look, Root};
use crate::llb::pb::FileActionSymlink;

/// Makes a link to a text, where nothing is yet.
pub(super) fn symlink(root: &Root, action: &FileActionSymlink, owner: Option<(u32, u32)>) -> Done<()> {
    let (path, look) = (action.newpath.as_bytes(), Look::new(owner, action.timestamp));
    let place = root.find(path, true).at(path)?;
    if place.is_within() {
        return Err(Errno::EXIST).at(path);
    }
    let name = place.name().ok_or(Errno::NOENT).at(path)?;
    match fs::symlinkat(action.oldpath.as_bytes(), place.dir(), name) {
        Err(Errno::NOENT) if action.oldpath.is_empty() => {
            return Err(Fault::wrong(path, "a link to nothing cannot be made"));
        }
        made => made.at(path)?,
    }
    look.own(place.dir(), name).at(path)?;
    look.date(place.dir(), name).at(path)
}
