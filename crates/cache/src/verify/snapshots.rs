//! Snapshots are whole.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Check, Object, Repair};
use crate::error::{Error, IoContext as _, Result, What};
use crate::snapshot::{SnapshotInfo, SnapshotKey, measure};
use crate::unlazy::blocking;

impl Check<'_> {
    pub(super) async fn snapshots(&mut self) -> Result<()> {
        let mut infos: Vec<SnapshotInfo> = self.facts.snapshots.values().cloned().collect();
        infos.sort_by(|one, other| one.key.cmp(&other.key));
        self.found.snapshots = infos.len();
        for info in infos {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled { what: self.what() });
            }
            let snapshots = Arc::clone(self.manager.snapshots());
            let key = info.key.clone();
            let measured = blocking(
                || self.what(),
                move || {
                    let directory = snapshots.directory(&key)?;
                    measure(&directory).during("verify snapshot", &key, &directory)
                },
            );
            let reason = match measured.await {
                Ok(usage) if usage.inodes == info.usage.inodes => continue,
                Ok(usage) => {
                    format!(
                        "it has {} files and directories, and should have {}",
                        usage.inodes, info.usage.inodes
                    )
                }
                // Pruned since it was listed.
                Err(error) if error.is_not_found() => continue,
                Err(error) => error.to_string(),
            };
            let repair = self.repair_snapshot(&info.key).await?;
            self.problem(Object::from(&info.key), reason, repair);
        }
        self.not_whole().await
    }

    /// Directories that have the name of a snapshot and do not say what they are.
    async fn not_whole(&mut self) -> Result<()> {
        let (dir, snapshots) = (self.manager.root().snapshots(), Arc::clone(self.manager.snapshots()));
        let found = blocking(
            || self.what(),
            move || {
                let entries = fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
                let entries = entries.during("verify snapshots", dir.display(), &dir)?;
                let mut found = Vec::new();
                for entry in entries {
                    let name = entry.file_name();
                    if entry.file_type().is_ok_and(|kind| kind.is_dir())
                        && let Some(key) = name.to_str().and_then(SnapshotKey::of_file_name)
                        && snapshots.info(&key)?.is_none()
                        && entry.path().exists()
                    {
                        found.push((entry.path(), key));
                    }
                }
                Ok(found)
            },
        );
        let found: Vec<(PathBuf, SnapshotKey)> = found.await?;
        for (_, key) in found {
            let repair = self.repair_snapshot(&key).await?;
            self.problem(Object::from(&key), "it does not say what it is", repair);
        }
        Ok(())
    }

    /// Removes a snapshot that can be made anew.
    async fn repair_snapshot(&self, key: &SnapshotKey) -> Result<Repair> {
        if !self.repairs() {
            return Ok(Repair::NotAsked);
        }
        let mut owners = self.facts.of_snapshot(key).peekable();
        let is_needed = owners.peek().is_some();
        let mut can_be_made = false;
        for record in owners {
            let Some(blob) = &record.blob else { continue };
            let is_good = !self.facts.bad.contains(blob.descriptor.digest());
            can_be_made |= !record.sources.is_empty()
                || (is_good && self.manager.store().holds(&blob.descriptor).await?);
        }
        if is_needed && !can_be_made {
            return Ok(Repair::Impossible(
                "nothing is here or known that it could be made anew of".to_owned(),
            ));
        }
        let mounted = blocking(|| self.what(), {
            let mounter = Arc::clone(self.manager.mounter());
            move || mounter.pinned()
        });
        if mounted.await?.contains(key) {
            return Ok(Repair::InUse);
        }
        let (snapshots, live) =
            (Arc::clone(self.manager.snapshots()), Arc::clone(self.manager.root().live()));
        let (pins, name) = (self.facts.pins_of_snapshot(key), key.clone());
        let removed = self.manager.write(move |_| {
            let is_free = live.pinned()?.is_disjoint(&pins.into_iter().collect());
            if is_free {
                snapshots.remove(&name)?;
            }
            Ok(is_free)
        });
        Ok(match (removed.await?, is_needed) {
            (false, _) => Repair::InUse,
            (true, true) => Repair::Done("it is removed, and made anew when it is needed".to_owned()),
            (true, false) => Repair::Done("it is removed: nobody refers to it".to_owned()),
        })
    }

    pub(super) fn what(&self) -> What {
        What::new("verify", self.manager.root().path().display())
    }
}
