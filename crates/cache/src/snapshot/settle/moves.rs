//! Entries moved to where a link below leads.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use super::{Settling, keep, moved};
use crate::layer::{Form, Skipped};
use crate::snapshot::copy::dress;
use crate::snapshot::file;
use crate::snapshot::places::nonce;
use crate::snapshot::xattrs;

impl Settling<'_> {
    /// Moves what is in `from` to `to`, both directories of the layer, and takes `from` away.
    pub(super) fn move_into(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if let Some(parent) = from.parent() {
            self.remember(parent)?;
        }
        // Out of the way: what is in it may be to take its place.
        let aside = PathBuf::from(format!(".moved.{}", nonce()));
        self.remember(Path::new(""))?;
        let (parent, name) = file::split(from).ok_or(io::ErrorKind::InvalidInput)?;
        let (parent, root) = (file::open_dir(self.root, parent)?, file::open_dir(self.root, Path::new(""))?);
        rustix::fs::renameat(&parent, name, &root, &aside)?;
        self.implied.remove(from);
        self.like.remove(from);
        self.times.remove(from);
        self.rename_noted(from, &aside);
        self.entries(&aside, to)?;
        self.remove_directory(&aside)?;
        self.rename_noted(&aside, to);
        Ok(())
    }

    /// What was noted of files below one directory is noted of another.
    fn rename_noted(&mut self, from: &Path, to: &Path) {
        let to = |path: PathBuf| moved(&path, from, to).unwrap_or(path);
        self.implied = self.implied.drain().map(&to).collect();
        self.like = std::mem::take(&mut self.like).into_iter().map(|(path, of)| (to(path), of)).collect();
        self.times = std::mem::take(&mut self.times).into_iter().map(|(path, of)| (to(path), of)).collect();
    }

    fn entries(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.remember(to)?;
        let (source, target) = (file::open_dir(self.root, from)?, file::open_dir(self.root, to)?);
        let is_overlay = self.own.form == Form::Overlay;
        if is_overlay && xattrs::is_opaque(&source)? {
            xattrs::set(&target, xattrs::OPAQUE, b"y")?;
        }
        for (name, _) in file::list(&source)? {
            let Some(own) = file::facts(&source, &name)? else { continue };
            let there = file::facts(&target, &name)?;
            let is_hole = |facts: &file::Facts| is_overlay && facts.is_whiteout();
            match there {
                None => rustix::fs::renameat(&source, &name, &target, &name)?,
                Some(there) if there.is_dir() && own.is_dir() => {
                    self.merge(&from.join(&name), &to.join(&name), (&source, &target, &name))?;
                }
                // A directory where something was taken away: nothing of that is to show through.
                Some(there) if is_hole(&there) && !is_hole(&own) => {
                    rustix::fs::renameat(&source, &name, &target, &name)
                        .or_else(|_| replace(&source, &target, &name))?;
                    if own.is_dir() {
                        let directory = file::open_dir(self.root, &to.join(&name))?;
                        xattrs::set(&directory, xattrs::OPAQUE, b"y")?;
                    }
                }
                Some(there) => {
                    if is_hole(&own) && there.is_dir() {
                        xattrs::set(&file::open_dir(self.root, &to.join(&name))?, xattrs::OPAQUE, b"y")?;
                    }
                    self.remove(&from.join(&name), &source, &name, own.is_dir())?;
                }
            }
        }
        Ok(())
    }

    /// Both are directories. The one the tar names says what it looks like.
    fn merge(&mut self, from: &Path, to: &Path, names: (&OwnedFd, &OwnedFd, &OsStr)) -> io::Result<()> {
        let (source, target, name) = names;
        let is_ours = self.implied.contains(to) || self.like.contains_key(to);
        if is_ours && !self.implied.contains(from) {
            self.implied.remove(to);
            self.like.remove(to);
            let Some(facts) = file::facts(source, name)? else { return Ok(()) };
            dress((source, name), &facts, (target, name), keep(), &mut Skipped::default())?;
            self.keep_readable(target, name)?;
            self.times.insert(to.to_owned(), facts.times());
        } else if !self.implied.contains(to) {
            self.implied.remove(from);
        }
        self.entries(from, to)?;
        self.remove_directory(from)
    }

    fn remove(&mut self, path: &Path, parent: &OwnedFd, name: &OsStr, is_dir: bool) -> io::Result<()> {
        if !is_dir {
            return Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?);
        }
        self.implied.retain(|implied| !implied.starts_with(path));
        let directory = file::open_dir(self.root, path)?;
        for (name, _) in file::list(&directory)? {
            let is_dir = file::facts(&directory, &name)?.is_some_and(|facts| facts.is_dir());
            self.remove(&path.join(&name), &directory, &name, is_dir)?;
        }
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let Some((parent, name)) = file::split(path) else { return Ok(()) };
        let parent = file::open_dir(self.root, parent)?;
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }
}

/// A directory cannot be renamed over a file.
fn replace(source: &OwnedFd, target: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    rustix::fs::unlinkat(target, name, AtFlags::empty())?;
    rustix::fs::renameat(source, name, target, name)
}
