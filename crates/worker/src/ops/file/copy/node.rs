//! One file copied that is no directory.

use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

use super::Copier;
use super::data::Stopped;
use super::meta::Named;
use crate::ops::file::fault::{At as _, Done, Fault};
use crate::ops::file::tree::{Facts, SEARCH, remove};

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const CREATE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a file and its copy are called, for errors.
pub(super) type Called<'a> = &'a dyn Fn() -> (Vec<u8>, Vec<u8>);

impl Copier<'_> {
    /// Copies a file. What has its name is removed; a directory only if that was asked for. `base` is the directory that is
    /// copied to, where other names of the file are, and `below` its path there.
    pub(super) fn node(
        &mut self,
        from: Named<'_>,
        facts: &Facts,
        to: Named<'_>,
        base: Option<&OwnedFd>,
        called: Called<'_>,
        below: &[u8],
    ) -> Done<()> {
        let is_file = facts.kind() == FileType::RegularFile;
        let base = base.filter(|_| is_file && facts.names() > 1);
        if let (Some(base), Some(first)) = (base, self.links.get(&facts.id())) {
            let (dir, name) = open_above(base, first).at(called().1)?;
            return self.place(to, called, |to| fs::linkat(&dir, name, to.dir, to.name, AtFlags::empty()));
        }
        match facts.kind() {
            FileType::RegularFile => self.file(from, to, called)?,
            FileType::Symlink => {
                let target = fs::readlinkat(from.dir, from.name, Vec::new()).at(called().0)?;
                self.place(to, called, |to| fs::symlinkat(&target, to.dir, to.name))?;
            }
            kind => {
                let (major, minor) = facts.device();
                if kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
                    let reason = "a character device 0/0 is a whiteout to overlayfs";
                    return Err(Fault::wrong(called().0, reason));
                }
                let mode = Mode::RUSR | Mode::WUSR;
                self.place(to, called, |to| fs::mknodat(to.dir, to.name, kind, mode, makedev(major, minor)))?;
            }
        }
        self.dress(from, facts, to).at(called().1)?;
        if base.is_some() {
            self.links.insert(facts.id(), below.to_vec());
        }
        Ok(())
    }

    fn file(&mut self, from: Named<'_>, to: Named<'_>, called: Called<'_>) -> Done<()> {
        let source = fs::openat(from.dir, from.name, READ, Mode::empty()).at(called().0)?;
        let facts = Facts::open(&source).at(called().0)?;
        if facts.kind() != FileType::RegularFile {
            return Err(Fault::wrong(called().0, "it was replaced while it was copied"));
        }
        let target =
            self.place(to, called, |to| fs::openat(to.dir, to.name, CREATE, Mode::RUSR | Mode::WUSR))?;
        self.data.copy(&source, &facts, &target, self.cancel).map_err(|stopped| match stopped {
            Stopped::Cancelled => Fault::Cancelled,
            Stopped::Short => Fault::wrong(called().0, "it became shorter while it was copied"),
            Stopped::From(error) => Fault::Os { path: called().0, error },
            Stopped::To(error) => Fault::Os { path: called().1, error },
        })
    }

    /// Makes something at a name, in place of what is there.
    fn place<T>(
        &self,
        to: Named<'_>,
        called: Called<'_>,
        make: impl Fn(Named<'_>) -> Result<T, Errno>,
    ) -> Done<T> {
        match make(to) {
            Err(Errno::EXIST) => {}
            made => return made.at(called().1),
        }
        let path = called().1;
        if Facts::of(to.dir, to.name).at(&path)?.is_dir() && !self.action.always_replace_existing_dest_paths {
            return Err(Fault::wrong(&path, "a directory is not replaced by a file"));
        }
        remove(to.dir, to.name, &path, self.cancel)?;
        make(to).at(&path)
    }
}

/// Opens the directory that a path below another leads to, which was made here and has no links on its way.
fn open_above<'a>(base: &OwnedFd, path: &'a [u8]) -> Result<(OwnedFd, &'a [u8]), Errno> {
    let mut at = fs::openat(base, ".", SEARCH, Mode::empty())?;
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return Ok((at, part));
        }
        at = fs::openat(&at, part, SEARCH, Mode::empty())?;
    }
    Err(Errno::NOENT)
}
