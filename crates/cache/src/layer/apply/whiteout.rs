//! Whiteouts and opaque directories, in each of the forms. They are about the layers below: what this same layer has put
//! there stays, whether it came before or comes later.

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::make::Was;
use super::name::{Name, join, last, mark, opaque_mark, parent};
use super::parents::{Found, Parent};
use super::remove::{LIST, names, remove};
use super::{Applier, Place};
use crate::error::Result;
use crate::layer::Form;

const MARK: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const OPAQUE: &str = "trusted.overlay.opaque";

impl Applier<'_> {
    pub(super) fn whiteout(&mut self, entry: &[u8], name: &Name) -> Result<()> {
        let place = self.place(entry, Name { parent: name.parent.clone(), last: name.last.clone() })?;
        if self.is_tree() {
            self.note_written(&place.parent.path);
            return self.remove_old(&place.parent, &place.last);
        }
        if self.links.contains_key(&place.path) {
            return Ok(());
        }
        match self.look(&place)? {
            Some(Was::Directory) => self.hide_below(&place.path),
            Some(Was::Other) => Ok(()),
            Some(Was::Whiteout) | None => {
                self.gone.insert(place.path.clone(), ());
                self.put_mark(&place)
            }
        }
    }

    pub(super) fn opaque(&mut self, entry: &[u8], dir: &[u8]) -> Result<()> {
        // The name is not used: the place is that of the directory itself.
        let place = self.place(entry, Name { parent: dir.to_vec(), last: opaque_mark().to_vec() })?;
        if self.is_tree() {
            self.note_written(&place.parent.path);
            return self.remove_old_in(&place.parent);
        }
        self.opaque.insert(place.parent.path.clone(), ());
        match self.options.form {
            Form::Overlay => self.set_mark(&place.parent.path, OPAQUE, b"y"),
            _ => self.put_file(&place.parent, opaque_mark()),
        }
    }

    /// A directory of this layer hides all that the layers below have under its name.
    pub(super) fn hide_below(&mut self, path: &[u8]) -> Result<()> {
        if self.is_tree() {
            return Ok(());
        }
        self.opaque.insert(path.to_vec(), ());
        if self.options.form == Form::Overlay {
            return self.set_mark(path, OPAQUE, b"y");
        }
        let above = self.open(parent(path).unwrap_or_default())?;
        self.put_file(&above, &mark(last(path)))
    }

    /// Whether the layers below have nothing here, for what this layer has said so far.
    pub(super) fn is_hidden(&self, path: &[u8]) -> bool {
        let mut way = std::iter::successors(Some(path), |path| parent(path));
        way.any(|at| self.gone.contains_key(at) || (at != path && self.opaque.contains_key(at)))
    }

    fn put_mark(&mut self, place: &Place) -> Result<()> {
        if self.options.form == Form::Plain {
            return self.put_file(&place.parent, &mark(&place.last));
        }
        let (fd, name) = (&place.parent.fd, place.last.as_slice());
        match fs::mknodat(fd, name, FileType::CharacterDevice, Mode::empty(), 0) {
            // It was there before.
            Err(Errno::EXIST) => return Ok(()),
            made => made.map_err(|error| self.io(&place.path, error))?,
        }
        self.usage.inodes += 1;
        // The kernel looks for whiteouts when it lists a directory that is merged, or that says it was copied up (from
        // somewhere unknown, where nothing follows). Of any other it would list them.
        self.set_mark(&place.parent.path, "trusted.overlay.origin", b"")
    }

    /// An empty file that says something by its name.
    fn put_file(&mut self, at: &Parent, name: &[u8]) -> Result<()> {
        match fs::openat(&at.fd, name, MARK | OFlags::EXCL, Mode::from_raw_mode(0o600)) {
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(self.io(&join(&at.path, name), error)),
            Ok(_) => {
                self.usage.inodes += 1;
                Ok(())
            }
        }
    }

    /// Tells overlayfs something of a directory.
    fn set_mark(&mut self, path: &[u8], xattr: &str, value: &[u8]) -> Result<()> {
        let dir = self.open(path)?;
        let set = fs::openat(&dir.fd, ".", LIST, Mode::empty())
            .and_then(|dir| fs::fsetxattr(&dir, xattr, value, XattrFlags::empty()));
        set.map_err(|error| self.io(path, error))
    }

    /// Opens a directory that is there.
    fn open(&mut self, path: &[u8]) -> Result<std::rc::Rc<Parent>> {
        match self.parents.find(path, &mut self.directories) {
            Ok(Found::Here(parent)) => Ok(parent),
            Ok(Found::Absent(path)) => Err(self.io(&path, Errno::NOENT)),
            Err(cause) => Err(self.cause(path, cause)),
        }
    }

    /// Removes what the layers below have put at a name.
    fn remove_old(&mut self, at: &Parent, name: &[u8]) -> Result<()> {
        let path = join(&at.path, name);
        let stat = match fs::statat(&at.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat.map_err(|error| self.io(&path, error))?,
        };
        if !self.written.contains(&path) {
            self.parents.forget();
            self.directories.forget(&path);
            let removed = remove(&at.fd, name, self.parents.rules.opens_up);
            return removed.map(drop).map_err(|error| self.io(&path, error));
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let dir = self.open(&path)?;
        self.remove_old_in(&dir)
    }

    /// Removes what the layers below have put into a directory. As deep as this layer's own names go.
    fn remove_old_in(&mut self, dir: &Parent) -> Result<()> {
        let failed = |error| self.io(&dir.path, error);
        let list = fs::openat(&dir.fd, ".", LIST, Mode::empty()).map_err(failed)?;
        let names = names(list).map_err(failed)?;
        self.parents.note(dir, &mut self.directories).map_err(|error| self.io(&dir.path, error))?;
        for name in names {
            self.remove_old(dir, &name)?;
        }
        Ok(())
    }
}
