//! A name removed with all below it, however deep that is.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::climb::{KEPT, LIST, up};
use super::facts::{Facts, Id};
use super::list;
use crate::ops::file::fault::{At as _, Done, Fault};

/// A directory that is being emptied.
struct Open {
    /// Its name in the one above.
    name: Vec<u8>,
    dir: Option<OwnedFd>,
    id: Id,
    /// What is left in it.
    left: Vec<Vec<u8>>,
}

/// Removes what is called `name` in a directory. Says whether there was anything. `path` is what it is called in errors.
pub(in crate::ops::file) fn remove(
    dir: impl AsFd,
    name: &[u8],
    path: &[u8],
    cancel: &CancellationToken,
) -> Done<bool> {
    match fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) => return Ok(true),
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error).at(path),
    }
    let mut way = vec![Open::new(&dir, name).at(path)?];
    while let Some(open) = way.last_mut() {
        if cancel.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        let Some(next) = open.left.pop() else {
            close(&dir, &mut way).at(path)?;
            continue;
        };
        let at = open.dir.as_ref().ok_or(Errno::BADF).at(path)?;
        match fs::unlinkat(at, next.as_slice(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                let below = Open::new(at, &next).at(path)?;
                way.push(below);
                if let Some(far) = way.len().checked_sub(KEPT + 1).and_then(|far| way.get_mut(far)) {
                    far.dir = None;
                }
            }
            Err(error) => return Err(error).at(path),
        }
    }
    Ok(true)
}

impl Open {
    fn new(parent: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        let dir = fs::openat(parent, name, LIST, Mode::empty())?;
        let (id, left) = (Facts::open(&dir)?.id(), list(&dir)?);
        Ok(Self { name: name.to_vec(), dir: Some(dir), id, left })
    }
}

/// Removes the last directory of the way, which is empty, from the one above.
fn close(root: &impl AsFd, way: &mut Vec<Open>) -> Result<(), Errno> {
    let Some(empty) = way.pop() else { return Ok(()) };
    let Some(above) = way.last_mut() else {
        return fs::unlinkat(root, empty.name.as_slice(), AtFlags::REMOVEDIR);
    };
    let parent = match (above.dir.take(), &empty.dir) {
        (Some(parent), _) => parent,
        (None, Some(empty)) => up(empty, above.id)?,
        (None, None) => return Err(Errno::BADF),
    };
    fs::unlinkat(&parent, empty.name.as_slice(), AtFlags::REMOVEDIR)?;
    above.dir = Some(parent);
    Ok(())
}
