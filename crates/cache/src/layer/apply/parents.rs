//! The directories that entries lie in, opened beneath the root and kept open for a while.
//!
//! The kernel is asked to resolve a name at once, without any link (`openat2`). Where it cannot — a part is missing or is a
//! link, the system call is not there — the name is walked part by part, no link ever followed by the kernel: a link is read
//! and taken as one within the root, as a process in the container would take it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::directories::{Directories, Last};
use super::name::{is_mark, join, last, parent};

/// How many are kept open. Neighbours in a tar are in few directories; several layers at once share the limit of files.
const KEPT: usize = 16;
/// As many links the kernel follows (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;
const SEARCH: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory.
pub(super) struct Parent {
    /// Opened with `O_PATH`.
    pub(super) fd: OwnedFd,
    /// Its name without links, relative to the root.
    pub(super) path: Vec<u8>,
}

/// What is found under a name.
pub(super) enum Found {
    Here(Rc<Parent>),
    /// Nothing; this is what it would be called.
    Absent(Vec<u8>),
}

/// Why a directory cannot be had.
pub(super) enum Cause {
    /// What has this name is no directory.
    NotADirectory(Vec<u8>),
    /// A link on its way leads into a whiteout.
    Mark,
    /// Its links lead round and round.
    Loop,
    Io(Vec<u8>, Errno),
}

pub(super) struct Parents {
    root: Rc<Parent>,
    /// By the name as it was asked for, the last used first.
    recent: VecDeque<(Vec<u8>, Rc<Parent>)>,
    has_openat2: bool,
    /// What the walk may do.
    pub(super) rules: Rules,
}

/// What the walk may do with what it finds.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// A character device 0/0 is a whiteout, and nothing is behind it.
    pub(super) is_overlay: bool,
    /// Directories that are there already are somebody else's work: they are to look the same afterwards.
    pub(super) restores: bool,
    /// Directories may have to be made writable first.
    pub(super) opens_up: bool,
}

/// What the walk has made, for who must know it.
pub(super) enum Made {
    /// A directory.
    Directory(Vec<u8>),
    /// A directory in place of a whiteout.
    OverWhiteout(Vec<u8>),
}

impl Parents {
    /// Begins at `root`.
    pub(super) fn new(root: &Path, rules: Rules, has_openat2: bool) -> Result<Self, Errno> {
        // The root's own name may be a link: it is the caller's.
        let fd = fs::open(root, SEARCH.difference(OFlags::NOFOLLOW), Mode::empty())?;
        let root = Rc::new(Parent { fd, path: Vec::new() });
        Ok(Self { root, recent: VecDeque::new(), has_openat2, rules })
    }

    pub(super) fn root(&self) -> Rc<Parent> {
        Rc::clone(&self.root)
    }

    /// Lets go of everything that is open: a directory or a link has been removed, so names may lead elsewhere.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }

    /// Opens a directory, nothing is made.
    pub(super) fn find(&mut self, name: &[u8], directories: &mut Directories) -> Result<Found, Cause> {
        if let Some(parent) = self.known(name) {
            return Ok(Found::Here(parent));
        }
        let found = self.walk(name, directories, None)?;
        if let Found::Here(parent) = &found {
            self.keep(name, parent);
        }
        Ok(found)
    }

    /// Opens a directory; what is missing of it is made, and told in `made`.
    pub(super) fn make(
        &mut self,
        name: &[u8],
        directories: &mut Directories,
        made: &mut Vec<Made>,
    ) -> Result<Rc<Parent>, Cause> {
        if let Some(parent) = self.known(name) {
            return Ok(parent);
        }
        match self.walk(name, directories, Some(made))? {
            Found::Here(parent) => {
                self.keep(name, &parent);
                Ok(parent)
            }
            Found::Absent(path) => Err(Cause::Io(path, Errno::NOENT)),
        }
    }

