//! What a process holds on to.

use std::fmt;
use std::sync::Arc;

use oci_spec::image::Digest;

use crate::chain::ChainId;

/// Something that a living process needs: prune leaves it alone, in whichever process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pin {
    /// A record, by its id. One without line breaks.
    Record(Arc<str>),
    /// A blob, whether it is there or is to come.
    Blob(Digest),
    /// The snapshot of a chain, whether it is there or is to come.
    Chain(ChainId),
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(id) => write!(f, "record {id}"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Chain(chain) => write!(f, "chain {chain}"),
        }
    }
}

impl Pin {
    /// What [`Display`](fmt::Display) has written; nothing for what no process of ours writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ')? {
            ("record", id) if !id.is_empty() => Some(Self::Record(id.into())),
            ("blob", digest) => Some(Self::Blob(digest.parse().ok()?)),
            ("chain", digest) => Some(Self::Chain(ChainId::from_digest(digest.parse().ok()?))),
            _ => None,
        }
    }
}
