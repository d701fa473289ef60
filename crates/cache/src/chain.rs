//! The identity of layers in their order (image-spec config.md, "Layer ChainID").
//!
//! * [`ChainId`]: equal ones unpack to the same tree, so the snapshot is shared.
//! * [`BlobChainId`]: equal ones have the same compressed blobs all the way down, so the record is shared.
//!
//! Both are computed from a ref's own list of layers and from nothing else.

use std::fmt;

use lazyblob_remote::digest;
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

/// Names the tree that a stack of uncompressed layers makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(Digest);

/// Names a stack of blobs, each with what it uncompresses to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlobChainId(Digest);

impl ChainId {
    /// The chain of a bottom layer: its diffID.
    #[must_use]
    pub fn base(diff_id: &Digest) -> Self {
        Self(diff_id.clone())
    }

    /// This chain with one more layer on top.
    #[must_use]
    pub fn with(&self, diff_id: &Digest) -> Self {
        Self(joined(&self.0, diff_id))
    }

    /// The chains of all prefixes of a stack, the bottom one first.
    #[must_use]
    pub fn of_stack<'a>(diff_ids: impl IntoIterator<Item = &'a Digest>) -> Vec<Self> {
        let mut chains: Vec<Self> = Vec::new();
        for diff_id in diff_ids {
            chains.push(chains.last().map_or_else(|| Self::base(diff_id), |below| below.with(diff_id)));
        }
        chains
    }

    /// Takes a digest that is known to name a chain.
    #[must_use]
    pub fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl BlobChainId {
    /// The chain of a bottom layer.
    #[must_use]
    pub fn base(blob: &Digest, diff_id: &Digest) -> Self {
        Self(joined(blob, diff_id))
    }

    /// This chain with one more layer on top.
    #[must_use]
    pub fn with(&self, blob: &Digest, diff_id: &Digest) -> Self {
        Self(joined(&self.0, &joined(blob, diff_id)))
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

/// Both names of one stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chains {
    pub(crate) chain: ChainId,
    pub(crate) blobs: BlobChainId,
}

impl Chains {
    /// One more layer on top of what is below, or at the bottom.
    pub(crate) fn on(below: Option<&Self>, blob: &Digest, diff_id: &Digest) -> Self {
        match below {
            None => Self { chain: ChainId::base(diff_id), blobs: BlobChainId::base(blob, diff_id) },
            Some(below) => Self { chain: below.chain.with(diff_id), blobs: below.blobs.with(blob, diff_id) },
        }
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BlobChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn joined(below: &Digest, above: &Digest) -> Digest {
    digest::sha256(format!("{below} {above}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures are those of `printf 'A B' | sha256sum`.
    #[test]
    fn chains_are_hashes_of_two_digests_and_a_blank() {
        let (one, two) = (digest::sha256(b"one"), digest::sha256(b"two"));
        let base = ChainId::base(&one);
        assert_eq!(base.digest(), &one, "the bottom layer's is its diffID");
        let expected = digest::sha256(format!("{one} {two}").as_bytes());
        assert_eq!(base.with(&two).digest(), &expected);
        assert_eq!(ChainId::of_stack([&one, &two]), [base.clone(), base.with(&two)]);
        assert_ne!(base.with(&two), ChainId::base(&two).with(&one), "the order counts");
    }

    #[test]
    fn blob_chains_tell_compressions_apart() {
        let (gzip, zstd, diff_id) =
            (digest::sha256(b"gzip"), digest::sha256(b"zstd"), digest::sha256(b"tar"));
        let base = BlobChainId::base(&gzip, &diff_id);
        assert_eq!(base.digest(), &digest::sha256(format!("{gzip} {diff_id}").as_bytes()));
        let blob = digest::sha256(format!("{zstd} {diff_id}").as_bytes());
        let expected = digest::sha256(format!("{base} {blob}").as_bytes());
        assert_eq!(base.with(&zstd, &diff_id).digest(), &expected);
        assert_ne!(base.with(&zstd, &diff_id), base.with(&gzip, &diff_id));
    }
}
