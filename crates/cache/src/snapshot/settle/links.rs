//! Hard links to files of layers below.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};

use super::resolve::{Place, invalid};
use super::{Settling, keep};
use crate::error::{IoContext as _, Result};
use crate::layer::{Form, Skipped};
use crate::snapshot::copy;
use crate::snapshot::file::{self, Facts};
use crate::snapshot::layers::Shown;

impl Settling<'_> {
    /// Makes `name` another name of `target`.
    pub(super) fn link(&mut self, name: &Path, target: &Path) -> Result<()> {
        let (at, last) = self.parent_of(target)?;
        let found = self.find(&at, &last).during("settle layer", target.display(), self.root)?;
        match found.own {
            Some(own) if own.is_dir() => return Err(invalid(name, "is a hard link to a directory")),
            Some(own) if !(self.own.form == Form::Overlay && own.is_whiteout()) => {}
            _ if found.is_hidden => {
                return Err(invalid(name, "is a hard link to what the same layer removes"));
            }
            _ => match found.below {
                Shown::File(layer, facts) => {
                    self.copy_up(layer, &facts, &at, &last).during(
                        "settle layer",
                        target.display(),
                        self.root,
                    )?;
                }
                Shown::Directory(_) => return Err(invalid(name, "is a hard link to a directory")),
                Shown::Nothing => return Err(invalid(name, "is a hard link to a file that is not there")),
            },
        }
        let (to, new) = self.parent_of(name)?;
        self.add_name((&at, &last), (&to, &new)).during("settle layer", name.display(), self.root)
    }

    fn parent_of(&self, path: &Path) -> Result<(Place, OsString)> {
        let (parent, name) = file::split(path).ok_or_else(|| invalid(path, "is not the name of a file"))?;
        Ok((self.resolve(parent)?, name.to_owned()))
    }

    /// Brings a file of a layer below into this one, under all the names it has there.
    fn copy_up(&mut self, layer: usize, facts: &Facts, at: &Place, name: &OsStr) -> io::Result<()> {
        self.make(at)?;
        self.remember(&at.path)?;
        self.is_changed = true;
        let from = self.below.open(layer, &at.path)?;
        let to = file::open_dir(self.root, &at.path)?;
        let skipped = &mut Skipped::default();
        copy::copy((&from, name), facts, (&to, name), keep(), skipped, self.cancel)?;
        self.keep_readable(&to, name)?;
        if facts.names() > 1 {
            for other in self.names_of(layer, facts.inode())? {
                self.share(layer, facts.inode(), &other, (at, name))?;
            }
        }
        Ok(())
    }

    /// Links another name of a file below to its copy, if it is that file that is shown there.
    fn share(&mut self, layer: usize, inode: u64, other: &Path, copy: (&Place, &OsStr)) -> io::Result<()> {
        let Some((parent, name)) = file::split(other) else { return Ok(()) };
        // No links are on the way of a name that a layer has; where the path leads elsewhere now, it is not shown.
        let Ok(place) = self.resolve(parent) else { return Ok(()) };
        if place.path != parent {
            return Ok(());
        }
        let found = self.find(&place, name)?;
        let is_it =
            matches!(found.below, Shown::File(of, ref facts) if of == layer && facts.inode() == inode);
        if found.own.is_some() || !is_it {
            return Ok(());
        }
        self.add_name(copy, (&place, name))
    }

    /// Another name for a file of this layer. A name that the tar gave to something else afterwards stays that.
    fn add_name(&mut self, file: (&Place, &OsStr), new: (&Place, &OsStr)) -> io::Result<()> {
        self.make(new.0)?;
        self.remember(&new.0.path)?;
        let from = file::open_dir(self.root, &file.0.path)?;
        let to = file::open_dir(self.root, &new.0.path)?;
        match file::facts(&to, new.1)? {
            Some(there) if self.own.form == Form::Overlay && there.is_whiteout() => {
                rustix::fs::unlinkat(&to, new.1, AtFlags::empty())?;
            }
            Some(_) => return Ok(()),
            None => {}
        }
        self.is_changed = true;
        Ok(rustix::fs::linkat(&from, file.1, &to, new.1, AtFlags::empty())?)
    }

    /// All names a layer has for an inode.
    fn names_of(&self, layer: usize, inode: u64) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(directory) = waiting.pop() {
            let open = self.below.open(layer, &directory)?;
            for (name, kind) in file::list(&open)? {
                if kind == FileType::Directory {
                    waiting.push(directory.join(name));
                } else if file::facts(&open, &name)?.is_some_and(|facts| facts.inode() == inode) {
                    names.push(directory.join(name));
                }
            }
        }
        names.sort();
        Ok(names)
    }
}
