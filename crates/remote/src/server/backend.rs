//! Where a registry keeps blobs and names. Visibility, sessions and the protocol are the registry's own business.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};

use crate::body::ByteStream;
use crate::error::Result;

/// A manifest a repository has, by one of its tags or, where it has none, by digest alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// Media type, size and digest of the manifest.
    pub manifest: Descriptor,
    /// Blobs the manifest names and the repository does not have: whoever names a digest must not come to its bytes
    /// that way, not after a restart either.
    pub absent: Vec<Digest>,
}

/// One change to the names of a repository.
#[derive(Clone, Debug)]
pub enum Change {
    /// The repository gets a manifest, and a tag points to it if there is one. What the tag pointed to before stays.
    Put {
        /// The manifest.
        manifest: Box<Descriptor>,
        /// Blobs it names and the repository does not have.
        absent: Vec<Digest>,
        /// The tag.
        tag: Option<String>,
    },
    /// A tag goes; its manifest stays.
    Untag(String),
    /// A manifest goes, with all its tags.
    Delete(Digest),
}

/// Told that a change has been made, before a later change is.
pub type Applied = Box<dyn FnOnce() + Send>;

/// Storage of a registry. Blobs are shared by all repositories and go by digest alone; manifests are blobs too.
#[async_trait]
pub trait Backend: Send + Sync + std::fmt::Debug + 'static {
    /// Every name there is; read once, when a registry opens.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::Invalid`].
    async fn names(&self) -> Result<Vec<Named>>;

    /// Makes a change durable and then calls `applied`. Changes and their calls come in the same order, and the call
    /// comes even where the future is dropped after the change was made.
    ///
    /// # Errors
    /// [`crate::Error::Io`]; `applied` is not called then.
    async fn change(&self, repository: &str, change: Change, applied: Applied) -> Result<()>;

    /// The size of a blob in bytes, or nothing where it is not stored.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    async fn size(&self, digest: &Digest) -> Result<Option<u64>>;

    /// The bytes of `range` (end exclusive, within the blob).
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] or [`crate::Error::Io`].
    async fn read(&self, digest: &Digest, range: Range<u64>) -> Result<ByteStream>;

    /// Begins to take in a blob of yet unknown digest.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    async fn ingest(&self) -> Result<Box<dyn Ingest>>;
}

/// A blob on its way in. Nobody sees it before it is committed.
#[async_trait]
pub trait Ingest: Send + Sync + std::fmt::Debug {
    /// Bytes taken in so far.
    fn position(&self) -> u64;

    /// Waits until bytes whose [`Ingest::append`] was dropped are taken in or are not.
    async fn settle(&mut self);

    /// Takes in more bytes, all or none. Dropping the future leaves it open which, until [`Ingest::settle`].
    ///
    /// # Errors
    /// [`crate::Error::Io`], and the ingest stays as it was before.
    async fn append(&mut self, pieces: Vec<Bytes>) -> Result<()>;

    /// Stores the blob durably if it is what `expected` names.
    ///
    /// # Errors
    /// [`crate::Error::Integrity`] and [`crate::Error::Io`]; nothing is stored then.
    async fn commit(self: Box<Self>, expected: &Digest) -> Result<u64>;

    /// Forgets what was taken in.
    async fn discard(self: Box<Self>);
}

impl Change {
    /// Applies this change to all names; the rule both backends share.
    pub fn apply(&self, repository: &str, names: &mut Vec<Named>) {
        let here = |named: &Named| named.repository == repository;
        match self {
            Self::Put { manifest, absent, tag } => {
                if let Some(tag) = tag {
                    Self::Untag(tag.clone()).apply(repository, names);
                    // A tag makes the name by digest alone superfluous.
                    names.retain(|named| {
                        !(here(named) && named.tag.is_none() && same(named, manifest.digest()))
                    });
                }
                let mut known = false;
                for named in names.iter_mut().filter(|named| here(named) && same(named, manifest.digest())) {
                    known = true;
                    named.absent.clone_from(absent);
                }
                if tag.is_some() || !known {
                    names.push(Named {
                        repository: repository.to_owned(),
                        tag: tag.clone(),
                        manifest: manifest.as_ref().clone(),
                        absent: absent.clone(),
                    });
                }
            }
            Self::Untag(tag) => {
                let tagged = |named: &Named| here(named) && named.tag.as_deref() == Some(tag);
                let Some(at) = names.iter().position(tagged) else { return };
                let gone = names.remove(at);
                if !names.iter().any(|named| here(named) && same(named, gone.manifest.digest())) {
                    names.push(Named { tag: None, ..gone });
                }
            }
            Self::Delete(digest) => names.retain(|named| !(here(named) && same(named, digest))),
        }
    }
}

fn same(named: &Named, digest: &Digest) -> bool {
    named.manifest.digest() == digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;
    use oci_spec::image::MediaType;

    fn manifest(text: &str) -> Descriptor {
        Descriptor::new(MediaType::ImageManifest, text.len() as u64, sha256(text.as_bytes()))
    }

    fn after(changes: &[(&str, Change)]) -> Vec<(String, Option<String>, u64)> {
        let mut names = Vec::new();
        for (repository, change) in changes {
            change.apply(repository, &mut names);
        }
        names.into_iter().map(|n| (n.repository, n.tag, n.manifest.size())).collect()
    }

    fn put(text: &str, tag: Option<&str>) -> Change {
        Change::Put { manifest: Box::new(manifest(text)), absent: Vec::new(), tag: tag.map(str::to_owned) }
    }

    #[test]
    fn a_tag_that_moves_leaves_its_manifest_by_digest() {
        let names = after(&[("r", put("a", Some("t"))), ("s", put("a", None)), ("r", put("bb", Some("t")))]);
        assert_eq!(names, [("s".into(), None, 1), ("r".into(), None, 1), ("r".into(), Some("t".into()), 2)]);
    }

    #[test]
    fn a_tag_replaces_the_name_by_digest() {
        let names = after(&[("r", put("a", None)), ("r", put("a", Some("t"))), ("r", put("a", None))]);
        assert_eq!(names, [("r".into(), Some("t".into()), 1)]);
    }

    #[test]
    fn deleting_takes_the_tags_along_but_only_here() {
        let digest = manifest("a").digest().clone();
        let names = after(&[
            ("r", put("a", Some("t"))),
            ("r", put("a", Some("u"))),
            ("s", put("a", Some("t"))),
            ("r", Change::Delete(digest)),
        ]);
        assert_eq!(names, [("s".into(), Some("t".into()), 1)]);
    }
}
