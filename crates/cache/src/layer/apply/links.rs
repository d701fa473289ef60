//! Hard links. The target may be of this layer or, where that is all there is in the directory, of one below.

use rustix::fs::{self, AtFlags, FileType};
use rustix::io::Errno;

use super::name::{is_below, join, target};
use super::parents::{Found, is_whiteout};
use super::{Applier, Place};
use crate::error::Result;
use crate::layer::Form;
use crate::layer::tarball::Entry;

impl Applier<'_> {
    /// The entry's own metadata are not taken: they are those of the file, which has had its entry.
    pub(super) fn hard_link(&mut self, entry: &Entry, place: Place) -> Result<()> {
        let wanted = target(&entry.link).map_err(|wrong| self.wrong(&entry.path, &wrong))?;
        let found = self.parents.find(&wanted.parent, &mut self.directories);
        let (at, path) = match found.map_err(|cause| self.cause(&entry.path, cause))? {
            Found::Here(parent) => {
                let path = join(&parent.path, &wanted.last);
                (Some(parent), path)
            }
            Found::Absent(parent) => (None, join(&parent, &wanted.last)),
        };
        if path == place.path || is_below(&path, &place.path) {
            return Err(self.invalid(&entry.path, "it links to itself"));
        }
        let found = match &at {
            Some(parent) => match fs::statat(&parent.fd, wanted.last.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => None,
                stat => Some(stat.map_err(|error| self.io(&path, error))?),
            },
            None => None,
        };
        let is_gone =
            found.as_ref().is_some_and(|stat| self.options.form == Form::Overlay && is_whiteout(stat));
        let (Some(parent), Some(stat)) = (at, found.filter(|_| !is_gone)) else {
            return self.link_below(entry, place, path, is_gone);
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // One that is here only for what is in it may be a link below.
            if !self.is_tree() && self.directories.is_implied(&path) {
                return self.link_below(entry, place, path, false);
            }
            return Err(self.invalid(&entry.path, "it links to a directory"));
        }
        self.links.remove(&place.path);
        self.create(&place, |to| {
            let (from, to_name) = (wanted.last.as_slice(), to.last.as_slice());
            fs::linkat(&parent.fd, from, &to.parent.fd, to_name, AtFlags::empty())
        })
    }

    /// The target is not in the directory.
    fn link_below(&mut self, entry: &Entry, place: Place, path: Vec<u8>, is_gone: bool) -> Result<()> {
        let path = self.links.get(&path).cloned().unwrap_or(path);
        let is_hidden = is_gone || self.is_hidden(&path) || path == place.path;
        if self.is_tree() || is_hidden {
            let reason = format!("it links to {}, which is not there", path.escape_ascii());
            return Err(self.invalid(&entry.path, &reason));
        }
        if self.look(&place)?.is_some() {
            self.clear(&place)?;
        }
        self.links.insert(place.path, path);
        Ok(())
    }
}
