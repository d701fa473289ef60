//! Looking at a copy without doing it: GETs and HEADs, nothing else.

use futures::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::Descriptor;

use super::graph::Graph;
use super::{Action, Copy};
use crate::error::Result;
use crate::manifest::Manifest;

/// What a copy would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The manifest that would get the name.
    pub root: Descriptor,
    /// Nothing is to do.
    pub unchanged: bool,
    /// Every blob and what would become of it, those of referrers that would come along among them.
    pub blobs: Vec<(Descriptor, Action)>,
    /// Manifests that would be put, the root last.
    pub manifests: Vec<Descriptor>,
    /// Referrers that would come along.
    pub referrers: usize,
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
        let unset = self.unset(&root).await?;
        let mut plan = Plan {
            root: root.descriptor().clone(),
            unchanged: unset.is_empty(),
            blobs: Vec::new(),
            manifests: Vec::new(),
            referrers: 0,
        };
        if !unset.is_empty() || self.takes_referrers() {
            let graph = Graph::below(self.source.as_ref(), &root).await?;
            if !unset.is_empty() {
                self.look_ahead(&graph, &mut plan).await?;
            }
            if self.takes_referrers() {
                self.look_for_referrers(&root, &graph, &mut plan).await?;
            }
        }
        plan.manifests.extend(unset.iter().map(|_| root.descriptor().clone()));
        Ok(plan)
    }

    async fn look_for_referrers(&self, root: &Manifest, graph: &Graph, plan: &mut Plan) -> Result<()> {
        let mut referrers = self.referrers(root, graph);
        while let Some(referrer) = referrers.next().await? {
            self.look_ahead(&referrer.graph, plan).await?;
            plan.manifests.push(referrer.manifest.descriptor().clone());
            plan.referrers += 1;
            plan.unchanged = false;
        }
        Ok(())
    }

    /// Adds to `plan` what would become of everything below a manifest.
    async fn look_ahead(&self, graph: &Graph, plan: &mut Plan) -> Result<()> {
        let forecasts: Vec<_> = stream::iter(&graph.blobs)
            .map(|part| self.forecast(&part.blob))
            .buffered(super::MANIFESTS)
            .try_collect()
            .await?;
        plan.blobs.extend(forecasts);
        plan.manifests.extend(graph.children.iter().map(|child| child.descriptor().clone()));
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;

    #[test]
    fn absurd_sizes_do_not_wrap() {
        let blob = |size| Descriptor::new("x".into(), size, sha256(b"x"));
        let blobs =
            vec![(blob(u64::MAX), Action::Transfer), (blob(5), Action::Transfer), (blob(7), Action::Mount)];
        let plan = Plan { root: blob(1), unchanged: false, blobs, manifests: Vec::new(), referrers: 0 };
        assert_eq!((plan.bytes(), plan.bytes_if_refused()), (u64::MAX, u64::MAX));
    }
}
