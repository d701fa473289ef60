//! Looking at a copy without doing it: GETs and HEADs, nothing else.

use futures::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::Descriptor;

use super::graph::Graph;
use super::{Action, Copy};
use crate::error::Result;

/// What a copy would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The manifest that would get the name.
    pub root: Descriptor,
    /// Nothing is to do.
    pub unchanged: bool,
    /// Every blob and what would become of it.
    pub blobs: Vec<(Descriptor, Action)>,
    /// Manifests that would be put, the root last.
    pub manifests: Vec<Descriptor>,
}

impl Plan {
    /// Bytes of blobs that would surely move.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sum(Action::Transfer)
    }

    /// Bytes of blobs that would move if the target refused every mount.
    #[must_use]
    pub fn bytes_if_refused(&self) -> u64 {
        self.sum(Action::Transfer).saturating_add(self.sum(Action::Mount))
    }

    fn sum(&self, action: Action) -> u64 {
        let sizes = self.blobs.iter().filter(|(_, each)| *each == action).map(|(blob, _)| blob.size());
        // Sizes are what a manifest says; an absurd one must not wrap.
        sizes.fold(0, u64::saturating_add)
    }
}

impl Copy {
    /// Finds out what [`Copy::run`] would do. Sends GETs of manifests and HEADs, and what authorisation takes.
    ///
    /// # Errors
    /// As [`Copy::run`], as far as looking can find them.
    pub async fn plan(&self) -> Result<Plan> {
        let root = self.read_root().await?;
        let mut unchanged = self.target.vouches_for_blobs();
        let mut puts = Vec::new();
        for name in &self.names {
            if self.target.resolve(name).await?.as_ref() != Some(root.digest()) {
                unchanged = false;
                puts.push(root.descriptor().clone());
            }
        }
        if unchanged {
            return Ok(Plan {
                root: root.descriptor().clone(),
                unchanged,
                blobs: Vec::new(),
                manifests: Vec::new(),
            });
        }
        let graph = Graph::below(self.source.as_ref(), &root, self.options.concurrency).await?;
        let blobs = stream::iter(&graph.blobs)
            .map(|blob| self.forecast(blob))
            .buffered(self.options.concurrency.max(1))
            .try_collect()
            .await?;
        let mut manifests: Vec<Descriptor> =
            graph.children.iter().map(|child| child.descriptor().clone()).collect();
        manifests.extend(puts);
        Ok(Plan { root: root.descriptor().clone(), unchanged, blobs, manifests })
    }

    async fn forecast(&self, blob: &Descriptor) -> Result<(Descriptor, Action)> {
        let action = match self.known(blob) {
            Some(action) => action,
            None if self.target.has_blob(blob).await? => Action::Present,
            None if self.may_mount() => Action::Mount,
            None => Action::Transfer,
        };
        Ok((blob.clone(), action))
    }
}
