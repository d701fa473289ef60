//! Where a path leads in a layer and those below it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode};

use super::Settling;
use crate::error::{Error, IoContext as _, Result};
use crate::snapshot::file::{self, Facts};
use crate::snapshot::layers::Shown;
use crate::snapshot::xattrs;

/// As many links as Linux follows.
const MAX_LINKS: u32 = 40;

/// A directory, which may not exist.
#[derive(Debug)]
pub(super) struct Place {
    /// Without links.
    pub(super) path: PathBuf,
    /// For the root and each component: the layers below that show the directory, the top one first.
    shown: Vec<Vec<usize>>,
}

impl Place {
    fn root(shown: Vec<usize>) -> Self {
        Self { path: PathBuf::new(), shown: vec![shown] }
    }

    /// The layers below that show it, the top one first.
    pub(super) fn layers(&self) -> &[usize] {
        self.shown.last().map_or(&[], Vec::as_slice)
    }

    /// The top layer below that shows it.
    pub(super) fn top(&self) -> Option<usize> {
        self.layers().first().copied()
    }
}

/// What there is at a name.
pub(super) struct Found {
    /// In the layer itself.
    pub(super) own: Option<Facts>,
    /// Below, as far as the layer does not hide it.
    pub(super) below: Shown,
    /// Whether the layer hides what is below.
    pub(super) is_hidden: bool,
}

impl Settling<'_> {
    /// The directory that `path` leads to, inside the image. What does not exist is taken for a directory to be.
    pub(super) fn resolve(&self, path: &Path) -> Result<Place> {
        let mut place = Place::root(self.below.all());
        let mut todo: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                if place.path.pop() {
                    place.shown.pop();
                }
                continue;
            }
            let step = self.step(&place, &name).during("settle layer", path.display(), self.root)?;
            match step {
                Step::Directory(shown) => {
                    place.path.push(&name);
                    place.shown.push(shown);
                }
                Step::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(invalid(path, "leads through too many symbolic links"));
                    }
                    if target.is_absolute() {
                        place = Place::root(self.below.all());
                    }
                    for part in target.components().rev() {
                        match part {
                            Component::Normal(name) => todo.push_front(name.to_owned()),
                            Component::ParentDir => todo.push_front("..".into()),
                            _ => {}
                        }
                    }
                }
                Step::File => return Err(invalid(path, "leads through what is not a directory")),
            }
        }
        Ok(place)
    }

    /// What there is at `name` in a directory.
    pub(super) fn find(&self, place: &Place, name: &OsStr) -> io::Result<Found> {
        let directory = match file::open_dir(self.root, &place.path) {
            Ok(directory) => Some(directory),
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(error),
        };
        let mut found = Found { own: None, below: Shown::Nothing, is_hidden: false };
        if let Some(directory) = directory {
            found.is_hidden = self.own.hides(&directory, name)? || self.own.is_opaque(&directory)?;
            found.own = file::facts(&directory, name)?;
        }
        if !found.is_hidden {
            found.below = self.below.look(place.layers(), &place.path, name)?;
        }
        Ok(found)
    }

    fn step(&self, place: &Place, name: &OsStr) -> io::Result<Step> {
        let Found { own, mut below, is_hidden } = self.find(place, name)?;
        let is_implied = self.implied.contains(&place.path.join(name));
        if is_implied && is_hidden {
            // Marks that came after the directory: it looks like the one that they hide.
            below = self.below.look(place.layers(), &place.path, name)?;
        }
        match own {
            // Named by the tar: whatever is not a directory below has been replaced.
            Some(own) if own.is_dir() && !is_implied => Ok(Step::Directory(match below {
                Shown::Directory(layers) => layers,
                _ => Vec::new(),
            })),
            Some(own) if own.kind() == FileType::Symlink => {
                let directory = file::open_dir(self.root, &place.path)?;
                Ok(Step::Link(file::read_link(&directory, name)?))
            }
            Some(own) if !own.is_dir() && !own.is_whiteout() => Ok(Step::File),
            _ => match below {
                Shown::Nothing => Ok(Step::Directory(Vec::new())),
                Shown::Directory(layers) => Ok(Step::Directory(layers)),
                Shown::File(layer, facts) if facts.kind() == FileType::Symlink => {
                    let directory = self.below.open(layer, &place.path)?;
                    Ok(Step::Link(file::read_link(&directory, name)?))
                }
                Shown::File(..) => Ok(Step::File),
            },
        }
    }

    /// Makes a directory and those above it in the layer, to look like those below.
    pub(super) fn make(&mut self, place: &Place) -> io::Result<()> {
        let mut path = PathBuf::new();
        for (name, shown) in file::names(&place.path).zip(place.shown.iter().skip(1)) {
            let parent = file::open_dir(self.root, &path)?;
            let own = file::facts(&parent, name)?;
            if own.is_none_or(|own| !own.is_dir()) {
                self.remember(&path)?;
                // Only a whiteout can be in the way: the directory is new, and hides what the whiteout hid.
                let hid = own.is_some();
                if hid {
                    rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
                }
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                let whole = path.join(name);
                if hid {
                    xattrs::set(&file::open_dir(self.root, &whole)?, xattrs::OPAQUE, b"y")?;
                }
                self.like.insert(whole.clone(), shown.first().copied());
                if !shown.is_empty() {
                    self.implied.insert(whole);
                }
                self.is_changed = true;
            }
            path.push(name);
        }
        Ok(())
    }
}

enum Step {
    Directory(Vec<usize>),
    Link(PathBuf),
    File,
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

pub(super) fn invalid(path: &Path, reason: &str) -> Error {
    Error::invalid("settle layer", path.display(), reason)
}
