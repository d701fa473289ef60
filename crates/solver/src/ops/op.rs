//! The one trait a build engine has to implement.

use async_trait::async_trait;

use crate::error::OpError;
use crate::ops::{CacheMap, OpCx};
use crate::value::Value;

/// What a vertex does.
///
/// The solver calls `cache_map` at most once for each index and `exec` at most once in the life of a vertex, however many
/// jobs share it; `exec` again only after a cancelled run, or after a result of it or of an input was lost. A failure is
/// remembered as long as some job has the vertex, a cancellation is not.
///
/// Both look at [`cancelled`](crate::LoadCx::cancelled) and return soon after; they are never aborted. Nothing else of
/// the op runs until they have returned, but for those that were given up on: work that has not returned
/// [so long](crate::Settings::cancel_grace) after it was told to stop may still go on beside a new run.
#[async_trait]
pub trait Op<R: Value>: Send + Sync {
    /// The kind of op: ops of one kind share a limit of how many run at once
    /// ([`Settings::parallelism`](crate::Settings::parallelism)). It is asked once, when a graph is made of it.
    fn kind(&self) -> &str {
        "op"
    }

    /// The cache map of this index, from 0. An op without inputs may have several: the next one is asked for when
    /// what is known does not lead to a result and the last one said [`more`](CacheMap::more).
    ///
    /// # Errors
    /// Whatever it says fails the vertex, at stage [`CacheMap`](crate::Stage::CacheMap).
    async fn cache_map(&self, cx: &OpCx<R>, index: usize) -> Result<CacheMap<R>, OpError>;

    /// Computes all outputs, of all inputs in their order.
    ///
    /// # Errors
    /// [`OpError::InputLost`] has the input made again; whatever else fails the vertex, at stage
    /// [`Exec`](crate::Stage::Exec).
    async fn exec(&self, cx: &OpCx<R>, inputs: Vec<R>) -> Result<Vec<R>, OpError>;
}
