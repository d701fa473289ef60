//! Removes.

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::fault::{At as _, Done, Fault};
use super::tree::{Root, remove};
use super::wildcard;
use crate::llb::paths;
use crate::llb::pb::FileActionRm;

/// Removes what is at a path, or at all that a pattern finds, with all below. A link at the end is removed itself.
pub(super) fn rm(root: &Root, action: &FileActionRm, cancel: &CancellationToken) -> Done<()> {
    let path = paths::rooted(&action.path).into_bytes();
    if !action.allow_wildcard || !wildcard::is_one(&path) {
        return one(root, &path, action.allow_not_found, cancel);
    }
    // A pattern that finds nothing has nothing removed, whether that is allowed or not.
    for found in wildcard::expand(root, &path, false)? {
        one(root, &found, action.allow_not_found, cancel)?;
    }
    Ok(())
}

fn one(root: &Root, path: &[u8], may_be_absent: bool, cancel: &CancellationToken) -> Done<()> {
    let place = match root.find(path, false) {
        Err(Errno::NOENT | Errno::NOTDIR) if may_be_absent => return Ok(()),
        found => found.at(path)?,
    };
    if place.is_within() {
        return Err(Fault::wrong(path, "the root itself cannot be removed"));
    }
    let was_there = match place.name() {
        Some(name) => remove(place.dir(), name, path, cancel)?,
        None => false,
    };
    if was_there || may_be_absent { Ok(()) } else { Err(Errno::NOENT).at(path) }
}
