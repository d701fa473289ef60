//! Mount points that are not there: made before the command runs, and gone afterwards.
//!
//! A runtime makes them as well, and leaves them, also in what is mounted: an output would have them then. Those that are made here are known, so that they, and the times of the
//! directories they are made in, can be as they were. What the command has put into one stays, with the directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fstat, futimens, mkdirat,
    openat, statat, unlinkat,
};
use rustix::io::Errno;

use super::resolve::{Covers, Place};
use super::{Root, is_absent, split};

/// What is mounted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Dir,
    File,
}

/// A directory, as it is written below a tree: that of this number of those mounted, or the root.
type At = (Option<usize>, PathBuf);

/// What was made for one command: in its root, and in what is mounted there and is nobody else's.
#[derive(Debug, Default)]
pub(in super::super) struct Stubs {
    /// In the order in which they were made, outer ones first.
    made: Vec<Stub>,
    /// The directories they are in.
    dirs: BTreeMap<At, Times>,
    covers: Covers,
}

#[derive(Debug)]
struct Stub {
    tree: Option<usize>,
    path: PathBuf,
    kind: Kind,
    /// Its device and number: it is another one if they are others.
    identity: (u64, u64),
    /// Whether it is removed; directories above a mount point need not be.
    is_temporary: bool,
}

/// When a directory was changed.
#[derive(Debug)]
struct Times {
    before: Timespec,
    /// Once everything had been made.
    after: Timespec,
}

impl Stubs {
    /// Makes sure that something can be mounted at `dest`. Directories above are temporary as well if `recursively`. If it is
    /// a `tree`, mount points are made in it as well; in anything else that is left to the runtime.
    pub(in super::super) fn add(
        &mut self,
        root: &Root,
        dest: &str,
        kind: Kind,
        recursively: bool,
        tree: Option<Root>,
    ) -> io::Result<()> {
        let (number, path, seen) = match root.resolve(Path::new(dest), &self.covers)? {
            Place::InRoot(path) => (None, path.clone(), path),
            Place::InTree { tree, path, seen } => (Some(tree), path, seen),
            Place::Covered => return Ok(()),
        };
        if seen.as_os_str().is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "that is the root itself"));
        }
        let mut missing: Vec<&Path> = Vec::new();
        for at in path.ancestors().filter(|at| !at.as_os_str().is_empty()) {
            match statat(&self.tree(root, number).dir, at, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => break,
                Err(error) if is_absent(&error.into()) => missing.push(at),
                Err(error) => return Err(error.into()),
            }
        }
        for at in missing.into_iter().rev() {
            let is_last = at == path;
            let kind = if is_last { kind } else { Kind::Dir };
            self.make(root, (number, at), kind, is_last || recursively)?;
        }
        self.covers.cover(seen, tree);
        Ok(())
    }

    /// What is mounted.
    pub(super) fn covers(&self) -> &Covers {
        &self.covers
    }

    fn tree<'a>(&'a self, root: &'a Root, number: Option<usize>) -> &'a Root {
        number.and_then(|number| self.covers.tree(number)).unwrap_or(root)
    }

    fn make(
        &mut self,
        root: &Root,
        (tree, path): (Option<usize>, &Path),
        kind: Kind,
        is_temporary: bool,
    ) -> io::Result<()> {
        let Some((parent, name)) = split(path) else { return Ok(()) };
        let dir = self.tree(root, tree).dir(parent)?;
        let before = modified(&fstat(&dir)?);
        let mode = Mode::from_raw_mode(if kind == Kind::Dir { 0o755 } else { 0o644 });
        match kind {
            Kind::Dir => mkdirat(&dir, name, mode)?,
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(openat(&dir, name, flags, mode)?);
            }
        }
        let identity = identity(&statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?);
        self.made.push(Stub { tree, path: path.to_owned(), kind, identity, is_temporary });
        let after = modified(&fstat(&dir)?);
        let times = self.dirs.entry((tree, parent.to_owned())).or_insert(Times { before, after });
        times.after = after;
        Ok(())
    }

    /// Removes what is temporary and still as it was made. All is tried; the first error is told.
    pub(in super::super) fn remove(self, root: &Root) -> io::Result<()> {
        let mut first = Ok(());
        // A directory whose entries are all as they were, and that nobody wrote to meanwhile, has not changed; another one
        // has been changed by the command, when it says.
        let mut times = BTreeMap::new();
        for (at, Times { before, after }) in &self.dirs {
            if let Ok(dir) = self.tree(root, at.0).dir(&at.1)
                && let Ok(stat) = fstat(&dir)
            {
                let now = modified(&stat);
                times.insert(at, if now == *after { *before } else { now });
            }
        }
        for stub in self.made.iter().rev() {
            let Some((parent, name)) = split(&stub.path) else { continue };
            let is_gone = match stub.is_temporary.then(|| stub.remove(self.tree(root, stub.tree))) {
                None => Ok(false),
                Some(removed) => removed,
            };
            match is_gone {
                Ok(true) => {}
                Ok(false) => self.keep((stub.tree, parent), &mut times),
                Err(error) => {
                    self.keep((stub.tree, parent), &mut times);
                    first = first.and(Err(with_name(&error, name)));
                }
            }
        }
        for (at, modified) in times {
            first = first.and(set_modified(self.tree(root, at.0), &at.1, modified));
        }
        first
    }

    /// An entry was added to `dir` for good: that was not before.
    fn keep<'a>(&'a self, (tree, dir): (Option<usize>, &Path), times: &mut BTreeMap<&'a At, Timespec>) {
        let dir = (tree, dir.to_owned());
        if let Some(Times { before, after }) = self.dirs.get(&dir)
            && let Some(now) = times.get_mut(&dir)
            && *now == *before
        {
            *now = *after;
        }
    }
}

impl Stub {
    /// Whether it is gone.
    fn remove(&self, root: &Root) -> io::Result<bool> {
        let Some((parent, name)) = split(&self.path) else { return Ok(false) };
        let dir = match root.dir(parent) {
            Ok(dir) => dir,
            // The command took it away, or put something else there.
            Err(error) if is_absent_or_link(&error) => return Ok(true),
            Err(error) => return Err(error),
        };
        let stat = match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) if is_absent(&error.into()) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let is_empty_file =
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0;
        if identity(&stat) != self.identity || (self.kind == Kind::File && !is_empty_file) {
            return Ok(false);
        }
        let flags = if self.kind == Kind::Dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(&dir, name, flags).map_err(io::Error::from) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn set_modified(root: &Root, path: &Path, modified: Timespec) -> io::Result<()> {
    let dir = match root.dir(path) {
        Ok(dir) => dir,
        Err(error) if is_absent_or_link(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let as_it_is = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Ok(futimens(&dir, &Timestamps { last_access: as_it_is, last_modification: modified })?)
}

fn is_absent_or_link(error: &io::Error) -> bool {
    let is_link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    is_link || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn with_name(error: &io::Error, name: &std::ffi::OsStr) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", name.to_string_lossy()))
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn modified(stat: &Stat) -> Timespec {
    // Nanoseconds are fewer than 10⁹.
    Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}
