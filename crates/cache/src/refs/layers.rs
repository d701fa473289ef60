//! The layers that a ref is made of, from its own list and nothing else.

use std::sync::Arc;

use oci_spec::image::Descriptor;

use super::ImmutableRef;
use crate::error::{Error, Result};
use crate::handler::DescHandlers;
use crate::manager::live::Live;
use crate::record::{Kind, LayerBlob, Record};

/// One layer of a ref, with what its handle knows of the way to it.
#[derive(Clone, Debug)]
pub struct Layer {
    live: Arc<Live>,
    handlers: DescHandlers,
}

impl Layer {
    /// The record whose own diff it is.
    #[must_use]
    pub fn record(&self) -> Arc<Record> {
        self.live.record()
    }

    /// Its blob, if it has one.
    #[must_use]
    pub fn blob(&self) -> Option<LayerBlob> {
        self.record().blob.clone()
    }

    /// Its blob's descriptor, with the annotations that internal users go by.
    ///
    /// # Errors
    /// [`Error::Invalid`] where no blob was made of it yet.
    pub fn descriptor(&self) -> Result<Descriptor> {
        let record = self.record();
        let blob = record.blob.as_ref().map(|blob| blob.descriptor.clone());
        blob.ok_or_else(|| Error::invalid("list layers", &record.id, "no blob was made of it"))
    }

    pub(crate) fn of(live: Arc<Live>, handlers: DescHandlers) -> Self {
        Self { live, handlers }
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    pub(crate) fn handlers(&self) -> &DescHandlers {
        &self.handlers
    }
}

impl ImmutableRef {
    /// Its layers, the bottom one first.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer> {
        let layers = stack(self.live()).into_iter();
        layers.map(|live| Layer { live, handlers: self.handlers().clone() }).collect()
    }
}

/// The records whose own diffs make up `live`, the bottom one first. A chain of any length takes no stack.
pub(crate) fn stack(live: &Arc<Live>) -> Vec<Arc<Live>> {
    let mut downwards = Vec::new();
    let mut waiting = vec![Arc::clone(live)];
    while let Some(live) = waiting.pop() {
        let record = live.record();
        match &record.kind {
            Kind::Layer { .. } => {
                waiting.extend(live.parents().iter().cloned());
                downwards.push(live);
            }
            // The last one waits on top, and is gone through first.
            Kind::Merge { parents } => {
                waiting.extend(parents.iter().filter_map(|id| live.parent(id).cloned()));
            }
            // Nothing makes a ref of itself.
            Kind::Diff { lower, upper } if lower == upper => {}
            Kind::Diff { .. } => downwards.push(one_layer(&live).unwrap_or(live)),
        }
    }
    downwards.reverse();
    downwards
}

/// The layer that a diff is, where `upper` is one layer on top of `lower`.
fn one_layer(diff: &Arc<Live>) -> Option<Arc<Live>> {
    let record = diff.record();
    let Kind::Diff { lower, upper: Some(upper) } = &record.kind else { return None };
    let upper = diff.parent(upper)?;
    match &upper.record().kind {
        Kind::Layer { parent } if parent == lower => Some(Arc::clone(upper)),
        _ => None,
    }
}
