//! Layers applied to one tree, one after the other, while their blobs are received side by side.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{Either, select, try_join_all};
use tokio_util::sync::CancellationToken;

use super::place::Staging;
use super::tree::{Making, add};
use crate::blocking::blocking;
use crate::error::{Error, Result, What};
use crate::layer::{self, Skipped};
use crate::record::LayerBlob;
use crate::refs::Layer;
use crate::snapshot::SnapshotInfo;
use crate::unlazy::{Reading, Stream, Until};

/// Layers to be applied.
pub(super) struct Applying<'a> {
    pub(super) making: Making<'a>,
    /// All of them, the bottom one first.
    pub(super) layers: &'a [Layer],
    /// The first one that is applied; those below it are copied.
    pub(super) from: usize,
}

/// A layer whose turn comes.
struct Turn {
    layer: Layer,
    blob: LayerBlob,
    height: usize,
    /// It was not here at the beginning: its blob is being fetched.
    is_fetched: bool,
}

impl Applying<'_> {
    /// Copies `below` and applies the layers over it.
    pub(super) async fn run(&self, staging: &Staging, below: &[Option<SnapshotInfo>]) -> Result<Skipped> {
        let making = self.making;
        let manager = making.of.manager();
        let mut turns = Vec::new();
        for (height, layer) in self.layers.iter().enumerate().skip(self.from) {
            let what = || Error::invalid("extract", layer.record().id.clone(), "no blob was made of it");
            let blob = layer.blob().ok_or_else(what)?;
            let is_fetched = !manager.store().holds(&blob.descriptor).await?;
            turns.push(Turn { layer: layer.clone(), blob, height, is_fetched });
        }
        // Held until the end: what was fetched for this is not pruned before it was read.
        let fetching = turns
            .iter()
            .filter(|turn| turn.is_fetched)
            .map(|turn| manager.unlazy_layer(&turn.blob.descriptor, &turn.layer, turn.height, making.access));
        let fetching = pin!(try_join_all(fetching));
        let over = making.cancel.child_token();
        let applying = pin!(self.apply(&turns, staging, below, &over));
        match select(fetching, applying).await {
            Either::Left((Ok(fetched), applying)) => {
                let applied = applying.await;
                drop(fetched);
                applied
            }
            Either::Left((Err(error), applying)) => {
                // Blocking work is never left behind: it looks at the token and returns.
                over.cancel();
                drop(applying.await);
                Err(error)
            }
            Either::Right((Ok(applied), fetching)) => {
                let fetched = making.cancel.run_until_cancelled(fetching).await;
                fetched.ok_or_else(|| making.cancelled())??;
                Ok(applied)
            }
            Either::Right((Err(error), _)) => Err(error),
        }
    }

    /// Applies the layers in their order. Where one proved to be received from its beginning again, what was made of it
    /// is in the tree, and all begins anew.
    async fn apply(
        &self,
        turns: &[Turn],
        staging: &Staging,
        below: &[Option<SnapshotInfo>],
        cancel: &CancellationToken,
    ) -> Result<Skipped> {
        let is_spoiled = Arc::new(AtomicBool::new(false));
        loop {
            let applied = self.apply_once(turns, staging, below, &is_spoiled, cancel).await;
            if applied.is_ok() || !is_spoiled.swap(false, Ordering::Relaxed) || cancel.is_cancelled() {
                return applied;
            }
            tracing::debug!(of = %self.making.of.id(), "extracting begins again");
            // The only one who works there waits here.
            let renewed = staging.renewal();
            blocking(|| What::new("extract", self.making.of.id()), renewed).await?;
        }
    }

    async fn apply_once(
        &self,
        turns: &[Turn],
        staging: &Staging,
        below: &[Option<SnapshotInfo>],
        is_spoiled: &Arc<AtomicBool>,
        cancel: &CancellationToken,
    ) -> Result<Skipped> {
        let mut skipped = self.making.copy(staging, below).await?;
        for turn in turns {
            let work = self.work(turn, staging.tree(), is_spoiled);
            let reading = Reading {
                manager: self.making.of.manager(),
                layer: &turn.layer,
                blob: &turn.blob.descriptor,
                height: turn.height,
                access: self.making.access,
                cancel,
            };
            let applied =
                if turn.is_fetched { reading.followed(work).await } else { reading.fetched(work).await };
            add(&mut skipped, applied?);
        }
        Ok(skipped)
    }

    /// Applies the bytes of one layer, once.
    fn work(
        &self,
        turn: &Turn,
        tree: PathBuf,
        is_spoiled: &Arc<AtomicBool>,
    ) -> impl Fn(Stream, &Until) -> Result<Skipped> + Clone + Send + 'static {
        let (blob, options) = (turn.blob.clone(), self.making.options.layers(&self.making.settings));
        let (is_spoiled, was_begun) = (Arc::clone(is_spoiled), Arc::new(AtomicBool::new(false)));
        move |bytes, until| {
            if was_begun.swap(true, Ordering::Relaxed) {
                is_spoiled.store(true, Ordering::Relaxed);
                return Err(Error::Cancelled { what: What::new("unpack layer", blob.descriptor.digest()) });
            }
            let (descriptor, diff_id) = (&blob.descriptor, &blob.diff_id);
            let Until { cancel, useless } = until;
            let applied =
                layer::unpack_while_it_comes(bytes, descriptor, diff_id, &tree, &options, cancel, useless)?;
            Ok(applied.skipped)
        }
    }
}
