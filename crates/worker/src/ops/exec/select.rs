//! A path within a tree that somebody else has filled.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::llb::paths;

/// Finds what a mount shows of the tree at `root`, which nobody changes meanwhile: as [`open`]. What is returned has no link
/// in it. Blocking.
///
/// # Errors
/// Those of [`open`].
pub(super) fn within(root: &Path, selector: &str, dest: &str) -> Result<PathBuf> {
    if is_whole(selector) {
        return Ok(root.to_owned());
    }
    let found = open(root, selector, dest)?;
    std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
        .map_err(|error| Error::io("select", root, error))
}

/// Whether it is not part of a tree but all of it.
pub(super) fn is_whole(selector: &str) -> bool {
    paths::rooted(selector) == "/"
}

/// Finds what a mount shows of the tree at `root`: links mean what they mean to somebody whose `/` is that root, so that
/// none leads out of it, not even one that somebody makes at this moment. Blocking.
///
/// # Errors
/// [`Error::Failed`] where there is no such path, naming it and where it was to be shown; [`Error::Io`].
pub(super) fn open(root: &Path, selector: &str, dest: &str) -> Result<OwnedFd> {
    let selector = paths::rooted(selector);
    let missing = |reason: &str| {
        let reason = format!("{reason}, to be mounted at {dest}");
        Error::failed("select", &selector, reason)
    };
    match open_in(root, &selector) {
        Ok(found) => Ok(found),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(missing("the tree has no such path")),
        Err(Errno::LOOP) => Err(missing("links lead in a circle")),
        Err(error) => Err(Error::io("select", &root.join(selector.trim_start_matches('/')), error.into())),
    }
}

fn open_in(root: &Path, selector: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&root, selector, flags, Mode::empty(), resolve) {
            // Something was renamed meanwhile on the way up.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_within_and_what_is_missing_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let outside = fs::canonicalize(temp.path()).unwrap();
        let root = outside.join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("secret"), "inside").unwrap();
        fs::write(outside.join("secret"), "outside").unwrap();
        symlink("/secret", root.join("absolute")).unwrap();
        symlink("../../../secret", root.join("a/up")).unwrap();
        symlink("round", root.join("round")).unwrap();
        assert_eq!(within(&root, "", "/d").unwrap(), root);
        assert_eq!(within(&root, "a/./b/", "/d").unwrap(), root.join("a/b"));
        for link in ["absolute", "a/up", "/../../secret"] {
            assert_eq!(within(&root, link, "/d").unwrap(), root.join("secret"), "{link}");
        }
        for (path, reason) in [("a/none", "/a/none"), ("secret/x", "/secret/x"), ("round", "circle")] {
            let error = within(&root, path, "/d").unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("/d"), "{error}");
        }
    }
}