    /// One that is open, or that the kernel opens at once.
    fn known(&mut self, name: &[u8]) -> Option<Rc<Parent>> {
        if name.is_empty() {
            return Some(Rc::clone(&self.root));
        }
        if let Some(at) = self.recent.iter().position(|(known, _)| known == name) {
            let entry = self.recent.remove(at)?;
            let parent = Rc::clone(&entry.1);
            self.recent.push_front(entry);
            return Some(parent);
        }
        if !self.has_openat2 || self.rules.opens_up {
            return None;
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(&self.root.fd, name, SEARCH, Mode::empty(), resolve) {
            Ok(fd) => {
                let parent = Rc::new(Parent { fd, path: name.to_vec() });
                self.keep(name, &parent);
                Some(parent)
            }
            Err(error) => {
                // An old kernel has not got it, a sandbox may forbid it (EPERM).
                self.has_openat2 = !matches!(error, Errno::NOSYS | Errno::PERM);
                None
            }
        }
    }

    fn keep(&mut self, name: &[u8], parent: &Rc<Parent>) {
        self.recent.truncate(KEPT - 1);
        self.recent.push_front((name.to_vec(), Rc::clone(parent)));
    }

    fn walk(
        &self,
        name: &[u8],
        directories: &mut Directories,
        mut made: Option<&mut Vec<Made>>,
    ) -> Result<Found, Cause> {
        let mut at = self.root();
        let mut links = 0;
        let mut waiting = reversed(name);
        while let Some(part) = waiting.pop() {
            if part == b".." {
                at = self.reopen(parent(&at.path).unwrap_or_default())?;
                continue;
            }
            if is_mark(&part) {
                return Err(Cause::Mark);
            }
            let path = join(&at.path, &part);
            let failed = |error| Cause::Io(path.clone(), error);
            self.open_up(&at, directories).map_err(failed)?;
            let error = match fs::openat(&at.fd, part.as_slice(), SEARCH, Mode::empty()) {
                Ok(fd) => {
                    at = Rc::new(Parent { fd, path });
                    continue;
                }
                Err(error) => error,
            };
            let is_there = !matches!(error, Errno::NOENT);
            if is_there {
                if !matches!(error, Errno::NOTDIR | Errno::LOOP) {
                    return Err(Cause::Io(path, error));
                }
                let stat = fs::statat(&at.fd, part.as_slice(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Cause::Loop);
                    }
                    let target = fs::readlinkat(&at.fd, part.as_slice(), Vec::new()).map_err(failed)?;
                    if target.as_bytes().starts_with(b"/") {
                        at = self.root();
                    }
                    waiting.append(&mut reversed(target.as_bytes()));
                    continue;
                }
                if !(self.rules.is_overlay && is_whiteout(&stat)) {
                    return Err(Cause::NotADirectory(path));
                }
            }
            let Some(made) = made.as_mut() else {
                return Ok(Found::Absent(without_dots(path, waiting)));
            };
            self.note(&at, directories).map_err(failed)?;
            if is_there {
                fs::unlinkat(&at.fd, part.as_slice(), AtFlags::empty()).map_err(failed)?;
            }
            fs::mkdirat(&at.fd, part.as_slice(), Mode::from_raw_mode(0o755)).map_err(failed)?;
            let fd = fs::openat(&at.fd, part.as_slice(), SEARCH, Mode::empty()).map_err(failed)?;
            directories.set(path.clone(), Last::Implied { is_fresh: is_there });
            made.push(if is_there {
                Made::OverWhiteout(path.clone())
            } else {
                Made::Directory(path.clone())
            });
            at = Rc::new(Parent { fd, path });
        }
        self.open_up(&at, directories).map_err(|error| Cause::Io(at.path.clone(), error))?;
        Ok(Found::Here(at))
    }

    /// Opens a directory by its name without links.
    fn reopen(&self, path: &[u8]) -> Result<Rc<Parent>, Cause> {
        let mut at = self.root();
        for part in reversed(path).into_iter().rev() {
            let path = join(&at.path, &part);
            match fs::openat(&at.fd, part, SEARCH, Mode::empty()) {
                Ok(fd) => at = Rc::new(Parent { fd, path }),
                Err(error) => return Err(Cause::Io(path, error)),
            }
        }
        Ok(at)
    }

    /// Remembers how a directory was that is about to change, where that matters.
    pub(super) fn note(&self, at: &Parent, directories: &mut Directories) -> Result<(), Errno> {
        if self.rules.restores && !directories.knows(&at.path) {
            directories.remember(&at.path, &fs::fstat(&at.fd)?, None);
        }
        Ok(())
    }

    /// Makes a directory writable that came that way with a layer below.
    fn open_up(&self, at: &Parent, directories: &mut Directories) -> Result<(), Errno> {
        if !self.rules.opens_up || directories.knows(&at.path) {
            return Ok(());
        }
        let stat = fs::fstat(&at.fd)?;
        let mode = stat.st_mode & 0o7777;
        if mode & 0o700 != 0o700 {
            let above = self.reopen(parent(&at.path).unwrap_or_default()).map_err(|_| Errno::ACCESS)?;
            let name = if at.path.is_empty() { b"." } else { last(&at.path) };
            fs::chmodat(&above.fd, name, Mode::from_raw_mode(mode | 0o700), AtFlags::empty())?;
            directories.remember(&at.path, &stat, Some(mode));
        }
        Ok(())
    }
}

/// Overlayfs's whiteout: a character device 0/0.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The parts of a name, the last first.
fn reversed(name: &[u8]) -> Vec<Vec<u8>> {
    let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.rev().map(<[u8]>::to_vec).collect()
}

/// What a name would be whose rest is not there.
fn without_dots(mut path: Vec<u8>, mut waiting: Vec<Vec<u8>>) -> Vec<u8> {
    while let Some(part) = waiting.pop() {
        path = if part == b".." { parent(&path).unwrap_or_default().to_vec() } else { join(&path, &part) };
    }
    path
}
