//! Snapshots are whole: as many files as were made, and each as the layer says, where its blob is here.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Check, Object, Repair};
use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer::compare;
use crate::record::Kind;
use crate::snapshot::{SnapshotInfo, SnapshotKey, measure};

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
                Ok(usage) if usage.inodes == info.usage.inodes => match self.compared(&info).await? {
                    Some(wrong) if !wrong.is_empty() => told(&wrong),
                    _ => continue,
                },
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

    /// What differs from the layer it was unpacked of; nothing where it cannot be told.
    async fn compared(&mut self, info: &SnapshotInfo) -> Result<Option<Vec<String>>> {
        let mut layer = None;
        for record in self.facts.of_snapshot(&info.key) {
            // What was merged or compared is no layer's tree.
            let Some(blob) = record.blob.as_ref().filter(|_| matches!(record.kind, Kind::Layer { .. }))
            else {
                continue;
            };
            let is_good = !self.facts.bad.contains(blob.descriptor.digest());
            if is_good && self.manager.store().holds(&blob.descriptor).await? {
                layer = Some(blob.clone());
                break;
            }
        }
        let Some(layer) = layer else { return Ok(None) };
        let (store, snapshots) = (self.manager.store().clone(), Arc::clone(self.manager.snapshots()));
        let (key, lacks_setuid, cancel) = (info.key.clone(), info.skipped.setuid > 0, self.cancel.clone());
        let compared = blocking(
            || self.what(),
            move || {
                let directory = snapshots.directory(&key)?;
                let blob = store.open_file(&layer.descriptor)?;
                compare(blob, &layer.diff_id, &directory, lacks_setuid, &cancel)
            },
        );
        match compared.await {
            Ok(compared) => {
                self.found.compared += usize::from(compared.is_some());
                Ok(compared)
            }
            Err(error @ Error::Cancelled { .. }) => Err(error),
            // Pruned meanwhile, or a layer that is no longer taken: the tree is not to blame.
            Err(error) => {
                tracing::debug!(snapshot = %info.key, %error, "it cannot be compared with its layer");
                Ok(None)
            }
        }
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

/// The first of what differs, and how much more there is.
fn told(wrong: &[String]) -> String {
    let first = wrong.first().cloned().unwrap_or_default();
    match wrong.len() {
        0 | 1 => first,
        more => format!("{first}; and {} more", more - 1),
    }
}
