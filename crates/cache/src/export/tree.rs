//! What a tree is made of: snapshots where there are any, blobs else.

use std::sync::Arc;

use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

use super::ExtractOptions;
use super::layers::Applying;
use super::place::Staging;
use crate::blocking::blocking;
use crate::error::{Error, Result, What};
use crate::layer::Skipped;
use crate::manager::Settings;
use crate::record::{Kind, RecordId};
use crate::refs::{ImmutableRef, Layer};
use crate::snapshot::{SnapshotInfo, SnapshotKey};

/// A tree to be made.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    pub(super) of: &'a ImmutableRef,
    pub(super) options: ExtractOptions,
    pub(super) settings: Settings,
    pub(super) access: &'a Access,
    pub(super) cancel: &'a CancellationToken,
}

impl Making<'_> {
    /// Makes the tree. Returns what was left out.
    pub(super) async fn run(&self, staging: &Staging) -> Result<Skipped> {
        let layers = self.of.layers();
        let mut snapshots = Vec::with_capacity(layers.len());
        for layer in &layers {
            snapshots.push(self.snapshot(layer).await?);
        }
        let copied =
            snapshots.iter().take_while(|info| info.as_ref().is_some_and(|info| self.suffices(info)));
        let copied = copied.count();
        if copied == layers.len() || (is_chain(&layers) && self.have_blobs(&layers[copied..]).await?) {
            let below = &snapshots[..copied];
            let applying = Applying { making: *self, layers: &layers, from: copied };
            return applying.run(staging, below).await;
        }
        // Something has no blob, or its tree is not of one stack: then every layer needs its snapshot.
        let extracted = self.cancel.run_until_cancelled(self.of.extract(self.access)).await;
        extracted.ok_or_else(|| self.cancelled())??;
        for (layer, info) in layers.iter().zip(&mut snapshots) {
            *info = self.snapshot(layer).await?;
        }
        self.copy(staging, &snapshots).await
    }

    /// Copies the tree of a stack of snapshots.
    pub(super) async fn copy(&self, staging: &Staging, stack: &[Option<SnapshotInfo>]) -> Result<Skipped> {
        let mut skipped = Skipped::default();
        let mut keys: Vec<SnapshotKey> = Vec::with_capacity(stack.len());
        for info in stack {
            let gone = || Error::not_found("extract", self.of.id(), "a snapshot of it was removed meanwhile");
            let info = info.as_ref().ok_or_else(gone)?;
            add(&mut skipped, info.skipped);
            keys.push(info.key.clone());
        }
        if keys.is_empty() {
            return Ok(skipped);
        }
        let (snapshots, tree) = (Arc::clone(self.of.manager().snapshots()), staging.tree());
        let (keep, cancel) = (self.options.copies(&self.settings), self.cancel.clone());
        let what = || What::new("extract", self.of.id());
        let copied = blocking(what, move || snapshots.assemble(&keys, &tree, keep, &cancel)).await?;
        add(&mut skipped, copied.skipped);
        Ok(skipped)
    }

    /// The snapshot of a layer's own diff, if it is here.
    async fn snapshot(&self, layer: &Layer) -> Result<Option<SnapshotInfo>> {
        let Some(key) = layer.record().snapshot.clone() else { return Ok(None) };
        let snapshots = Arc::clone(self.of.manager().snapshots());
        blocking(|| What::new("extract", self.of.id()), move || snapshots.info(&key)).await
    }

    /// Whether a snapshot has all that is to be kept.
    fn suffices(&self, info: &SnapshotInfo) -> bool {
        let (keep, skipped) = (self.options.copies(&self.settings), info.skipped);
        (skipped.devices == 0 || !keep.devices)
            && (skipped.setuid == 0 || !keep.setuid)
            && (skipped.xattrs == 0 || !keep.xattrs)
    }

    /// Whether all blobs of `layers` are here or can be had.
    async fn have_blobs(&self, layers: &[Layer]) -> Result<bool> {
        let manager = self.of.manager();
        for layer in layers {
            let Some(blob) = layer.blob() else { return Ok(false) };
            if !manager.store().holds(&blob.descriptor).await?
                && manager.sources(&blob.descriptor, layer, self.access).await?.is_empty()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn cancelled(&self) -> Error {
        Error::Cancelled { what: What::new("extract", self.of.id()) }
    }
}

/// Whether each layer stands on the one before it: then they can be applied one over the other.
fn is_chain(layers: &[Layer]) -> bool {
    let mut below: Option<RecordId> = None;
    layers.iter().all(|layer| {
        let record = layer.record();
        let fits = matches!(&record.kind, Kind::Layer { parent } if *parent == below);
        below = Some(record.id.clone());
        fits
    })
}

pub(super) fn add(sum: &mut Skipped, more: Skipped) {
    sum.devices += more.devices;
    sum.setuid += more.setuid;
    sum.xattrs += more.xattrs;
}
