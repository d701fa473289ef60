//! Where a tree is made, and how it gets its name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use lazyblob_remote::digest;
use rustix::fs::{FlockOperation, Mode, OFlags};
use tokio_util::sync::CancellationToken;

use super::{Extracted, count};
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer::Skipped;
use crate::root::delete;
use crate::snapshot::places::{nonce, private_directory, sync_directory};

const OPERATION: &str = "extract to";
/// Between the name of the directory and the nonce.
const MARK: &str = ".lazyblob-";
/// Longer names are told by their digest: with what is put around it a name has 255 bytes at most.
const LONGEST: usize = 200;
/// What of a directory's mode lets its owner give it another parent.
const OWNER_WRITES: u32 = 0o200;

/// A private directory beside the one that is to be.
#[derive(Debug)]
pub(super) struct Staging {
    /// The directory that is to be; its parent has no links in its path.
    target: PathBuf,
    path: PathBuf,
    /// `path`, flocked. Opened before anything is written there, so that it hears of what did not reach the disk.
    held: File,
}

impl Staging {
    /// Looks whether a tree may be put to `dir`, takes away what killed processes left beside it, and makes a place for
    /// the tree. Blocking.
    pub(super) fn begin(dir: &Path) -> Result<Self> {
        let (parent, name) = split(dir)?;
        let target = parent.join(&name);
        check(&target)?;
        let prefix = prefix(&name);
        clear(&parent, &prefix).during(OPERATION, target.display(), &parent)?;
        let (path, held) = make(&parent, &prefix).during(OPERATION, target.display(), &parent)?;
        let staging = Self { target, path, held };
        match make_tree(&staging.tree(), &staging.target) {
            Ok(()) => Ok(staging),
            Err(error) => {
                staging.discard();
                Err(error)
            }
        }
    }

    /// The directory that takes the tree.
    pub(super) fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }

    /// What throws away all that is in the tree, to begin again. Blocking.
    pub(super) fn renewal(&self) -> impl FnOnce() -> Result<()> + Send + use<> {
        let (tree, target) = (self.tree(), self.target.clone());
        move || {
            delete(&tree).during(OPERATION, target.display(), &tree)?;
            make_tree(&tree, &target)
        }
    }

    /// Makes all that is on the file system of the place durable. Blocking.
    pub(super) fn sync(&self) -> Result<()> {
        let synced = rustix::fs::syncfs(&self.held).map_err(io::Error::from);
        synced.during(OPERATION, self.target.display(), &self.path)
    }

    /// Makes the tree durable and gives it its name. Blocking. After an error nothing is left of it, but for one of the
    /// very last step, which makes the name durable.
    pub(super) fn finish(self, skipped: Skipped, cancel: &CancellationToken) -> Result<Extracted> {
        match self.place(cancel) {
            Ok(counted) => {
                let parent = self.target.parent().unwrap_or(Path::new("/")).to_owned();
                self.discard();
                sync_directory(&parent, OPERATION)?;
                Ok(Extracted { skipped, ..counted })
            }
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    fn place(&self, cancel: &CancellationToken) -> Result<Extracted> {
        let (tree, target) = (self.tree(), &self.target);
        let counted = count::count(&tree).during(OPERATION, target.display(), &tree)?;
        self.sync()?;
        // From here on it is done.
        if cancel.is_cancelled() {
            return Err(Error::Cancelled { what: What::new(OPERATION, target.display()) });
        }
        rename(&tree, target).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                refused(target, "somebody else has put something there meanwhile")
            }
            io::ErrorKind::NotADirectory => refused(target, "it is not a directory any more"),
            io::ErrorKind::ResourceBusy => refused(target, "something is mounted there"),
            _ => Error::Io {
                what: What::new(OPERATION, target.display()),
                path: target.clone(),
                source: error,
            },
        })?;
        Ok(counted)
    }

    /// Takes away the place and all that is in it. Blocking.
    pub(super) fn discard(self) {
        if let Err(error) = delete(&self.path) {
            // The next one who extracts to this place finds it.
            tracing::warn!(%error, path = %self.path.display(), "a part of a tree stays behind");
        }
    }
}

fn make_tree(tree: &Path, target: &Path) -> Result<()> {
    let make = || {
        fs::create_dir(tree)?;
        fs::set_permissions(tree, fs::Permissions::from_mode(0o755))
    };
    make().during(OPERATION, target.display(), tree)
}

