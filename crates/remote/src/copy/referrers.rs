//! Taking signatures, attestations and other referrers along: those the registry lists, and cosign's tags.

use std::collections::{HashSet, VecDeque};

use oci_spec::image::Digest;

use super::graph::Graph;
use super::{Copy, Report};
use crate::endpoint::Name;
use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// cosign's tags for what it attaches: `ALGORITHM-HEX.KIND`.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];
/// More referrers than this to one image are absurd.
const MAX_REFERRERS: usize = 10_000;

impl Copy {
    /// Brings the referrers of `root` and of the manifests below it, and the referrers of those in turn.
    pub(super) async fn bring_referrers(
        &self,
        root: &Manifest,
        graph: &Graph,
        report: &mut Report,
    ) -> Result<()> {
        if self.source.origin() == self.target.origin() {
            // They are there.
            return Ok(());
        }
        let subjects = std::iter::once(root).chain(&graph.children);
        let mut subjects: VecDeque<Digest> = subjects.map(|manifest| manifest.digest().clone()).collect();
        let mut seen: HashSet<Digest> = subjects.iter().cloned().collect();
        while let Some(subject) = subjects.pop_front() {
            for kind in COSIGN {
                self.bring_tagged(&subject, kind, report).await?;
            }
            for referrer in self.source.referrers(&subject).await? {
                if !seen.insert(referrer.digest().clone()) {
                    continue;
                }
                if seen.len() > MAX_REFERRERS {
                    let reason = format!("it has more than {MAX_REFERRERS} referrers");
                    return Err(Error::refused("copy referrers of", root.digest(), reason));
                }
                let manifest = self.source.manifest(&Name::Digest(referrer.digest().clone())).await?;
                self.bring_below(&manifest, report).await?;
                self.target.put_manifest(&manifest, &Name::Digest(manifest.digest().clone())).await?;
                report.manifests += 1;
                report.referrers += 1;
                subjects.push_back(referrer.digest().clone());
            }
        }
        Ok(())
    }

    /// Brings the manifest that cosign keeps under a tag made of the subject's digest, if there is one.
    async fn bring_tagged(&self, subject: &Digest, kind: &str, report: &mut Report) -> Result<()> {
        let name = Name::Tag(format!("{}-{}.{kind}", subject.algorithm(), subject.digest()));
        let manifest = match self.source.manifest(&name).await {
            Ok(manifest) => manifest,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.target.vouches_for_blobs()
            && self.target.resolve(&name).await?.as_ref() == Some(manifest.digest())
        {
            return Ok(());
        }
        self.bring_below(&manifest, report).await?;
        self.target.put_manifest(&manifest, &name).await?;
        report.manifests += 1;
        report.referrers += 1;
        Ok(())
    }
}
