//! A tree, and where paths lead in it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::Facts;
use crate::llb::paths;

/// How a directory is opened that something is to be found in.
pub(in crate::ops::file) const SEARCH: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// As many links are followed in one path as when its digest is computed.
const MOST_LINKS: usize = 255;

/// A directory that is `/` to whatever leads through it.
#[derive(Debug)]
pub(in crate::ops::file) struct Root(OwnedFd);

/// Where a path leads: a name in a directory, a directory itself, or names that are yet to be made.
#[derive(Debug)]
pub(in crate::ops::file) struct Place<'r> {
    root: &'r Root,
    /// The root where there is none.
    dir: Option<OwnedFd>,
    /// None: it is the directory. One: it is or would be called that there. More: all but the last are missing.
    rest: Vec<Vec<u8>>,
}

impl Root {
    /// Takes a directory, whose own path may have links.
    pub(in crate::ops::file) fn open(path: &Path) -> Result<Self, Errno> {
        Ok(Self(fs::open(path, SEARCH.difference(OFlags::NOFOLLOW), Mode::empty())?))
    }

    /// Where `path` leads, `..` taken by its words first. Links on its way are followed, the last name only if `follow`;
    /// what they lead to is in this tree, whatever they say.
    pub(in crate::ops::file) fn find(&self, path: &[u8], follow: bool) -> Result<Place<'_>, Errno> {
        let mut ahead = Vec::new();
        push(&mut ahead, &clean(path));
        let (mut dir, mut depth, mut links): (Option<OwnedFd>, usize, usize) = (None, 0, 0);
        while let Some(part) = ahead.pop() {
            let at = dir.as_ref().unwrap_or(&self.0);
            if part == b".." {
                depth = depth.saturating_sub(1);
                dir = if depth == 0 { None } else { Some(fs::openat(at, "..", SEARCH, Mode::empty())?) };
                continue;
            }
            let is_last = ahead.is_empty();
            if is_last && !follow {
                return Ok(Place { root: self, dir, rest: vec![part] });
            }
            if !is_last {
                match fs::openat(at, part.as_slice(), SEARCH, Mode::empty()) {
                    Ok(next) => {
                        (dir, depth) = (Some(next), depth + 1);
                        continue;
                    }
                    Err(Errno::NOENT) => return self.missing(dir, part, ahead),
                    Err(Errno::NOTDIR | Errno::LOOP) => {}
                    Err(error) => return Err(error),
                }
            }
            match fs::readlinkat(at, part.as_slice(), Vec::new()) {
                Ok(_) if links == MOST_LINKS => return Err(Errno::LOOP),
                Ok(target) => {
                    links += 1;
                    if target.as_bytes().starts_with(b"/") {
                        (dir, depth) = (None, 0);
                    }
                    push(&mut ahead, target.as_bytes());
                }
                Err(Errno::INVAL | Errno::NOENT) if is_last => {
                    return Ok(Place { root: self, dir, rest: vec![part] });
                }
                Err(Errno::INVAL) => return Err(Errno::NOTDIR),
                Err(error) => return Err(error),
            }
        }
        Ok(Place { root: self, dir, rest: Vec::new() })
    }

    /// What would be there.
    fn missing(&self, dir: Option<OwnedFd>, first: Vec<u8>, ahead: Vec<Vec<u8>>) -> Result<Place<'_>, Errno> {
        let rest: Vec<_> = std::iter::once(first).chain(ahead.into_iter().rev()).collect();
        // Out of a directory that is not there.
        if rest.iter().any(|part| part == b"..") {
            return Err(Errno::NOENT);
        }
        Ok(Place { root: self, dir, rest })
    }
}

/// As Go's `path.Join("/", path)`: links may have any bytes, but paths of an op are text.
fn clean(path: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(path) {
        Ok(path) => paths::rooted(path).into_bytes(),
        Err(_) => path.to_vec(),
    }
}

/// Puts the parts of a path before what is ahead.
fn push(ahead: &mut Vec<Vec<u8>>, path: &[u8]) {
    let parts = path.split(|byte| *byte == b'/').rev().filter(|part| !matches!(*part, b"" | b"."));
    ahead.extend(parts.map(<[u8]>::to_vec));
}

impl Place<'_> {
    /// The directory.
    pub(in crate::ops::file) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_ref().unwrap_or(&self.root.0).as_fd()
    }

    /// The name in the directory; nothing where it is the directory itself, or where directories are missing.
    pub(in crate::ops::file) fn name(&self) -> Option<&[u8]> {
        match self.rest.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// Whether it is a directory that was gone into: the root, say.
    pub(in crate::ops::file) fn is_within(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is there; nothing where nothing is.
    pub(in crate::ops::file) fn facts(&self) -> Result<Option<Facts>, Errno> {
        match self.rest.as_slice() {
            [] => Facts::of(self.dir(), b".").map(Some),
            [name] => Facts::find(self.dir(), name),
            _ => Ok(None),
        }
    }

    /// Opens the directory that is there to find something in it.
    pub(in crate::ops::file) fn enter(&self) -> Result<OwnedFd, Errno> {
        let name = match self.rest.as_slice() {
            [] => b".".as_slice(),
            [name] => name,
            _ => return Err(Errno::NOENT),
        };
        fs::openat(self.dir(), name, SEARCH, Mode::empty())
    }

    /// The names that lead from the directory to it.
    pub(in crate::ops::file) fn rest(&self) -> &[Vec<u8>] {
        &self.rest
    }
}
