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
    /// What the directory takes.
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
    /// Setuid and setgid bits.
    pub setuid: u64,
    /// Extended attributes.
    pub xattrs: u64,
}

/// What a layer leaves to the layers below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Directories that the tar has entries in and does not name, parents before children, relative to the layer's root:
    /// mode, owner, times and xattrs are those of the directory below. What is a link there is gone through.
    pub implied: Vec<PathBuf>,
    /// Hard links to files that the tar does not have.
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
