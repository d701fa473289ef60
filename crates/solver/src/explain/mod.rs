//! Why a vertex was not found in the cache.

use std::sync::Arc;

use crate::ids::VertexName;
use crate::key::{KeyId, Selector};
use crate::store::KeyStore;

/// What is to be explained: taken down when an op begins to run.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Whose op runs.
    pub(crate) vertex: Arc<VertexName>,
    /// Whether it was to be run whatever the cache has.
    pub(crate) ignore_cache: bool,
    /// The op part of its keys: one for each cache map.
    pub(crate) ops: Vec<KeyId>,
    /// Keys that were found and had no result that could be used.
    pub(crate) known: Vec<KeyId>,
    /// Its inputs.
    pub(crate) inputs: Vec<Asked>,
}

/// An input of a vertex that was not found.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Whose output it is.
    pub(crate) vertex: Arc<VertexName>,
    /// What part of it is read.
    pub(crate) selector: Option<Selector>,
    /// Its keys in the solver's own cache.
    pub(crate) keys: Vec<KeyId>,
    /// The key of its content, if the op looks at that.
    pub(crate) content: Option<KeyId>,
    /// What of it is looked at, in words.
    pub(crate) looks_at: Option<String>,
    /// Whether one of its keys led to a key of the op.
    pub(crate) matched: bool,
}

/// Why a vertex was not found in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The vertex.
    pub vertex: Arc<VertexName>,
}

/// Finds out why.
pub(crate) async fn answer(_keys: &dyn KeyStore, question: Question) -> Why {
    Why { vertex: question.vertex }
}
