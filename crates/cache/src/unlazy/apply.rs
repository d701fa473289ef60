//! One layer from wherever its blob is to a staging directory. Nobody sees that before the end.

use std::sync::Arc;

use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

use super::reading::{Reading, Stream, Until};
use crate::error::Result;
use crate::layer::{self, Applied, Options};
use crate::manager::Manager;
use crate::record::LayerBlob;
use crate::refs::Layer;
use crate::snapshot::{SnapshotKey, Staged};

/// A layer in its staging directory, to be settled with those below.
pub(super) type Made = (Staged, Applied);

/// One layer to be applied.
pub(super) struct Applying<'a> {
    pub(super) manager: &'a Manager,
    pub(super) layer: &'a Layer,
    pub(super) blob: LayerBlob,
    pub(super) key: SnapshotKey,
    pub(super) height: usize,
    pub(super) access: &'a Access,
    pub(super) cancel: &'a CancellationToken,
}

impl Applying<'_> {
    /// Applies the layer, fetching its blob if need be.
    pub(super) async fn run(&self) -> Result<Made> {
        let Self { manager, layer, height, access, cancel, .. } = *self;
        let (snapshots, key, blob) = (Arc::clone(manager.snapshots()), self.key.clone(), self.blob.clone());
        let options = manager.layer_options();
        let work = move |bytes: Stream, until: &Until| {
            // What a dead maker has left, or a beginning that was of no use: this is for the holder of the key's lock.
            snapshots.clear_staging(&key)?;
            let staged = snapshots.stage(&key)?;
            let (descriptor, diff_id, directory) = (&blob.descriptor, &blob.diff_id, staged.directory());
            let Until { cancel, useless } = until;
            let applied = layer::unpack_while_it_comes(
                bytes, descriptor, diff_id, directory, &options, cancel, useless,
            )?;
            Ok((staged, applied))
        };
        let blob = &self.blob.descriptor;
        Reading { manager, layer, blob, height, access, cancel }.fetched(work).await
    }
}

impl Manager {
    /// How layers are applied for snapshots here.
    pub(crate) fn layer_options(&self) -> Options {
        let (form, settings) = (self.snapshots().form(), self.settings());
        let options =
            if settings.privileged { Options::privileged(form) } else { Options::unprivileged(form) };
        Options { limits: settings.limits, ..options }
    }
}
