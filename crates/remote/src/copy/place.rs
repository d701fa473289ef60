//! Blobs to their target.

use std::sync::Arc;

use futures::future::TryFutureExt;
use futures::stream::{FuturesUnordered, TryStreamExt};
use oci_spec::image::Descriptor;

use super::Copy;
use super::graph::Part;
use crate::error::Result;
use crate::media;
use crate::transfer::{Action, Wanted};

impl Copy {
    /// Whether both ends are one place that keeps what it has. An archive is none: it is written anew, even onto itself.
    pub(super) fn within_one_place(&self) -> bool {
        self.target.vouches_for_blobs() && self.source.origin() == self.target.origin()
    }

    /// Whether no request is needed to know what becomes of `blob`.
    pub(super) fn known(&self, blob: &Descriptor) -> Option<Action> {
        if self.within_one_place() {
            return Some(Action::Present);
        }
        let elsewhere = blob.urls().as_ref().is_some_and(|urls| !urls.is_empty());
        (media::is_foreign(blob.media_type().as_ref()) && elsewhere).then_some(Action::Foreign)
    }

    /// Whether both ends are repositories of one registry.
    pub(super) fn may_mount(&self) -> bool {
        self.target.mounts() && self.source.origin().host == self.target.origin().host
    }

    /// Brings blobs to the target. All are wanted at once; the engine says which moves when. The first failure
    /// withdraws from the others.
    pub(super) async fn place_all(&self, parts: &[Part]) -> Result<Vec<(Descriptor, Action)>> {
        self.access.progress.expect(parts.len());
        let placing =
            parts.iter().enumerate().map(|(at, part)| self.place(part).map_ok(move |placed| (at, placed)));
        let mut placed: Vec<_> = placing.collect::<FuturesUnordered<_>>().try_collect().await?;
        placed.sort_unstable_by_key(|(at, _)| *at);
        Ok(placed.into_iter().map(|(_, placed)| placed).collect())
    }

    async fn place(&self, part: &Part) -> Result<(Descriptor, Action)> {
        let blob = part.blob.clone();
        if let Some(action) = self.known(&blob) {
            self.access.progress.finish(&blob, action.state());
            return Ok((blob, action));
        }
        let wanted = Wanted {
            blob: blob.clone(),
            sources: vec![self.source.blobs()],
            target: Arc::clone(&self.target),
            height: part.height,
            shared: part.shared,
            access: self.access.clone(),
        };
        Ok((blob, self.transfers.bring(wanted).await?.action))
    }
}
