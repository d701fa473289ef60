//! Files, directories, symbolic links and nodes.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::directories::{Last, Meta, forget_below};
use super::meta::Target;
use super::parents::is_whiteout;
use super::remove::remove;
use super::write_out::WriteOut;
use super::{Applier, Place};
use crate::error::Result;
use crate::layer::Form;
use crate::layer::tarball::{Entry, Reader};

const CREATE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What was where something is to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Directory,
    Whiteout,
    Other,
}

impl Applier<'_> {
    pub(super) fn regular(&mut self, entry: Entry, place: &Place, reader: &mut Reader<'_>) -> Result<()> {
        self.links.remove(&place.path);
        let mode = Mode::from_raw_mode(0o600);
        let file = self.create(place, |at| fs::openat(&at.parent.fd, at.last.as_slice(), CREATE, mode))?;
        self.content(&file, &entry, place, reader)?;
        let meta = entry.into();
        self.set_meta(&Target::Open(file.as_fd()), &meta, place)?;
        let stat = fs::fstat(&file).map_err(|error| self.io(&place.path, error))?;
        self.usage.count(&stat);
        Ok(())
    }

    /// Writes the data; where the entry has none, there are holes.
    fn content(&self, file: &OwnedFd, entry: &Entry, place: &Place, reader: &mut Reader<'_>) -> Result<()> {
        let failed = |error| self.io(&place.path, error);
        let mut offset = 0;
        let mut write_out = WriteOut::default();
        let mut extents = entry.extents.iter().flatten();
        // Without a map all data are one stretch.
        let mut left = if entry.extents.is_some() { 0 } else { entry.size };
        loop {
            while left == 0 {
                let Some(extent) = extents.next() else {
                    if entry.extents.is_some() {
                        fs::ftruncate(file, entry.size).map_err(failed)?;
                    }
                    write_out.whole(file, offset);
                    return Ok(());
                };
                (offset, left) = (extent.offset, extent.length);
            }
            let data = reader.data()?;
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            let data = data.get(..length).unwrap_or_default();
            let written = match rustix::io::pwrite(file, data, offset) {
                Err(Errno::INTR) => continue,
                // The data last as long as the map says, which has been checked.
                Ok(0) => return Err(failed(Errno::IO)),
                written => written.map_err(failed)?,
            };
            reader.consume(written);
            let written = u64::try_from(written).unwrap_or(left);
            (offset, left) = (offset + written, left.saturating_sub(written));
            write_out.reached(file, offset);
        }
    }

    pub(super) fn directory(&mut self, entry: Entry, place: &Place) -> Result<()> {
        let mut was = self.links.remove(&place.path).map(|_| Was::Other);
        let make = |at: &Place| fs::mkdirat(&at.parent.fd, at.last.as_slice(), Mode::from_raw_mode(0o700));
        let mut is_old = false;
        match make(place) {
            Err(Errno::EXIST) => {
                let there = self.look(place)?;
                if there == Some(Was::Directory) {
                    is_old = self.directories.is_old(&place.path);
                } else {
                    was = there;
                    self.clear(place)?;
                    make(place).map_err(|error| self.io(&place.path, error))?;
                }
            }
            made => made.map_err(|error| self.io(&place.path, error))?,
        }
        if was.is_some() {
            // In the layers there was a file in between, so nothing shines through.
            self.hide_below(&place.path)?;
        }
        self.directories.set(place.path.clone(), Last::Named { meta: entry.into(), is_old });
        Ok(())
    }

    pub(super) fn symlink(&mut self, entry: Entry, place: &Place) -> Result<()> {
        if entry.link.is_empty() {
            return Err(self.invalid(&entry.path, "it is a link to nothing"));
        }
        self.links.remove(&place.path);
        self.create(place, |at| fs::symlinkat(entry.link.as_slice(), &at.parent.fd, at.last.as_slice()))?;
        let meta = entry.into();
        self.named(place, &meta, true)
    }

    pub(super) fn node(&mut self, entry: Entry, place: &Place, kind: FileType) -> Result<()> {
        let (major, minor) = entry.device;
        if kind == FileType::CharacterDevice && entry.device == (0, 0) {
            return Err(self.refused(&entry.path, "a character device 0/0 is a whiteout to overlayfs"));
        }
        self.links.remove(&place.path);
        let device = fs::makedev(major, minor);
        self.create(place, |at| {
            let mode = Mode::from_raw_mode(0o600);
            fs::mknodat(&at.parent.fd, at.last.as_slice(), kind, mode, device)
        })?;
        let meta = entry.into();
        self.named(place, &meta, false)
    }

    /// Metadata of what cannot be opened.
    fn named(&mut self, place: &Place, meta: &Meta, is_link: bool) -> Result<()> {
        self.set_meta(&Target::Named { at: place, is_link }, meta, place)?;
        let stat = fs::statat(&place.parent.fd, place.last.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
        self.usage.count(&stat.map_err(|error| self.io(&place.path, error))?);
        Ok(())
    }

    /// Makes something, in place of what is there.
    pub(super) fn create<T>(
        &mut self,
        place: &Place,
        make: impl Fn(&Place) -> Result<T, Errno>,
    ) -> Result<T> {
        let made = match make(place) {
            Err(Errno::EXIST) => {
                self.clear(place)?;
                make(place)
            }
            made => made,
        };
        made.map_err(|error| self.io(&place.path, error))
    }

    /// What is there, if anything.
    pub(super) fn look(&self, place: &Place) -> Result<Option<Was>> {
        let stat = match fs::statat(&place.parent.fd, place.last.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat.map_err(|error| self.io(&place.path, error))?,
        };
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Was::Directory,
            _ if self.options.form == Form::Overlay && is_whiteout(&stat) => Was::Whiteout,
            _ => Was::Other,
        }))
    }

    /// Removes what is there, with all that is known of it.
    pub(super) fn clear(&mut self, place: &Place) -> Result<()> {
        let is_directory = self.look(place)? == Some(Was::Directory);
        let freed = remove(&place.parent.fd, &place.last, !self.options.owners)
            .map_err(|error| self.io(&place.path, error))?;
        if !self.is_tree() {
            self.usage.free(freed);
        }
        // It may have been a link on the way to what is open.
        self.parents.forget();
        if is_directory {
            self.directories.forget(&place.path);
            forget_below(&mut self.links, &place.path);
            for marks in [&mut self.gone, &mut self.opaque] {
                forget_below(marks, &place.path);
            }
            self.opaque.remove(&place.path);
        }
        Ok(())
    }
}
