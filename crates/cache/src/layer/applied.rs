//! What came of applying a layer.

use std::path::PathBuf;

use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

/// A layer that has been applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The digest of the uncompressed tar, trailing bytes and all.
    pub diff_id: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What the layer's own files take in the directory.
    pub usage: Usage,
    /// What was left out, as the options say.
    pub skipped: Skipped,
    /// What can be settled only with the layers below; empty for [`Form::Tree`](super::Form::Tree).
    pub pending: Pending,
}

/// What a tree takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of allocated blocks.
    pub bytes: u64,
    /// Inodes; those of several names count once.
    pub inodes: u64,
}

/// What was left out of a layer, as its options say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Device nodes.
    pub devices: u64,
    /// Files whose setuid or setgid bit was dropped.
    pub setuid: u64,
    /// Extended attributes: those the options leave out, those of overlayfs, and those the file system does not take.
    pub xattrs: u64,
}

impl Usage {
    /// Adds an inode.
    #[allow(clippy::useless_conversion, reason = "the type differs between architectures")]
    pub(super) fn count(&mut self, stat: &rustix::fs::Stat) {
        self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        self.inodes += 1;
    }

    /// Takes off what has been removed.
    pub(super) fn free(&mut self, freed: Self) {
        self.bytes = self.bytes.saturating_sub(freed.bytes);
        self.inodes = self.inodes.saturating_sub(freed.inodes);
    }
}

/// What a layer leaves to the layers below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Directories that the tar has entries in and does not name, parents before children, relative to the layer's root:
    /// mode, owner, times and xattrs are those of the directory below. What is a link there is gone through. The root is
    /// one of them, as the empty path, where the tar does not name it.
    ///
    /// Until that is settled, and where there is none below, it is 0755, the caller's, of the epoch. One that the layer
    /// hides below (a whiteout of it, or a mark of opacity above it, came first) is that for good, and not listed. Marks
    /// that came later change nothing: what is listed takes the metadata of the one below, hidden or not.
    pub implied: Vec<PathBuf>,
    /// Hard links to files that the tar does not have, by name. Nothing is at their names yet.
    pub links: Vec<Link>,
}

/// A hard link to a file of a layer below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where the link is to be, relative to the layer's root.
    pub name: PathBuf,
    /// What it links to, relative to the same.
    pub target: PathBuf,
}
