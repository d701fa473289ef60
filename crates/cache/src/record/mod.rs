//! What is known of a ref for good: one row of the database, and lines of the journal that it can be made anew of.
//!
//! A record says what a ref *is* (its parents, its blob, what it unpacks to), never whether that is here: blobs and
//! snapshots say so themselves, by being there. So a record is lazy or local without being written.

mod audit;
mod id;
mod keys;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use lazyblob_remote::provider::Origin;
use oci_spec::image::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

pub(crate) use audit::{Audit, Pointer, Wrong};
pub use id::RecordId;
pub(crate) use keys::Rows;

use crate::chain::{BlobChainId, ChainId};
use crate::snapshot::SnapshotKey;

/// What a ref is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One layer on top of another ref, or at the bottom.
    Layer {
        /// The ref below.
        parent: Option<RecordId>,
    },
    /// Several refs on top of each other, the bottom one first.
    Merge {
        /// Two or more; none of them is a merge.
        parents: Vec<RecordId>,
    },
    /// What makes `upper` of `lower`.
    Diff {
        /// Nothing stands for an empty directory.
        lower: Option<RecordId>,
        /// Nothing stands for an empty directory.
        upper: Option<RecordId>,
    },
}

impl Kind {
    /// The records this one stands on, each once.
    pub fn parents(&self) -> impl Iterator<Item = &RecordId> {
        let (one, two, many) = match self {
            Self::Layer { parent } => (parent.as_ref(), None, [].as_slice()),
            Self::Diff { lower, upper } => {
                (lower.as_ref(), upper.as_ref().filter(|_| upper != lower), [].as_slice())
            }
            Self::Merge { parents } => (None, None, parents.as_slice()),
        };
        one.into_iter().chain(two).chain(many)
    }
}

/// The blob of a layer, and what it uncompresses to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// Media type, size, digest, annotations, and the addresses of one that must not be distributed.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
}

/// What a record is for (BuildKit's names).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RecordType {
    /// A layer, a result.
    #[default]
    Regular,
    /// For the engine's own use.
    Internal,
    /// A frontend's image.
    Frontend,
    /// Files of a client.
    SourceLocal,
    /// A checkout.
    SourceGitCheckout,
    /// A cache mount.
    ExecCacheMount,
}

impl RecordType {
    /// The name in output and filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Internal => "internal",
            Self::Frontend => "frontend",
            Self::SourceLocal => "source.local",
            Self::SourceGitCheckout => "source.git.checkout",
            Self::ExecCacheMount => "exec.cachemount",
        }
    }
}

/// What becomes of a mutable ref when its last handle goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retention {
    /// It is removed.
    #[default]
    Drop,
    /// It stays until it is pruned.
    Retain,
}

/// Everything that is known of a ref for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names it, here and nowhere else.
    pub id: RecordId,
    /// What it is made of.
    pub kind: Kind,
    /// Its tree may still change: there is one handle on it at most.
    #[serde(default)]
    pub mutable: bool,
    /// Its blob, if it has one. Whether that is here is for the store to say.
    #[serde(default)]
    pub blob: Option<LayerBlob>,
    /// What it unpacks to, from its own list of layers.
    #[serde(default)]
    pub chain: Option<ChainId>,
    /// The same, with the compressed blobs.
    #[serde(default)]
    pub blob_chain: Option<BlobChainId>,
    /// What the snapshot of its own diff is called, if it has one. Whether that is here is for the snapshotter to say.
    #[serde(default)]
    pub snapshot: Option<SnapshotKey>,
    /// The mutable ref whose tree this is, until it is finalized; and the other way about.
    #[serde(default)]
    pub twin: Option<RecordId>,
    /// Names under which it was seen, the first one first.
    #[serde(default)]
    pub image_refs: Vec<String>,
    /// Repositories its blob was seen in: what makes it fetchable again.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// For listings.
    #[serde(default)]
    pub description: String,
    /// What it is for.
    #[serde(default)]
    pub record_type: RecordType,
    /// What becomes of it when its last handle goes; immutable ones stay.
    #[serde(default)]
    pub retention: Retention,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// What embedders keep with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A repository that had a blob.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// `HOST[:PORT]`, or the kind of a local location.
    pub host: String,
    /// The repository at that host, or the path of a local location.
    pub repository: String,
}

impl From<Origin> for Source {
    fn from(origin: Origin) -> Self {
        Self { host: origin.host, repository: origin.repository }
    }
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        Self { host: source.host, repository: source.repository }
    }
}

impl Record {
    /// A record of nothing but its kind, made now.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            id: RecordId::random(),
            kind,
            mutable: false,
            blob: None,
            chain: None,
            blob_chain: None,
            snapshot: None,
            twin: None,
            image_refs: Vec::new(),
            sources: Vec::new(),
            description: String::new(),
            record_type: RecordType::default(),
            retention: Retention::default(),
            created: now(),
            labels: BTreeMap::new(),
        }
    }

    /// Adds a name and a repository it was seen under. Says whether that was news. Both lists stay short: what is seen
    /// under ever new names must not grow for ever.
    pub(crate) fn seen(&mut self, image_ref: Option<&str>, sources: &[Source]) -> bool {
        const MOST: usize = 64;
        let mut news = false;
        if let Some(image_ref) = image_ref
            && self.image_refs.len() < MOST
            && !self.image_refs.iter().any(|known| known == image_ref)
        {
            self.image_refs.push(image_ref.to_owned());
            news = true;
        }
        for source in sources {
            if self.sources.len() < MOST && !self.sources.contains(source) {
                self.sources.push(source.clone());
                news = true;
            }
        }
        news
    }
}

/// When and how often a record was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    /// In milliseconds since 1970; the time it was made where it was never used.
    pub at: u64,
    /// How often a handle on it was the last to go.
    pub count: u64,
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
