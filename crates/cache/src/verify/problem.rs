//! What may be wrong with a root.

use std::fmt;
use std::path::PathBuf;

use oci_spec::image::Digest;

use crate::record::RecordId;
use crate::snapshot::SnapshotKey;

/// Something in a root.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Object {
    /// A blob of the store.
    Blob(Digest),
    /// A name, and what it needs.
    Name(String),
    /// A record.
    Record(String),
    /// A snapshot.
    Snapshot(String),
    /// An unfinished blob.
    Partial(Digest),
    /// Something that is being made, or was.
    Staging(PathBuf),
    /// A mount.
    Mount(PathBuf),
    /// The database.
    Database,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is about.
    pub object: Object,
    /// What is wrong, in words.
    pub reason: String,
    /// Nothing is lost by it: what a killed process has left.
    pub is_leftover: bool,
    /// What became of it.
    pub repair: Repair,
}

/// What became of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repair {
    /// Nobody asked for it.
    NotAsked,
    /// It is mended: how.
    Done(String),
    /// A living process needs it, or works on it.
    InUse,
    /// What is lost, and why it cannot be mended.
    Impossible(String),
}

impl Problem {
    pub(super) fn new(object: Object, reason: impl Into<String>, repair: Repair) -> Self {
        Self { object, reason: reason.into(), is_leftover: false, repair }
    }

    pub(super) fn leftover(object: Object, reason: impl Into<String>, repair: Repair) -> Self {
        Self { is_leftover: true, ..Self::new(object, reason, repair) }
    }

    /// Whether something is damaged still.
    #[must_use]
    pub fn remains(&self) -> bool {
        !self.is_leftover && !self.is_repaired()
    }

    /// Whether it was mended.
    #[must_use]
    pub fn is_repaired(&self) -> bool {
        matches!(self.repair, Repair::Done(_))
    }
}

impl Object {
    /// What kind of thing it is, in one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Blob(_) => "blob",
            Self::Name(_) => "name",
            Self::Record(_) => "record",
            Self::Snapshot(_) => "snapshot",
            Self::Partial(_) => "partial",
            Self::Staging(_) => "staging",
            Self::Mount(_) => "mount",
            Self::Database => "database",
        }
    }

    /// Which one it is; nothing where there is one.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Blob(digest) | Self::Partial(digest) => digest.to_string(),
            Self::Name(name) | Self::Record(name) | Self::Snapshot(name) => name.clone(),
            Self::Staging(path) | Self::Mount(path) => path.display().to_string(),
            Self::Database => String::new(),
        }
    }
}

impl From<&RecordId> for Object {
    fn from(id: &RecordId) -> Self {
        Self::Record(id.to_string())
    }
}

impl From<&SnapshotKey> for Object {
    fn from(key: &SnapshotKey) -> Self {
        Self::Snapshot(key.to_string())
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.write_str("database"),
            other => write!(f, "{} {}", other.kind(), other.name()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.reason)?;
        match &self.repair {
            Repair::NotAsked => Ok(()),
            Repair::Done(how) => write!(f, "; mended: {how}"),
            Repair::InUse => f.write_str("; left alone: a living process uses it"),
            Repair::Impossible(why) => write!(f, "; not mended: {why}"),
        }
    }
}
