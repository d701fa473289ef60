//! The directories that snapshots live in, and how things leave them.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::{IoContext as _, Result};
use crate::root::trash;

/// Directories of one root, on one file system.
///
/// ```text
/// snapshots/kind                     the snapshotter's name: a root never mixes two
/// snapshots/sha256-HEX/  info.json   written and synced before the directory is renamed here
///                        fs/         one layer's own entries
/// snapshots/active-ID/   active.json what it stands on
///                        fs/ work/   overlay: upper and work directory; plain: fs/ is the whole tree
/// staging/KEY.NONCE/fs/              layers being applied: nobody's once their maker is dead
/// trash/NONCE/                       to be deleted, slowly, by the root's sweeper
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Committed and active snapshots.
    pub snapshots: PathBuf,
    /// Layers being applied.
    pub staging: PathBuf,
    /// What is to be deleted.
    pub trash: PathBuf,
}

impl Places {
    /// Those below a root, as they are called there.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { snapshots: root.join("snapshots"), staging: root.join("staging"), trash: root.join("trash") }
    }

    /// Makes those that are not there, for the owner alone.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn create(&self) -> Result<()> {
        for path in [&self.snapshots, &self.staging, &self.trash] {
            private_directories(path).during("open snapshots", path.display(), path)?;
        }
        Ok(())
    }

    /// Moves a file or tree to the trash: at once, whatever its size. Nothing there is nothing to do.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn discard(&self, path: &Path) -> Result<()> {
        trash::put(path, &self.trash).map(drop)
    }
}

/// Waits until the names in a directory are on disk.
pub(crate) fn sync_directory(path: &Path, operation: &'static str) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).during(operation, path.display(), path)
}

/// Makes a directory for the owner alone.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

pub(crate) fn private_directories(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// A name that is taken by nobody else.
pub(crate) fn nonce() -> String {
    format!("{:016x}", fastrand::u64(..))
}
