//! A directory made into a layer again: always the same bytes for the same trees.
//!
//! # The order
//! Directories come before what is in them, names are sorted by their bytes, and a directory's whiteouts come before its
//! other entries (image-spec layer.md, "Whiteouts"). [`diff()`] writes explicit whiteouts only, as the image-spec asks of
//! those who make layers: it sees what is gone. [`tar_of`] has not seen it and says of an opaque directory that it is.
//!
//! # What is written
//! What differs in type, mode, owner, group, mtime, extended attributes, target, device number or content, and the names
//! that have become one file or have ceased to be. Parents of what is written are not, if they are the same. Names of
//! users, access times, sockets, SELinux labels and what steers overlayfs are no part of an image.
//!
//! Files with holes stay sparse (GNU tar's PAX format 1.0, which Go's, Python's, BSD's and GNU's tar read): a sparse log
//! of a terabyte must not become a terabyte of tar, which limits on bombs would rightly refuse. What counts as a hole is
//! decided by the content, in units of 4 KiB, and only in files that have holes at all.

mod content;
mod links;
mod listing;
mod node;
mod walk;

use std::io::Write;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use self::walk::{Differ, Source};
use super::Form;
#[allow(unused_imports, reason = "named in doc comments")]
use crate::error::{Error, Result};

/// What became of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diffed {
    /// Bytes of the tar.
    pub size: u64,
    /// Entries that say that something is there.
    pub entries: u64,
    /// Entries that say that something is gone, or all that is below.
    pub whiteouts: u64,
    /// Sockets, which no tar can hold.
    pub sockets: u64,
}

impl Diffed {
    /// Whether nothing differs: the tar is two blocks of zeros.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0 && self.whiteouts == 0
    }
}

/// Writes the layer that makes `upper` of `lower`, or of nothing.
///
/// Blocks: everything of both trees is looked at, and the content of two files that cannot be told apart otherwise is read.
/// Nobody may write to either tree meanwhile. The root itself is an entry (`./`) if it differs, as it does from nothing.
///
/// # Errors
/// [`Error::Invalid`] if a tree holds what no layer can (a name that begins with `.wh.`, an extended attribute with `=` in
/// its name) or changed meanwhile, [`Error::Cancelled`], [`Error::Io`]. What was written until then is of no use.
pub fn diff(
    lower: Option<&Path>,
    upper: &Path,
    out: impl Write,
    cancel: &CancellationToken,
) -> Result<Diffed> {
    Differ::new(upper, Source::Whole { lower }, out, cancel).run()
}

/// Writes the layer that a directory of that layer's own is, whatever is below it.
///
/// Blocks. Whiteouts are read as `form` has them; for [`Form::Overlay`] the xattrs of both `trusted.overlay.` and
/// `user.overlay.` count. What is in the directory is written, directories that overlayfs has only copied up among it,
/// and always its root (`./`): that it differs from the root below cannot be seen from here. [`Form::Tree`] is the same
/// as [`diff()`] from nothing.
///
/// # Errors
/// As [`diff()`]; [`Error::Invalid`] also for files whose content overlayfs keeps below (`redirect`, `metacopy`).
pub fn tar_of(dir: &Path, form: Form, out: impl Write, cancel: &CancellationToken) -> Result<Diffed> {
    Differ::new(dir, Source::Layer(form), out, cancel).run()
}
