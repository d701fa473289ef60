//! What is written down of a mount before it is made.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{IoContext as _, Result};
use crate::snapshot::SnapshotKey;
use crate::snapshot::places::sync_directory;

/// Whether a mount may be written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nobody can change it.
    #[default]
    ReadOnly,
    /// Changes are its own, or those of an active snapshot.
    ReadWrite,
}

/// By what a mount is known in the mount table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mark {
    /// The source of overlayfs.
    Overlay(String),
    /// The end of the path of the directory that is shown.
    Directory(PathBuf),
}

/// A mount that was made, or was to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    /// Its name in `mounts/`.
    pub id: String,
    /// Where, without links.
    pub dir: PathBuf,
    /// Whether it may be written to.
    pub mode: Mode,
    /// What it shows, the bottom one first.
    pub stack: Vec<SnapshotKey>,
    /// The active snapshot on top.
    pub upper: Option<SnapshotKey>,
    /// The process that made it.
    pub pid: u32,
    /// What that process was asked to do.
    pub command: String,
    /// The name of the image it shows, where it was one with a name.
    #[serde(default)]
    pub image: Option<String>,
    /// When, in seconds since 1970.
    pub since: u64,
    /// Whether the directory was made for it, and goes with it.
    pub made_directory: bool,
    /// Whether the mount was made: until then it is the maker's alone.
    pub(super) is_made: bool,
    /// The boot it belongs to: none outlives one.
    pub(super) boot: String,
    /// The mount namespace it was made in.
    pub(super) namespace: String,
    pub(super) mark: Mark,
}

/// The boot of this machine and the mount namespace of this process.
pub(super) fn here() -> Result<(String, String)> {
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    let namespace = Path::new("/proc/self/ns/mnt");
    let id = fs::read_to_string(boot).during("read boot id", boot.display(), boot)?;
    let link = fs::read_link(namespace).during("read mount namespace", namespace.display(), namespace)?;
    Ok((id.trim().to_owned(), link.to_string_lossy().into_owned()))
}

pub(super) fn file_name(id: &str) -> String {
    format!("{id}.json")
}

/// Writes a record, durably. Whoever has what is returned is its maker; others see that there is one.
pub(super) fn write(mounts: &Path, record: &MountRecord) -> Result<File> {
    let operation = "record mount";
    let (path, temporary) = (mounts.join(file_name(&record.id)), mounts.join(format!(".{}.new", record.id)));
    let write = || -> io::Result<File> {
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(options.create(true).write(true).truncate(true), 0o600);
        let mut file = options.open(&temporary)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        Ok(file)
    };
    let held = write().during(operation, record.dir.display(), &path)?;
    sync_directory(mounts, operation)?;
    Ok(held)
}

/// Whether the maker of a record, or of one to be, is still at it.
pub(super) fn is_held(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).during("read mounts", path.display(), path),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()).during("read mounts", path.display(), path),
    }
}
