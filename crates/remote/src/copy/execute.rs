//! Doing a copy.

use std::collections::HashMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::Digest;

use super::graph::Graph;
use super::{Copy, MANIFESTS, Report};
use crate::endpoint::Name;
use crate::error::Result;
use crate::manifest::Manifest;

impl Copy {
    /// Copies. Dropping the future withdraws from the work, which ends by itself soon after; the target then has blobs
    /// at the most, and nothing under its name.
    ///
    /// # Errors
    /// The first one of any part; what the target had under the name is untouched then.
    pub async fn run(&self) -> Result<Report> {
        if let Some(root) = self.settled_by_heads().await? {
            return Ok(Report { root, unchanged: true, blobs: Vec::new(), manifests: 0, referrers: 0 });
        }
        let root = self.read_root().await?;
        let unset = self.unset(&root).await?;
        let mut report = Report {
            root: root.digest().clone(),
            unchanged: unset.is_empty(),
            blobs: Vec::new(),
            manifests: 0,
            referrers: 0,
        };
        if !unset.is_empty() || self.takes_referrers() {
            let graph = Graph::below(self.source.as_ref(), &root).await?;
            if !unset.is_empty() {
                self.bring(&graph, &mut report).await?;
            }
            if self.takes_referrers() {
                self.bring_referrers(&root, &graph, &mut report).await?;
            }
        }
        for name in &unset {
            self.target.put_manifest(&root, name).await?;
            report.manifests += 1;
        }
        self.target.finish().await?;
        Ok(report)
    }

    /// Where GETs are metered, two HEADs may show that there is nothing to do.
    async fn settled_by_heads(&self) -> Result<Option<Digest>> {
        let worth_asking = self.root.is_none()
            && self.source.meters_gets()
            && self.is_verbatim()
            && !self.options.referrers
            && self.target.vouches_for_blobs();
        if !worth_asking {
            return Ok(None);
        }
        let digest = self.source.resolve(&self.name).await?;
        for name in &self.names {
            if self.target.resolve(name).await?.as_ref() != Some(&digest) {
                return Ok(None);
            }
        }
        Ok(Some(digest))
    }

    /// The names under which the target does not have `root` yet, or not surely all of it.
    pub(super) async fn unset(&self, root: &Manifest) -> Result<Vec<Name>> {
        let mut unset = Vec::new();
        for name in &self.names {
            if !self.target.vouches_for_blobs()
                || self.target.resolve(name).await?.as_ref() != Some(root.digest())
            {
                unset.push(name.clone());
            }
        }
        Ok(unset)
    }

    async fn bring_referrers(&self, root: &Manifest, graph: &Graph, report: &mut Report) -> Result<()> {
        let mut referrers = self.referrers(root, graph);
        while let Some(referrer) = referrers.next().await? {
            self.bring(&referrer.graph, report).await?;
            self.target.put_manifest(&referrer.manifest, &referrer.name).await?;
            report.manifests += 1;
            report.referrers += 1;
            report.unchanged = false;
        }
        Ok(())
    }

    /// Brings everything below a manifest: blobs first, then child manifests, deepest first.
    async fn bring(&self, graph: &Graph, report: &mut Report) -> Result<()> {
        report.blobs.extend(self.place_all(&graph.blobs).await?);
        // A level at a time would do; one after the other costs little, and no registry sees a child late.
        let depth = depths(&graph.children);
        let mut begin = 0;
        while begin < graph.children.len() {
            let level = depth[begin];
            let end =
                (begin..graph.children.len()).find(|at| depth[*at] != level).unwrap_or(graph.children.len());
            stream::iter(&graph.children[begin..end])
                .map(|child| self.put_child(child))
                .buffer_unordered(MANIFESTS)
                .try_collect::<Vec<()>>()
                .await?;
            begin = end;
        }
        report.manifests += graph.children.len();
        Ok(())
    }

    async fn put_child(&self, child: &Manifest) -> Result<()> {
        self.target.put_manifest(child, &Name::Digest(child.digest().clone())).await
    }
}

/// How far each manifest is from the leaves among `manifests`, which stand children first.
fn depths(manifests: &[Manifest]) -> Vec<usize> {
    let mut depth: HashMap<&Digest, usize> = HashMap::new();
    let mut depths: Vec<usize> = Vec::with_capacity(manifests.len());
    for manifest in manifests {
        let below = manifest.child_manifests().iter().filter_map(|child| depth.get(child.digest())).max();
        let own = below.map_or(0, |below| below + 1).max(depths.last().copied().unwrap_or_default());
        depth.insert(manifest.digest(), own);
        depths.push(own);
    }
    depths
}
