//! Snapshots that are not committed yet.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::key::SnapshotKey;
use crate::layer::Usage;
use crate::root::trash;

/// A directory that a layer is applied to. Dropped without being published it goes to the trash.
#[derive(Debug)]
pub struct Staged {
    pub(super) key: SnapshotKey,
    /// The directory in `staging/`.
    pub(super) path: PathBuf,
    pub(super) fs: PathBuf,
    pub(super) trash: PathBuf,
    /// Where settling changed it.
    pub(super) usage: Option<Usage>,
    pub(super) is_published: bool,
}

impl Staged {
    /// What it is to be called.
    #[must_use]
    pub fn key(&self) -> &SnapshotKey {
        &self.key
    }

    /// Where the layer's entries go. The directory above it is for the owner alone.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.fs
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.is_published {
            return;
        }
        // What stays is in staging/, where whoever opens the root finds it without an owner.
        if let Err(error) = trash::put(&self.path, &self.trash) {
            tracing::warn!(%error, "a staged snapshot stays behind");
        }
    }
}

/// A staged snapshot all of whose data are on disk: only such a one can be published.
#[derive(Debug)]
pub struct Synced(pub(super) Staged);

impl Synced {
    /// What it is to be called.
    #[must_use]
    pub fn key(&self) -> &SnapshotKey {
        &self.0.key
    }

    /// Where the layer's entries are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.directory()
    }
}

/// A snapshot that may be changed. It stays until it is committed or removed, across processes too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// The record it was made for.
    pub key: SnapshotKey,
    /// What it stands on, the bottom one first.
    pub stack: Vec<SnapshotKey>,
    /// Its directory in `snapshots/`.
    #[serde(skip)]
    pub(crate) path: PathBuf,
}

impl Active {
    /// Overlay: what was changed. Plain: the whole tree.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.path.join("fs")
    }

    /// What overlayfs needs beside it.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }
}
