//! Finding signatures, attestations and other referrers to take along: those the registry lists, and cosign's tags.

use std::collections::{HashSet, VecDeque};

use oci_spec::image::Digest;

use super::Copy;
use super::graph::Graph;
use crate::endpoint::Name;
use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// cosign's tags for what it attaches: `ALGORITHM-HEX.KIND`.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];
/// More referrers than this to one image are absurd.
const MAX_REFERRERS: usize = 10_000;

/// A referrer that the target lacks.
pub(super) struct Referrer {
    pub(super) manifest: Manifest,
    /// What the target shall have it under.
    pub(super) name: Name,
    /// What hangs from it, without blobs that came up before in the same copy.
    pub(super) graph: Graph,
}

/// The way through the referrers of an image, of the manifests below it, and of those referrers in turn. It only looks:
/// a plan and a copy go the same way.
pub(super) struct Referrers<'a> {
    copy: &'a Copy,
    root: &'a Digest,
    subjects: VecDeque<Digest>,
    /// Names that the subjects so far may have, or have, referrers under.
    candidates: VecDeque<Name>,
    seen: HashSet<Digest>,
    /// Referrers share blobs, most often an empty config; one request for each is enough.
    blobs: HashSet<Digest>,
}

impl Copy {
    /// Whether referrers are to be looked for. Within one place they are there.
    pub(super) fn takes_referrers(&self) -> bool {
        self.options.referrers && !self.within_one_place()
    }

    /// The referrers of `root` and of what hangs from it, as far as the target lacks them.
    pub(super) fn referrers<'a>(&'a self, root: &'a Manifest, graph: &Graph) -> Referrers<'a> {
        let subjects = std::iter::once(root).chain(&graph.children);
        let subjects: VecDeque<Digest> = subjects.map(|manifest| manifest.digest().clone()).collect();
        Referrers {
            copy: self,
            root: root.digest(),
            seen: subjects.iter().cloned().collect(),
            subjects,
            candidates: VecDeque::new(),
            blobs: graph.blobs.iter().map(|part| part.blob.digest().clone()).collect(),
        }
    }
}

impl Referrers<'_> {
    /// The next one that the target lacks; it is read, what it has beside it is not touched.
    ///
    /// # Errors
    /// Those of both ends; [`Error::Refused`] where there are absurdly many.
    pub(super) async fn next(&mut self) -> Result<Option<Referrer>> {
        loop {
            while let Some(name) = self.candidates.pop_front() {
                if let Some(referrer) = self.lacking(name).await? {
                    return Ok(Some(referrer));
                }
            }
            let Some(subject) = self.subjects.pop_front() else { return Ok(None) };
            self.look_at(&subject).await?;
        }
    }

    async fn look_at(&mut self, subject: &Digest) -> Result<()> {
        for kind in COSIGN {
            let tag = format!("{}-{}.{kind}", subject.algorithm(), subject.digest());
            self.candidates.push_back(Name::Tag(tag));
        }
        for referrer in self.copy.source.referrers(subject).await? {
            let digest = referrer.digest();
            if !self.seen.insert(digest.clone()) {
                continue;
            }
            if self.seen.len() > MAX_REFERRERS {
                let reason = format!("it has more than {MAX_REFERRERS} referrers");
                return Err(Error::refused("copy referrers of", self.root, reason));
            }
            self.candidates.push_back(Name::Digest(digest.clone()));
            self.subjects.push_back(digest.clone());
        }
        Ok(())
    }

    /// The referrer called `name`, unless there is none or the target has it. HEADs tell, which no registry meters.
    async fn lacking(&mut self, name: Name) -> Result<Option<Referrer>> {
        let Copy { source, target, .. } = self.copy;
        let digest = match &name {
            Name::Digest(digest) => digest.clone(),
            name => match source.resolve(name).await {
                Ok(digest) => digest,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        if target.vouches_for_blobs() && target.resolve(&name).await?.as_ref() == Some(&digest) {
            return Ok(None);
        }
        let manifest = source.manifest(&Name::Digest(digest)).await?;
        let mut graph = Graph::below(source.as_ref(), &manifest).await?;
        graph.blobs.retain(|part| self.blobs.insert(part.blob.digest().clone()));
        Ok(Some(Referrer { manifest, name, graph }))
    }
}
