//! The tree that is made of a directory: what is as it was is linked, the rest is copied.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use lazyblob_cache::contenthash::{FileHasher, Sum};
use lazyblob_cache::layer::Form;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, makedev};
use rustix::io::Errno;

use super::copy::{Reader, kept, meta};
use super::file::{self, Facts, Xattrs};
use super::index::Index;
use super::scan::{Item, cancelled};
use crate::error::{Error, Result};

/// What was made of the directory before.
pub(super) struct Before {
    pub(super) index: Index,
    /// The tree, which nobody changes.
    pub(super) tree: OwnedFd,
}

/// A tree that is being made.
pub(super) struct Make<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) before: Option<&'a Before>,
    /// An empty directory.
    pub(super) tree: &'a OwnedFd,
    /// How the tree will be kept.
    pub(super) form: Form,
}

impl Make<'_> {
    /// Makes all of `items`, and says what each was when it was read.
    pub(super) fn all(&mut self, items: Vec<Item>) -> Result<Index> {
        let before = self.before.map(|before| before.index.by_path()).unwrap_or_default();
        let mut index = Index(Vec::with_capacity(items.len()));
        // The first name of each file that has several, and what was made of it.
        let mut firsts: HashMap<(u32, u32, u64), usize> = HashMap::new();
        for item in items {
            if self.reader.cancel.is_cancelled() {
                return Err(cancelled(self.reader.path));
            }
            let then = before.get(item.path.as_slice()).filter(|(then, _)| then.is_still(&item));
            let first = firsts.get(&item.facts.inode).and_then(|at| index.0.get(*at));
            let has_names = item.facts.names > 1 && !item.facts.is_directory();
            let made = match (first, then) {
                (Some((first, sum)), _)
                    if first.facts == item.facts && self.link(self.tree, &first.path, &item)? =>
                {
                    (item, *sum)
                }
                (_, Some((_, sum))) if self.keep(&item)? => (item, *sum),
                _ => self.one(item)?,
            };
            if has_names {
                firsts.entry(made.0.facts.inode).or_insert(index.0.len());
            }
            index.0.push(made);
        }
        // What is put into a directory changes its time: the innermost first.
        for (item, _) in index.0.iter().rev().filter(|(item, _)| item.facts.is_directory()) {
            let xattrs = self.directory_xattrs(&item.path)?;
            self.dress(&item.path, &item.facts, &xattrs).map_err(|error| kept(&item.path, error))?;
        }
        Ok(index)
    }

    /// Takes over what was made of it before. Says whether that could be done.
    fn keep(&self, item: &Item) -> Result<bool> {
        if item.facts.is_directory() {
            return self.make_directory(item).map(|()| true);
        }
        match self.before {
            Some(before) => self.link(&before.tree, &item.path, item),
            None => Ok(false),
        }
    }

    /// Gives something that was made another name. Says whether that could be done.
    fn link(&self, from: &OwnedFd, path: &[u8], item: &Item) -> Result<bool> {
        let linked = rustix::fs::linkat(
            from,
            OsStr::from_bytes(path),
            self.tree,
            OsStr::from_bytes(&item.path),
            AtFlags::empty(),
        );
        match linked {
            Ok(()) => Ok(true),
            // It has as many names as a file may have, or the old tree is not what it was: it is read again.
            Err(Errno::MLINK | Errno::NOENT | Errno::PERM | Errno::XDEV) => Ok(false),
            Err(error) => Err(kept(&item.path, error.into())),
        }
    }

    fn make_directory(&self, item: &Item) -> Result<()> {
        let made = rustix::fs::mkdirat(self.tree, OsStr::from_bytes(&item.path), Mode::RWXU);
        made.map_err(|error| kept(&item.path, error.into()))
    }

    /// Makes one anew.
    fn one(&mut self, item: Item) -> Result<(Item, Sum)> {
        let (_, name) = file::split(&item.path);
        if self.form == Form::Plain && name.starts_with(b".wh.") {
            return Err(refused(&item.path, "names that begin with .wh. mean files that were removed"));
        }
        let hash =
            |item: &Item, xattrs| FileHasher::new(&meta(&item.facts, item.target.clone(), xattrs)).finish();
        match item.facts.kind() {
            FileType::RegularFile => return self.regular(item),
            FileType::Directory => {
                self.make_directory(&item)?;
                let sum = hash(&item, self.directory_xattrs(&item.path)?);
                return Ok((item, sum));
            }
            FileType::Symlink => self.symlink(&item).map_err(|error| kept(&item.path, error))?,
            kind => self.node(&item, kind)?,
        }
        self.dress(&item.path, &item.facts, &Vec::new()).map_err(|error| kept(&item.path, error))?;
        let sum = hash(&item, Vec::new());
        Ok((item, sum))
    }

    fn regular(&mut self, item: Item) -> Result<(Item, Sum)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made =
            rustix::fs::openat(self.tree, OsStr::from_bytes(&item.path), flags, Mode::RUSR | Mode::WUSR);
        let mut to = File::from(made.map_err(|error| kept(&item.path, error.into()))?);
        let copied = self.reader.copy(&item.path, &mut to)?;
        drop(to);
        self.dress(&item.path, &copied.facts, &copied.xattrs).map_err(|error| kept(&item.path, error))?;
        Ok((Item { facts: copied.facts, ..item }, copied.sum))
    }

    fn symlink(&self, item: &Item) -> io::Result<()> {
        let (target, path) = (OsStr::from_bytes(&item.target), OsStr::from_bytes(&item.path));
        Ok(rustix::fs::symlinkat(target, self.tree, path)?)
    }

    fn node(&self, item: &Item, kind: FileType) -> Result<()> {
        let (major, minor) = item.facts.device;
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        if kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
            return Err(refused(&item.path, "a character device 0/0 means a file that was removed"));
        }
        let device = if is_device { makedev(major, minor) } else { 0 };
        let made = rustix::fs::mknodat(self.tree, OsStr::from_bytes(&item.path), kind, Mode::RUSR, device);
        match made {
            Err(Errno::PERM) => Err(refused(&item.path, "making device nodes needs root")),
            made => made.map_err(|error| kept(&item.path, error.into())),
        }
    }

    fn directory_xattrs(&self, path: &[u8]) -> Result<Xattrs> {
        let read = || file::xattrs(file::open(self.reader.root, path, OFlags::DIRECTORY)?);
        read().map_err(|error| self.reader.io(path, error))
    }

    /// Gives it attributes, mode and time: in this order, since each undoes what is after it.
    fn dress(&self, path: &[u8], facts: &Facts, xattrs: &Xattrs) -> io::Result<()> {
        let name = OsStr::from_bytes(path);
        if !xattrs.is_empty() {
            let open = file::open(self.tree, path, OFlags::empty())?;
            for (name, value) in xattrs {
                match rustix::fs::fsetxattr(&open, OsStr::from_bytes(name), value, XattrFlags::empty()) {
                    // A file system that keeps none, or one that only root may give.
                    Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if facts.kind() != FileType::Symlink {
            let mode = Mode::from_raw_mode(facts.permissions());
            rustix::fs::chmodat(self.tree, name, mode, AtFlags::empty())?;
        }
        let (tv_sec, tv_nsec) = facts.mtime;
        let time = Timespec { tv_sec, tv_nsec: tv_nsec.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(self.tree, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// That something of this kind cannot be kept.
fn refused(path: &[u8], why: &str) -> Error {
    Error::failed("keep local directory", path.escape_ascii(), format!("{why}: exclude it"))
}
