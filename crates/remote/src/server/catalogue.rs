//! What each repository has and may show: manifests, tags, blobs, referrers. In memory, behind a short lock.
//!
//! A blob is *present* in a repository once it was uploaded or mounted there or a manifest put there names it; it is
//! *named* while a manifest of the repository names it. Presence answers HEAD, mounts and manifests; its bytes are
//! served only where it is named too.

use std::collections::{BTreeMap, HashMap, HashSet};

use oci_spec::image::{Descriptor, Digest, MediaType};

use super::backend::Change;
use crate::manifest::Manifest;
use crate::media;

/// All repositories.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    repositories: HashMap<String, Repository>,
}

/// One repository.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    manifests: HashMap<Digest, Entry>,
    tags: BTreeMap<String, Digest>,
    present: HashSet<Digest>,
    named: HashMap<Digest, usize>,
    referrers: HashMap<Digest, BTreeMap<String, Descriptor>>,
}

/// What the catalogue remembers of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    descriptor: Descriptor,
    blobs: Vec<Digest>,
    subject: Option<(Digest, Descriptor)>,
}

impl Entry {
    /// An entry for a manifest.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let blobs = manifest.child_blobs().into_iter().map(|blob| blob.digest().clone()).collect();
        let subject = manifest.subject().map(|subject| (subject.digest().clone(), as_referrer(manifest)));
        Self { descriptor: manifest.descriptor().clone(), blobs, subject }
    }

    /// The manifest's descriptor.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
}

/// Children of a manifest that a repository does not have.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// Must be there.
    pub(crate) required: Vec<Digest>,
    /// Need not be there.
    pub(crate) elsewhere: Vec<Digest>,
}

/// Whether a repository need not have a blob it names: it must not be distributed, or has another address.
pub(crate) fn may_be_elsewhere(child: &Descriptor) -> bool {
    media::is_foreign(child.media_type().as_ref())
        || child.urls().as_ref().is_some_and(|urls| !urls.is_empty())
}

fn digests<'a>(children: impl Iterator<Item = &'a Descriptor>) -> Vec<Digest> {
    children.map(|child| child.digest().clone()).collect()
}

/// A manifest as the list of referrers shows it (distribution-spec "Listing Referrers").
fn as_referrer(manifest: &Manifest) -> Descriptor {
    let mut referrer = manifest.descriptor().clone();
    referrer.set_artifact_type(manifest.artifact_type().map(MediaType::from));
    let annotations = manifest.annotations().map(|annotations| {
        annotations
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    });
    referrer.set_annotations(annotations);
    referrer
}

impl Catalogue {
    pub(crate) fn get(&self, repository: &str) -> Option<&Repository> {
        self.repositories.get(repository)
    }

    /// Makes a blob present in a repository.
    pub(crate) fn add_blob(&mut self, repository: &str, digest: &Digest) {
        self.of(repository).present.insert(digest.clone());
    }

    /// Makes a blob present in a repository if it is present in another.
    pub(crate) fn mount(&mut self, from: &str, repository: &str, digest: &Digest) -> bool {
        let there = self.get(from).is_some_and(|source| source.has_blob(digest));
        if there {
            self.add_blob(repository, digest);
        }
        there
    }

    /// Takes a blob out of a repository.
    pub(crate) fn remove_blob(&mut self, repository: &str, digest: &Digest) -> bool {
        self.repositories.get_mut(repository).is_some_and(|repository| repository.present.remove(digest))
    }

    /// Follows a change the backend has made; `entry` is the manifest of a [`Change::Put`].
    pub(crate) fn follow(&mut self, repository: &str, change: &Change, entry: Option<Entry>) {
        let repository = self.of(repository);
        match change {
            Change::Put { manifest, tag, .. } => {
                if let Some(entry) = entry {
                    repository.insert(entry);
                }
                if let Some(tag) = tag {
                    repository.tags.insert(tag.clone(), manifest.digest().clone());
                }
            }
            Change::Untag(tag) => {
                repository.tags.remove(tag);
            }
            Change::Delete(digest) => repository.remove(digest),
        }
    }

    fn of(&mut self, repository: &str) -> &mut Repository {
        self.repositories.entry(repository.to_owned()).or_default()
    }
}

impl Repository {
    /// The descriptor a tag points to.
    pub(crate) fn tagged(&self, tag: &str) -> Option<&Descriptor> {
        self.tags.get(tag).and_then(|digest| self.manifest(digest))
    }

    /// The descriptor of a manifest.
    pub(crate) fn manifest(&self, digest: &Digest) -> Option<&Descriptor> {
        self.manifests.get(digest).map(Entry::descriptor)
    }

    /// Whether a blob is present.
    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        self.present.contains(digest)
    }

    /// Whether a blob is present and a manifest names it.
    pub(crate) fn names_blob(&self, digest: &Digest) -> bool {
        self.has_blob(digest) && self.named.contains_key(digest)
    }

    /// The tags after `last`, in ASCII order.
    pub(crate) fn tags_after(&self, last: Option<&str>) -> impl Iterator<Item = &str> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = last.map_or(Unbounded, Excluded);
        self.tags.range::<str, _>((from, Unbounded)).map(|(tag, _)| tag.as_str())
    }

    /// The manifests that refer to a subject, in the order of their digests.
    pub(crate) fn referrers(&self, subject: &Digest) -> impl Iterator<Item = &Descriptor> {
        self.referrers.get(subject).into_iter().flat_map(BTreeMap::values)
    }

    /// The children of `manifest` that are not here. A subject may always be missing.
    pub(crate) fn missing(&self, manifest: &Manifest) -> Missing {
        let blobs = manifest.child_blobs().into_iter().filter(|blob| !self.has_blob(blob.digest()));
        let (elsewhere, blobs): (Vec<_>, Vec<_>) = blobs.partition(|blob| may_be_elsewhere(blob));
        let manifests = manifest.child_manifests().into_iter();
        let manifests = manifests.filter(|child| !self.manifests.contains_key(child.digest()));
        Missing {
            required: digests(blobs.into_iter().chain(manifests)),
            elsewhere: digests(elsewhere.into_iter()),
        }
    }

    fn insert(&mut self, entry: Entry) {
        if self.manifests.contains_key(entry.descriptor.digest()) {
            return;
        }
        for blob in &entry.blobs {
            *self.named.entry(blob.clone()).or_default() += 1;
        }
        if let Some((subject, referrer)) = &entry.subject {
            let of_subject = self.referrers.entry(subject.clone()).or_default();
            of_subject.insert(referrer.digest().to_string(), referrer.clone());
        }
        self.manifests.insert(entry.descriptor.digest().clone(), entry);
    }

    fn remove(&mut self, digest: &Digest) {
        self.tags.retain(|_, tagged| tagged != digest);
        let Some(entry) = self.manifests.remove(digest) else { return };
        for blob in &entry.blobs {
            if let Some(count) = self.named.get_mut(blob) {
                *count -= 1;
                if *count == 0 {
                    self.named.remove(blob);
                }
            }
        }
        if let Some((subject, _)) = &entry.subject
            && let Some(of_subject) = self.referrers.get_mut(subject)
        {
            of_subject.remove(digest.as_ref());
        }
    }
}
