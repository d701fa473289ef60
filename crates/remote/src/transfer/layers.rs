//! Layers for a reader: bottom first, each as soon as it is whole.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream, StreamExt};
use oci_spec::image::Descriptor;

use super::engine::{Brought, Transfers, Wanted};
use crate::error::Error;

/// Layers on their way, in the order asked for. All of them are wanted from the first poll on, the lowest first; a layer
/// comes out as soon as it and all below it are whole. The first failure, of any of them, comes out at once, withdraws
/// from all others and ends the stream. So does dropping it.
#[must_use = "nothing is wanted before the first poll"]
pub struct Layers {
    coming: FuturesUnordered<BoxFuture<'static, (usize, Descriptor, crate::Result<Brought>)>>,
    /// Whole, but above one that is not.
    ready: BTreeMap<usize, Layer>,
    next: usize,
}

/// A layer that is whole.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its place among those asked for, zero at the bottom.
    pub index: usize,
    /// The layer.
    pub blob: Descriptor,
    /// How it came, and the hold on it.
    pub brought: Brought,
}

/// The layer that failed first.
#[derive(Debug, thiserror::Error)]
#[error("layer {index} ({}): {error}", blob.digest())]
pub struct LayerError {
    /// Its place among those asked for, zero at the bottom.
    pub index: usize,
    /// The layer.
    pub blob: Descriptor,
    /// Why.
    pub error: Error,
}

impl Transfers {
    /// Brings `layers`, given bottom first, to a reader. Their heights are their places here. One blob several times
    /// among them is brought once and comes out at each of its places.
    pub fn layers(&self, layers: Vec<Wanted>) -> Layers {
        let coming = layers.into_iter().enumerate().map(|(index, wanted)| {
            let height = u32::try_from(index).unwrap_or(u32::MAX);
            let (transfers, blob) = (self.clone(), wanted.blob.clone());
            async move { (index, blob, transfers.bring(Wanted { height, ..wanted }).await) }.boxed()
        });
        Layers { coming: coming.collect(), ready: BTreeMap::new(), next: 0 }
    }
}

impl Stream for Layers {
    type Item = Result<Layer, LayerError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            // Failures first: they are not to wait for what is below.
            match self.coming.poll_next_unpin(cx) {
                Poll::Ready(Some((index, blob, Ok(brought)))) => {
                    self.ready.insert(index, Layer { index, blob, brought });
                }
                Poll::Ready(Some((index, blob, Err(error)))) => {
                    self.coming.clear();
                    self.ready.clear();
                    return Poll::Ready(Some(Err(LayerError { index, blob, error })));
                }
                pending_or_all => {
                    let next = self.next;
                    return match self.ready.remove(&next) {
                        Some(layer) => {
                            self.next += 1;
                            Poll::Ready(Some(Ok(layer)))
                        }
                        None if pending_or_all.is_ready() => Poll::Ready(None),
                        None => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers")
            .field("next", &self.next)
            .field("coming", &self.coming.len())
            .finish_non_exhaustive()
    }
}
