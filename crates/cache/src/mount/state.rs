//! Whether what is recorded exists.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mounter::Mounter;
use super::mountinfo;
use super::namespaces::Namespaces;
use super::record::{self, MountRecord};
use crate::error::{IoContext as _, Result};
use crate::snapshot::{SnapshotKey, info};

/// A recorded mount and whether it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// What was written down when it was made.
    pub record: MountRecord,
    /// What the mount table says now.
    pub state: State,
}

/// What has become of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is there.
    Live,
    /// Its maker is making it.
    Making,
    /// It was made in another mount namespace, which is still somebody's or may be: that can be told by root alone, and
    /// outside of containers. Taken for live.
    Elsewhere,
    /// It does not exist any more.
    Stale(Stale),
}

/// Why a mount does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stale {
    /// The machine was started anew.
    Rebooted,
    /// Its maker died before it was made.
    NeverMade,
    /// Somebody unmounted it by other means.
    Unmounted,
    /// The mount namespace it was made in is gone, as that of a container that has ended.
    NamespaceGone,
}

/// Whether a file was not written for a minute.
fn is_old(path: &Path) -> bool {
    let written = fs::metadata(path).and_then(|found| found.modified());
    written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > Duration::from_secs(60)))
}

impl State {
    /// Whether the snapshots are needed.
    #[must_use]
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Stale(_))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Making => "being mounted",
            Self::Elsewhere => "in another mount namespace",
            Self::Stale(Stale::Rebooted) => "stale: the machine was started anew",
            Self::Stale(Stale::NeverMade) => "stale: its process died before it was mounted",
            Self::Stale(Stale::Unmounted) => "stale: unmounted by other means",
            Self::Stale(Stale::NamespaceGone) => "stale: its mount namespace is gone",
        })
    }
}

impl Mounter {
    /// All mounts of this root, by directory.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn list(&self) -> Result<Vec<Mounted>> {
        let mut found = Vec::new();
        // All processes are looked at once, and only if they must be.
        let others = OnceCell::new();
        for path in self.entries()? {
            if path.extension() != Some(OsStr::new("json")) {
                continue;
            }
            if let Some(record) = info::read::<MountRecord>(&path, "read mounts")? {
                let state = self.state(&record, &others)?;
                found.push(Mounted { record, state });
            }
        }
        found.sort_by(|one, other| one.record.dir.cmp(&other.record.dir));
        Ok(found)
    }

    /// The snapshots that mounts show: not to be removed. Active ones on top of them are among them, by their own keys.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn pinned(&self) -> Result<BTreeSet<SnapshotKey>> {
        let live = self.list()?.into_iter().filter(|mounted| mounted.state.is_live());
        Ok(live.flat_map(|mounted| mounted.record.stack.into_iter().chain(mounted.record.upper)).collect())
    }

    /// Takes away what makers that died have left: records of mounts that were never made, and directories without a
    /// record. What was mounted once stays until it is unmounted. Returns how many.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn recover(&self) -> Result<usize> {
        let mut taken = 0;
        for mounted in self.list()? {
            if mounted.state == State::Stale(Stale::NeverMade) {
                self.forget(&mounted.record)?;
                taken += 1;
            }
        }
        for path in self.entries()? {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let is_left = match name.strip_prefix('.') {
                // Trees of processes: see crate::tree.
                _ if name.starts_with(crate::tree::PREFIX) => false,
                // Its maker has made it and not locked it yet, if it is new.
                Some(_) => is_old(&path) && !record::is_held(&path)?,
                None => path.is_dir() && !self.path().join(record::file_name(name)).exists(),
            };
            if is_left {
                self.discard(&path)?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    fn state(&self, record: &MountRecord, others: &OnceCell<Option<Namespaces>>) -> Result<State> {
        let (boot, namespace) = record::here()?;
        if record.boot != boot {
            return Ok(State::Stale(if record.is_made { Stale::Rebooted } else { Stale::NeverMade }));
        }
        // The maker lets go after the table has it: asked in this order nothing is missed.
        let path = self.path().join(record::file_name(&record.id));
        let is_held = record::is_held(&path)?;
        if record.namespace != namespace {
            let others = match others.get() {
                Some(others) => others,
                None => {
                    let looked = Namespaces::look()?;
                    others.get_or_init(|| looked)
                }
            };
            let has_lost = |others: &Namespaces| others.has_lost(&record.namespace, &record.mark);
            return Ok(match others.as_ref().is_some_and(has_lost) {
                true if is_held => State::Making,
                true if record.is_made => State::Stale(Stale::NamespaceGone),
                true => State::Stale(Stale::NeverMade),
                false => State::Elsewhere,
            });
        }
        if mountinfo::read()?.iter().any(|mount| mount.is(&record.dir, &record.mark)) {
            return Ok(State::Live);
        }
        Ok(match record.is_made {
            _ if is_held => State::Making,
            true => State::Stale(Stale::Unmounted),
            // It may have been made, and written down as such, since the record was read.
            false => match info::read::<MountRecord>(&path, "read mounts")? {
                Some(now) if now.is_made => State::Making,
                _ => State::Stale(Stale::NeverMade),
            },
        })
    }

    pub(super) fn entries(&self) -> Result<Vec<PathBuf>> {
        let path = self.path();
        let read = || fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        read().during("read mounts", path.display(), path)
    }
}
