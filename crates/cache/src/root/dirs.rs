//! The directories of a root.

use std::path::{Path, PathBuf};

/// A directory of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    /// The image layout.
    Store,
    /// Unfinished blobs.
    Ingest,
    /// What makes blobs fetchable again.
    Hints,
    /// The databases.
    Meta,
    /// Trees that are whole.
    Snapshots,
    /// Trees that are being made.
    Staging,
    /// What is mounted where.
    Mounts,
    /// What is to be deleted.
    Trash,
    /// Who lives, and what they pin.
    Live,
    /// Jobs.
    Jobs,
}

impl Dir {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Store,
        Self::Ingest,
        Self::Hints,
        Self::Meta,
        Self::Snapshots,
        Self::Staging,
        Self::Mounts,
        Self::Trash,
        Self::Live,
        Self::Jobs,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Ingest => "ingest",
            Self::Hints => "hints",
            Self::Meta => "meta",
            Self::Snapshots => "snapshots",
            Self::Staging => "staging",
            Self::Mounts => "mounts",
            Self::Trash => "trash",
            Self::Live => "live",
            Self::Jobs => "jobs",
        }
    }

    /// Where it is in the root at `root`.
    #[must_use]
    pub fn of(self, root: &Path) -> PathBuf {
        root.join(self.name())
    }
}
