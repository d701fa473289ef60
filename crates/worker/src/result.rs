//! What a build computes: a tree that may not have been pulled yet.

use lazyblob_cache::ImmutableRef;
use lazyblob_solver::Value;

/// The result of a vertex: a handle on a tree, or nothing at all, which is an empty directory (`scratch`).
///
/// Cloning it counts as a handle and costs nothing; as long as one lives, nothing of it is pruned.
#[derive(Clone, Debug, Default)]
pub struct WorkerRef(Option<ImmutableRef>);

impl WorkerRef {
    /// A tree of the cache.
    #[must_use]
    pub fn new(tree: ImmutableRef) -> Self {
        Self(Some(tree))
    }

    /// The empty tree.
    #[must_use]
    pub fn scratch() -> Self {
        Self(None)
    }

    /// The tree; `None` for the empty one.
    #[must_use]
    pub fn tree(&self) -> Option<&ImmutableRef> {
        self.0.as_ref()
    }
}

impl From<Option<ImmutableRef>> for WorkerRef {
    fn from(tree: Option<ImmutableRef>) -> Self {
        Self(tree)
    }
}

impl Value for WorkerRef {
    /// The same tree, of whose every layer there is a blob: one that is here, or one that somebody can bring.
    type Remote = ImmutableRef;
}