/// Only who may write a directory may give it another parent: one that nobody may write is made so for that moment.
pub(super) fn rename(tree: &Path, target: &Path) -> io::Result<()> {
    // Nothing else is opened: a pipe would wait for somebody to write.
    let directory = || -> io::Result<File> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::open(tree, flags, Mode::empty())?.into())
    };
    let open = directory();
    match fs::rename(tree, target) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let found = fs::symlink_metadata(tree)?;
            let mode = found.mode();
            if mode & OWNER_WRITES != 0 || !found.is_dir() {
                return Err(error);
            }
            // One that nobody may read is opened after that.
            fs::set_permissions(tree, fs::Permissions::from_mode(0o700))?;
            let open = open.or_else(|_| directory())?;
            let renamed = fs::rename(tree, target);
            open.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
            renamed?;
            open.sync_all()
        }
        other => other,
    }
}

/// The directory that `dir` is in, without links, and its name there.
fn split(dir: &Path) -> Result<(PathBuf, OsString)> {
    let Some(name) = dir.file_name() else {
        return Err(refused(dir, "it has no name of its own: it would be replaced, so call it by its name"));
    };
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let whole = fs::canonicalize(parent).during(OPERATION, dir.display(), parent)?;
    Ok((whole, name.to_owned()))
}

/// Whether there is nothing at `target`, or an empty directory.
fn check(target: &Path) -> Result<()> {
    let found = match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.during(OPERATION, target.display(), target)?,
    };
    if found.is_symlink() {
        return Err(refused(target, "it is a link: name the directory it leads to"));
    }
    if !found.is_dir() {
        return Err(refused(target, "it is not a directory"));
    }
    if let Some(entry) = fs::read_dir(target).during(OPERATION, target.display(), target)?.next() {
        let name = entry.during(OPERATION, target.display(), target)?.file_name();
        let reason = format!("there is something in it ({})", name.to_string_lossy().escape_debug());
        return Err(refused(target, &reason));
    }
    if fs::metadata(".").is_ok_and(|here| (here.dev(), here.ino()) == (found.dev(), found.ino())) {
        return Err(refused(
            target,
            "it is the working directory, and would be replaced: name it from outside",
        ));
    }
    Ok(())
}

fn refused(target: &Path, reason: &str) -> Error {
    Error::refused(OPERATION, target.display(), reason)
}

/// What the places of trees to be called `name` begin with.
fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    if name.len() <= LONGEST {
        prefix.push(name);
    } else {
        prefix.push(digest::sha256(name.as_bytes()).digest());
    }
    prefix.push(MARK);
    prefix
}

/// Makes a place and holds it. Who clears up at that moment may take it for a dead process's.
fn make(parent: &Path, prefix: &OsStr) -> io::Result<(PathBuf, File)> {
    loop {
        let mut name = prefix.to_owned();
        name.push(nonce());
        let path = parent.join(name);
        private_directory(&path)?;
        let held = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        match rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
            // A file system without locks: then nobody gets one, and nothing is cleared.
            Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOLCK) => {}
            Err(_) => continue,
        }
        if fs::symlink_metadata(&path)
            .is_ok_and(|found| held.metadata().is_ok_and(|ours| ours.ino() == found.ino()))
        {
            return Ok((path, held));
        }
    }
}

/// Deletes places that nobody holds.
fn clear(parent: &Path, prefix: &OsStr) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if !is_place(&entry.file_name(), prefix) || !entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path();
        let Ok(place) = File::open(&path) else { continue };
        if rustix::fs::flock(&place, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        match delete(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "what a killed extraction left is gone"),
            // Another user's, or somebody else clears here as well.
            Err(error) => tracing::debug!(%error, path = %path.display(), "it stays"),
        }
    }
    Ok(())
}

fn is_place(name: &OsStr, prefix: &OsStr) -> bool {
    let nonce = name.as_bytes().strip_prefix(prefix.as_bytes());
    nonce.is_some_and(|nonce| nonce.len() == 16 && nonce.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_moved_without_waiting_for_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("pipe"), dir.path().join("moved"));
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &from, kind, Mode::RUSR | Mode::WUSR, 0).unwrap();
        rename(&from, &to).unwrap();
        assert!(!from.exists() && to.exists());
    }

    #[test]
    fn a_place_is_known_by_its_name() {
        let own = prefix(OsStr::new("tree"));
        let name = |text: &str| OsString::from(text);
        assert!(is_place(&name(".tree.lazyblob-0123456789abcdef"), &own));
        for other in [
            ".tree2.lazyblob-0123456789abcdef",
            ".tree.lazyblob-0123456789abcde",
            ".tree.lazyblob-0123456789abcdeg",
            "tree.lazyblob-0123456789abcdef",
            ".tree.lazyblob-0123456789abcdef.old",
        ] {
            assert!(!is_place(&name(other), &own), "{other}");
        }
    }

    #[test]
    fn the_longest_name_has_a_place() {
        let name = OsString::from("n".repeat(255));
        assert!(prefix(&name).len() + nonce().len() <= 255);
        assert_ne!(prefix(&name), prefix(OsStr::new(&"n".repeat(254))));
    }
}
