//! Snapshots as plain directories: no privileges, no mounts, trees made by copying.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::copy::Keep;
use super::difference;
use super::info::{About, SnapshotInfo};
use super::key::SnapshotKey;
use super::layers::Layers;
use super::places::Places;
use super::staged::{Active, Staged, Synced};
use super::store::{Store, Sync};
use super::{Assembled, Mounts, Snapshotter, assemble, usage};
use crate::error::{IoContext as _, Result};
use crate::layer::{Applied, Form};

/// Layers with the markers of their tars.
#[derive(Debug)]
pub struct Plain {
    store: Store,
}

impl Plain {
    /// Takes directories that exist.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self { store: Store { places, form: Form::Plain } }
    }
}

/// A copy of this root's own is as the snapshots are.
fn keep() -> Keep {
    Keep { devices: true, setuid: true, ..Keep::as_able() }
}

impl Snapshotter for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn form(&self) -> Form {
        self.store.form
    }

    fn info(&self, key: &SnapshotKey) -> Result<Option<SnapshotInfo>> {
        self.store.info(key)
    }

    fn directory(&self, key: &SnapshotKey) -> Result<PathBuf> {
        self.store.directory(key)
    }

    fn list(&self) -> Result<Vec<SnapshotInfo>> {
        self.store.list()
    }

    fn stage(&self, key: &SnapshotKey) -> Result<Staged> {
        self.store.stage(key)
    }

    fn settle(
        &self,
        staged: &mut Staged,
        applied: &Applied,
        below: &[PathBuf],
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.store.settle(staged, applied, below, cancel)
    }

    fn sync(&self, staged: Vec<Staged>) -> Result<Vec<Synced>> {
        self.store.sync(staged)
    }

    fn publish(&self, synced: Synced, about: About) -> Result<SnapshotInfo> {
        self.store.publish(synced, about)
    }

    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.store.remove(key)
    }

    fn clear_staging(&self, key: &SnapshotKey) -> Result<()> {
        self.store.clear_staging(key)
    }

    fn prepare(
        &self,
        key: &SnapshotKey,
        stack: &[SnapshotKey],
        cancel: &CancellationToken,
    ) -> Result<Active> {
        self.store.prepare(key, stack, Sync::Now, |fs, below| {
            let layers = Layers { form: Form::Plain, roots: below };
            assemble::assemble(layers, fs, keep(), cancel)?;
            // What it starts from is to be whole after a power cut: what is missing would count as removed.
            self.store.sync_all("prepare snapshot")
        })
    }

    fn active(&self, key: &SnapshotKey) -> Result<Option<Active>> {
        self.store.active(key)
    }

    fn actives(&self) -> Result<Vec<SnapshotKey>> {
        self.store.actives()
    }

    fn remove_active(&self, key: &SnapshotKey) -> Result<()> {
        self.store.remove_active(key)
    }

    fn commit(&self, active: &Active, key: &SnapshotKey, cancel: &CancellationToken) -> Result<SnapshotInfo> {
        if let Some(there) = self.store.info(key)? {
            self.store.remove_active(&active.key)?;
            return Ok(there);
        }
        let roots = self.store.stack(&active.stack)?;
        let staged = self.store.stage(key)?;
        let tree = active.directory();
        difference::write(Layers { form: Form::Plain, roots: &roots }, &tree, staged.directory(), cancel)?;
        let usage = usage::measure(staged.directory()).during("commit snapshot", key, &tree)?;
        let about = About { parent: active.stack.last().cloned(), usage, ..About::default() };
        let mut last = Err(crate::Error::not_found("commit snapshot", key, ""));
        for synced in self.store.sync(vec![staged])? {
            last = self.store.publish(synced, about.clone());
        }
        let info = last?;
        self.store.remove_active(&active.key)?;
        Ok(info)
    }

    fn sync_all(&self) -> Result<()> {
        self.store.sync_all("sync snapshots")
    }

    fn mounts(&self, stack: &[SnapshotKey], upper: Option<&Active>) -> Result<Mounts> {
        // Names what is not there now, not in the middle of the copying.
        self.store.stack(stack)?;
        Ok(upper.map_or_else(
            || Mounts::Copy { stack: stack.to_vec() },
            |active| Mounts::Tree(active.directory()),
        ))
    }

    fn assemble(
        &self,
        stack: &[SnapshotKey],
        to: &Path,
        keep: Keep,
        cancel: &CancellationToken,
    ) -> Result<Assembled> {
        self.store.assemble(stack, to, keep, cancel)
    }
}
