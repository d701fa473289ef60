//! Directories of layers, looked at as the one tree they make.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::file::{self, Facts};
use super::xattrs;
use crate::layer::Form;

/// Of image-spec layer.md, "Whiteouts".
pub(crate) const WHITEOUT: &str = ".wh.";
/// Of image-spec layer.md, "Opaque Whiteout".
pub(crate) const OPAQUE_MARKER: &str = ".wh..wh..opq";

/// A stack of directories, each with one layer's own entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers<'a> {
    pub(crate) form: Form,
    /// The bottom one first.
    pub(crate) roots: &'a [PathBuf],
}

/// What a stack shows at a name.
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
#[derive(Debug)]
pub(crate) enum Shown {
    Nothing,
    /// The layers that have the directory, the top one first. Which of them are hidden by one that is opaque is seen
    /// when they are looked into.
    Directory(Vec<usize>),
    /// Anything else, and the layer it is in.
    File(usize, Facts),
}

impl Layers<'_> {
    /// The layers that make the root directory.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.roots.len()).rev().collect()
    }

    /// Opens a directory that a layer is known to have.
    pub(crate) fn open(&self, layer: usize, directory: &Path) -> io::Result<OwnedFd> {
        let root = self.roots.get(layer).ok_or(io::ErrorKind::NotFound)?;
        file::open_dir(root, directory)
    }

    /// What is shown at `name` in a directory that the layers `of` have.
    pub(crate) fn look(&self, of: &[usize], directory: &Path, name: &OsStr) -> io::Result<Shown> {
        let mut directories = Vec::new();
        for &layer in of {
            let parent = self.open(layer, directory)?;
            match file::facts(&parent, name)? {
                Some(facts) if self.form == Form::Overlay && facts.is_whiteout() => break,
                Some(facts) if facts.is_dir() => directories.push(layer),
                Some(facts) if directories.is_empty() => return Ok(Shown::File(layer, facts)),
                Some(_) => break,
                None => {}
            }
            if self.hides(&parent, name)? || self.is_opaque(&parent)? {
                break;
            }
        }
        Ok(if directories.is_empty() { Shown::Nothing } else { Shown::Directory(directories) })
    }

    /// Whether a marker in this layer hides what the layers below have at `name`.
    pub(crate) fn hides(&self, directory: &OwnedFd, name: &OsStr) -> io::Result<bool> {
        if self.form == Form::Overlay {
            return Ok(file::facts(directory, name)?.is_some_and(|facts| facts.is_whiteout()));
        }
        Ok(file::facts(directory, &marker(name))?.is_some())
    }

    /// Whether a directory of a layer hides all that the layers below have in it.
    pub(crate) fn is_opaque(&self, directory: &OwnedFd) -> io::Result<bool> {
        if self.form == Form::Overlay {
            return xattrs::is_opaque(directory);
        }
        Ok(file::facts(directory, OsStr::new(OPAQUE_MARKER))?.is_some())
    }

    /// All that is shown in a directory that the layers `of` have: names, and which layers show them.
    pub(crate) fn merge(&self, of: &[usize], directory: &Path) -> io::Result<Vec<(OsString, Merged)>> {
        let mut found: HashMap<OsString, (Merged, bool)> = HashMap::new();
        for &layer in of {
            let parent = self.open(layer, directory)?;
            let mut hidden = Vec::new();
            let mut is_opaque = self.form == Form::Overlay && xattrs::is_opaque(&parent)?;
            for (name, kind) in file::list(&parent)? {
                if self.form != Form::Overlay
                    && let Some(of) = name.as_bytes().strip_prefix(WHITEOUT.as_bytes())
                {
                    is_opaque |= name == OPAQUE_MARKER;
                    hidden.push(OsString::from_vec(of.to_vec()));
                    continue;
                }
                let kind = self.kind(&parent, &name, kind)?;
                match found.entry(name) {
                    Entry::Vacant(free) => {
                        free.insert(match kind {
                            None => (Merged::Hidden, true),
                            Some(FileType::Directory) => (Merged::Directory(vec![layer]), false),
                            Some(_) => (Merged::File(layer), true),
                        });
                    }
                    Entry::Occupied(mut taken) => match taken.get_mut() {
                        (Merged::Directory(layers), false) if kind == Some(FileType::Directory) => {
                            layers.push(layer);
                        }
                        (_, closed) => *closed = true,
                    },
                }
            }
            for name in hidden {
                found.entry(name).or_insert((Merged::Hidden, true)).1 = true;
            }
            if is_opaque {
                break;
            }
        }
        let shown = found.into_iter().map(|(name, (merged, _))| (name, merged));
        Ok(shown.filter(|(_, merged)| !matches!(merged, Merged::Hidden)).collect())
    }

    /// The kind of a file; nothing for a whiteout.
    pub(super) fn kind(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        listed: FileType,
    ) -> io::Result<Option<FileType>> {
        let is_sure = match listed {
            FileType::Unknown => false,
            FileType::CharacterDevice => self.form != Form::Overlay,
            _ => true,
        };
        if is_sure {
            return Ok(Some(listed));
        }
        let facts = file::facts(parent, name)?.ok_or(io::ErrorKind::NotFound)?;
        let is_whiteout = self.form == Form::Overlay && facts.is_whiteout();
        Ok((!is_whiteout).then(|| facts.kind()))
    }
}

/// What a stack shows at a name, without a look at the file itself.
#[derive(Clone, Debug)]
pub(crate) enum Merged {
    Hidden,
    /// The layers that have the directory, the top one first.
    Directory(Vec<usize>),
    /// The layer it is in.
    File(usize),
}

/// The name of the marker that hides `name`.
pub(crate) fn marker(name: &OsStr) -> OsString {
    let mut marker = OsString::from(WHITEOUT);
    marker.push(name);
    marker
}
