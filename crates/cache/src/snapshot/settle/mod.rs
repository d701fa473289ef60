//! What a layer leaves to the layers below it, settled as if they had been applied one after the other.
//!
//! Layers are applied in parallel, each to a directory of its own. Three things can only be known once those below are
//! whole:
//! * Directories that the tar has entries in and does not name. They take mode, owner, times and xattrs from the top
//!   layer that shows them; where none does, they are 0755, the caller's and of
//!   the epoch.
//! * Such a directory that is a symbolic link below: the entries belong where it leads, inside the image. Where entries
//!   meet there, those that were there already stay.
//! * Hard links to files below: the file is copied into this layer under its own name, and every name of it is linked to
//!   the copy, so that all of them are one file, as they are after a sequential apply.
//!
//! A directory is not made where a file is shown, and nothing is linked to what is not there: both are errors.

mod links;
mod moves;
mod resolve;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, Timespec, Timestamps};
use tokio_util::sync::CancellationToken;

use super::copy::{Keep, dress};
use super::file;
use super::layers::Layers;
use super::xattrs;
use crate::error::{Error, IoContext as _, Result};
use crate::layer::{Form, Pending, Skipped};

/// When directories were made that no layer names.
const EPOCH: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: 0 },
    last_modification: Timespec { tv_sec: 0, tv_nsec: 0 },
};

/// One layer that is being settled.
struct Settling<'a> {
    /// The layer's own entries.
    root: &'a Path,
    /// The same as a stack of one.
    own: Layers<'a>,
    below: Layers<'a>,
    /// Directories the tar does not name, where they are now.
    implied: HashSet<PathBuf>,
    /// Directories that are to look like those below: the layer, if any shows them.
    like: BTreeMap<PathBuf, Option<usize>>,
    /// When directories were changed before they were changed here.
    times: BTreeMap<PathBuf, Timestamps>,
    /// Whether what the layer takes on disk may be different now.
    is_changed: bool,
    cancel: &'a CancellationToken,
}

/// Settles the layer in `root` on those `below`, the bottom one first. Returns whether its usage may have changed.
pub(super) fn settle(
    form: Form,
    root: &Path,
    pending: &Pending,
    below: &[PathBuf],
    cancel: &CancellationToken,
) -> Result<bool> {
    let own = [root.to_owned()];
    let mut settling = Settling {
        root,
        own: Layers { form, roots: &own },
        below: Layers { form, roots: below },
        implied: pending.implied.iter().map(|path| clean(path)).collect(),
        like: BTreeMap::new(),
        times: BTreeMap::new(),
        is_changed: false,
        cancel,
    };
    settling.directories(pending.implied.iter().map(|path| clean(path)).collect())?;
    for link in &pending.links {
        settling.check()?;
        settling.link(&clean(&link.name), &clean(&link.target))?;
    }
    settling.finish().during("settle layer", root.display(), root)?;
    Ok(settling.is_changed)
}

/// Without `.` and a leading `/`.
fn clean(path: &Path) -> PathBuf {
    file::names(path).collect()
}

impl Settling<'_> {
    fn check(&self) -> Result<()> {
        if !self.cancel.is_cancelled() {
            return Ok(());
        }
        Err(Error::Cancelled { what: crate::error::What::new("settle layer", self.root.display()) })
    }

    /// Directories that the tar does not name, parents first.
    fn directories(&mut self, mut waiting: VecDeque<PathBuf>) -> Result<()> {
        while let Some(path) = waiting.pop_front() {
            self.check()?;
            if !self.implied.contains(&path) {
                continue;
            }
            let place = self.resolve(&path)?;
            if place.path == path {
                self.like.insert(path, place.top());
                continue;
            }
            self.is_changed = true;
            self.make(&place).during("settle layer", path.display(), self.root)?;
            self.move_into(&path, &place.path).during("settle layer", path.display(), self.root)?;
            for other in &mut waiting {
                if let Some(moved) = moved(other, &path, &place.path) {
                    *other = moved;
                }
            }
        }
        Ok(())
    }

    /// Keeps the times of a directory that is about to be changed.
    fn remember(&mut self, directory: &Path) -> io::Result<()> {
        if !self.times.contains_key(directory) {
            let facts = file::facts_of(file::open_dir(self.root, directory)?)?;
            self.times.insert(directory.to_owned(), facts.times());
        }
        Ok(())
    }

    /// What an image's user may not read is stored so that whoever reads the snapshot can.
    fn keep_readable(&self, directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
        if self.own.form == Form::Plain { xattrs::keep_readable(directory, name) } else { Ok(()) }
    }

    /// Makes directories look like those below, and gives the others their times back.
    fn finish(&mut self) -> io::Result<()> {
        let keep = keep();
        for (path, layer) in &self.like {
            let directory = file::open_dir(self.root, path)?;
            let here = OsStr::new(".");
            let Some(layer) = *layer else {
                rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))?;
                rustix::fs::utimensat(&directory, here, &EPOCH, AtFlags::empty())?;
                continue;
            };
            let model = self.below.open(layer, path)?;
            let facts = file::facts_of(&model)?;
            dress((&model, here), &facts, (&directory, here), keep, &mut Skipped::default())?;
            self.keep_readable(&directory, here)?;
        }
        for (path, times) in &self.times {
            if !self.like.contains_key(path) {
                let directory = file::open_dir(self.root, path)?;
                rustix::fs::utimensat(&directory, ".", times, AtFlags::empty())?;
            }
        }
        Ok(())
    }
}

/// What is below has been applied by the same rules: nothing is to be left out again.
fn keep() -> Keep {
    Keep { devices: true, setuid: true, ..Keep::as_able() }
}

/// Where `path` is once `from` has become `to`.
fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(from).ok()?;
    Some(if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
}
