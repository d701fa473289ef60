//! What a directory holds, as a layer says it: what is gone from below, and what is there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::node::xattr;
use crate::layer::Form;

const MARKER: &[u8] = b".wh.";
const MARKER_OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that union file systems keep for themselves; none is part of an image.
const MARKER_OTHER: &[u8] = b".wh..wh.";
const PREFIXES: [&str; 2] = ["trusted.overlay.", "user.overlay."];

/// What a directory holds. All names are sorted by their bytes.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Whether nothing of the layers below is to be seen in it.
    pub(super) opaque: bool,
    /// What is gone from the layers below.
    pub(super) gone: BTreeSet<OsString>,
    /// What is there.
    pub(super) there: BTreeSet<OsString>,
    /// How many sockets are there, which no tar can hold.
    pub(super) sockets: u64,
}

impl Listing {
    /// What a directory of a whole tree holds.
    pub(super) fn plain(dir: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_socket() {
                listing.sockets += 1;
            } else {
                listing.there.insert(entry.file_name());
            }
        }
        Ok(listing)
    }

    /// The same, with what of `lower` is gone. A directory that is not below has nothing to lose.
    pub(super) fn against(dir: &Path, lower: &Path) -> io::Result<Self> {
        let mut listing = Self::plain(dir)?;
        let below = Self::plain(lower)?.there;
        listing.gone = below.into_iter().filter(|name| !listing.there.contains(name)).collect();
        Ok(listing)
    }

    /// What a directory of one layer's own holds.
    pub(super) fn of_layer(dir: &Path, form: Form) -> io::Result<Self> {
        let listing = Self::plain(dir)?;
        match form {
            Form::Tree => Ok(listing),
            Form::Plain => Ok(listing.with_markers()),
            Form::Overlay => listing.with_devices(dir),
        }
    }

    fn with_markers(mut self) -> Self {
        for name in std::mem::take(&mut self.there) {
            match name.as_bytes() {
                MARKER_OPAQUE => self.opaque = true,
                other if other.starts_with(MARKER_OTHER) => {}
                other => match other.strip_prefix(MARKER) {
                    Some(gone) => drop(self.gone.insert(OsString::from_vec(gone.to_vec()))),
                    None => drop(self.there.insert(name)),
                },
            }
        }
        self
    }

    /// Overlayfs (kernel documentation, "whiteouts and opaque directories"): a character device 0/0 is a whiteout; so is
    /// an empty file with an xattr `whiteout`, in a directory whose xattr `opaque` is `x`.
    fn with_devices(mut self, dir: &Path) -> io::Result<Self> {
        let opaque = overlay_xattr(dir, "opaque")?;
        self.opaque = opaque.as_deref() == Some(b"y");
        let by_xattr = opaque.as_deref() == Some(b"x");
        for name in std::mem::take(&mut self.there) {
            let path = dir.join(&name);
            let meta = fs::symlink_metadata(&path)?;
            let gone = if meta.file_type().is_char_device() {
                meta.rdev() == 0
            } else {
                by_xattr && meta.is_file() && meta.len() == 0 && overlay_xattr(&path, "whiteout")?.is_some()
            };
            if gone {
                self.gone.insert(name)
            } else {
                self.there.insert(name)
            };
        }
        Ok(self)
    }
}

/// Whether a name has a meaning of its own in a layer, so that no file can be called so.
pub(super) fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(MARKER)
}

/// The name of the entry that says that `name` is gone.
pub(super) fn whiteout(name: &[u8]) -> Vec<u8> {
    [MARKER, name].concat()
}

/// The name of the entry that says that nothing from below is to be seen.
pub(super) fn opaque() -> &'static [u8] {
    MARKER_OPAQUE
}

/// Why what overlayfs says of a file cannot be told without the layers below it, if so.
pub(super) fn needs_below(path: &Path) -> io::Result<Option<&'static str>> {
    if overlay_xattr(path, "redirect")?.is_some() {
        return Ok(Some("overlayfs keeps its content under another name below: mount with redirect_dir=off"));
    }
    if overlay_xattr(path, "metacopy")?.is_some() {
        return Ok(Some("overlayfs keeps its content below: mount with metacopy=off"));
    }
    Ok(None)
}

fn overlay_xattr(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    for prefix in PREFIXES {
        if let Some(value) = xattr(path, [prefix, name].concat().as_bytes())? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
