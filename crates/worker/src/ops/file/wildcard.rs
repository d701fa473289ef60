//! What a path with wildcards finds.

use std::os::fd::OwnedFd;

use lazyblob_cache::contenthash::{Glob, has_wildcards};
use rustix::fs::{self, Mode};
use rustix::io::Errno;

use super::fault::{At as _, Done, Fault};
use super::tree::{Facts, LIST, Root, SEARCH, list};

/// Whether one of the parts has wildcards.
pub(super) fn is_one(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(has_wildcards)
}

/// The paths that a path with wildcards finds, sorted as a walk would find them. What is before the first wildcard is taken
/// as it is; links there are followed, at its end only if `follow`. Behind it none is.
pub(super) fn expand(root: &Root, path: &[u8], follow: bool) -> Done<Vec<Vec<u8>>> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    let first = parts.iter().position(|part| has_wildcards(part)).unwrap_or(parts.len());
    let (fixed, patterns) = parts.split_at(first);
    let fixed = fixed.iter().fold(Vec::new(), |path, part| join(&path, part));
    let base = match root.find(&fixed, follow) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        found => found.at(&fixed)?,
    };
    if !base.facts().at(&fixed)?.is_some_and(|facts| facts.is_dir()) {
        return Ok(Vec::new());
    }
    let base = base.enter().at(&fixed)?;
    // Relative to there.
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    for (at, pattern) in patterns.iter().enumerate() {
        let glob = Glob::new(pattern).map_err(|_| Fault::wrong(path, "the pattern is not well formed"))?;
        let is_last = at + 1 == patterns.len();
        let mut next = Vec::new();
        for dir in found {
            let open = enter(&base, &dir).at(path)?;
            let names = fs::openat(&open, ".", LIST, Mode::empty()).and_then(|open| list(&open)).at(path)?;
            for name in names.into_iter().filter(|name| glob.matches(name)) {
                if is_last || Facts::of(&open, &name).at(path)?.is_dir() {
                    let whole = if dir.is_empty() { name } else { [&dir[..], b"/", &name].concat() };
                    next.push(whole);
                }
            }
        }
        found = next;
    }
    Ok(found.into_iter().map(|rest| join(&fixed, &rest)).collect())
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [dir, b"/", name].concat()
}

/// Opens a directory below another, in which there are no links.
fn enter(base: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut at = fs::openat(base, ".", SEARCH, Mode::empty())?;
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        at = fs::openat(&at, part, SEARCH, Mode::empty())?;
    }
    Ok(at)
}
