//! What is known of a committed snapshot, kept beside it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use super::key::SnapshotKey;
use crate::error::{IoContext as _, Result};
use crate::layer::{Applied, Skipped, Usage};

/// A committed snapshot: one layer's own entries, never changed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// What it is called.
    pub key: SnapshotKey,
    /// What its layer uncompresses to; not known of what was committed from a mutable one.
    pub diff_id: Option<Digest>,
    /// The snapshot it was made on.
    pub parent: Option<SnapshotKey>,
    /// What its directory takes; files of several names count once.
    pub usage: Usage,
    /// What was left out of the layer.
    #[serde(with = "SkippedFields")]
    pub skipped: Skipped,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

/// The same fields: how they are written is this module's business.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Skipped")]
struct SkippedFields {
    devices: u64,
    setuid: u64,
    xattrs: u64,
}

/// What publishing a snapshot says of it.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// What its layer uncompresses to.
    pub diff_id: Option<Digest>,
    /// The snapshot it was made on.
    pub parent: Option<SnapshotKey>,
    /// What its directory took before it was settled.
    pub usage: Usage,
    /// What was left out of the layer.
    pub skipped: Skipped,
}

impl About {
    /// Of a layer that has been applied.
    #[must_use]
    pub fn applied(applied: &Applied, parent: Option<SnapshotKey>) -> Self {
        let Applied { diff_id, usage, skipped, .. } = applied;
        Self { diff_id: Some(diff_id.clone()), parent, usage: *usage, skipped: *skipped }
    }
}

impl SnapshotInfo {
    pub(super) fn new(key: SnapshotKey, about: About) -> Self {
        let About { diff_id, parent, usage, skipped } = about;
        Self { key, diff_id, parent, usage, skipped, created: now() }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Writes a small file and waits until it is on disk. Its name is not: that is the directory's.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T, operation: &'static str) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()
    };
    write().during(operation, path.display(), path)
}

/// Writes a small file and leaves it to somebody else to sync it.
pub(crate) fn write_later<T: Serialize>(path: &Path, value: &T, operation: &'static str) -> Result<()> {
    let write = || fs::write(path, serde_json::to_vec(value)?);
    write().during(operation, path.display(), path)
}

/// Reads a small file: nothing where it is not there, or is not whole.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(path: &Path, operation: &'static str) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error).during(operation, path.display(), path),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "not a record of ours: taken for absent");
            Ok(None)
        }
    }
}
