//! Takes mounts away.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::mounter::Mounter;
use super::record::MountRecord;
use super::state::{Mounted, Stale, State};
use super::{attach, mountinfo};
use crate::error::{Error, Result, What};

const OPERATION: &str = "unmount";

impl Mounter {
    /// Takes a mount away, and with it the changes that were its own. A stale one is forgotten. If `lazy`, one that is in
    /// use goes out of sight at once; those who use it then have no promise that its snapshots stay.
    ///
    /// # Errors
    /// * [`Error::NotFound`]: nothing of this root is mounted there.
    /// * [`Error::Locked`]: somebody uses it, something else is mounted over it, or it is still being made.
    /// * [`Error::Refused`]: it is in another mount namespace, or the process may not unmount.
    pub fn unmount(&self, dir: &Path, lazy: bool) -> Result<MountRecord> {
        let Mounted { record, state } = self.find(dir)?;
        let what = || What::new(OPERATION, record.dir.display());
        let locked = |reason: &str| Error::Locked { what: what(), reason: reason.to_owned() };
        match state {
            State::Live => {}
            State::Making => return Err(locked(&format!("process {} is mounting it", record.pid))),
            State::Elsewhere => {
                let reason = "it is in another mount namespace: unmount it there".to_owned();
                return Err(Error::Refused { what: what(), reason });
            }
            State::Stale(Stale::NamespaceGone) => {
                // What has its name here is not its directory.
                self.forget(&MountRecord { made_directory: false, ..record.clone() })?;
                return Ok(record);
            }
            State::Stale(_) => {
                self.forget(&record)?;
                return Ok(record);
            }
        }
        let table = mountinfo::read()?;
        let top = table.iter().rev().find(|mount| mount.point == record.dir);
        if top.is_some_and(|top| !top.is(&record.dir, &record.mark)) {
            return Err(locked("something else is mounted over it"));
        }
        attach::detach(&record.dir, lazy).map_err(|error| {
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::BUSY) => locked(
                    "a process has a file open there, or its working directory: end it, or unmount lazily",
                ),
                Some(Errno::PERM) => Error::Refused {
                    what: what(),
                    reason: "unmounting needs root (CAP_SYS_ADMIN)".to_owned(),
                },
                _ => Error::Io { what: what(), path: record.dir.clone(), source: error },
            }
        })?;
        self.forget(&record)?;
        Ok(record)
    }

    /// The mount on a directory: the one that lives, if several were recorded.
    fn find(&self, dir: &Path) -> Result<Mounted> {
        let names = names(dir);
        let mut found = self.list()?;
        found.retain(|mounted| names.contains(&mounted.record.dir));
        found.sort_by_key(|mounted| !mounted.state.is_live());
        let reason = "nothing of this root is mounted there";
        found.into_iter().next().ok_or_else(|| Error::not_found(OPERATION, dir.display(), reason))
    }
}

/// A directory as it may be recorded: it may be gone, or be a link now.
fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::canonicalize(dir).into_iter().collect();
    names.extend(std::path::absolute(dir));
    if let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        names.extend(fs::canonicalize(parent).map(|parent| parent.join(name)));
    }
    names
}
