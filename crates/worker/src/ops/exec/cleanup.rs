//! What a command has while it runs, and how it goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use lazyblob_cache::{MutableRef, Tree};
use lazyblob_solver::OpError;

use super::agents::Agents;
use super::cache::Lease;
use super::failed;
use super::private::Private;
use crate::result::WorkerRef;

/// Everything a command sees. Dropping it takes it away as well, some of it a little later: [`Tree`] says when.
///
/// Trees go before the refs whose trees they are.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) trees: Vec<Tree>,
    pub(super) agents: Option<Agents>,
    pub(super) private: Option<Arc<Private>>,
    /// By the numbers of the mounts that are of them.
    pub(super) caches: BTreeMap<usize, Arc<Lease>>,
    /// What may be changed and is no output.
    pub(super) thrown_away: Vec<MutableRef>,
    pub(super) outputs: BTreeMap<usize, Output>,
}

/// What an output is made of.
#[derive(Debug)]
pub(super) enum Output {
    /// What may be changed.
    Changed(MutableRef),
    /// What was shown, and could not be changed.
    Shown(WorkerRef),
}

/// What is left of it.
#[derive(Debug)]
pub(super) struct Left(BTreeMap<usize, Output>);

impl Held {
    /// Takes all mounts away, and what memory has of secrets. It is done when this returns, whatever it says.
    pub(super) async fn take_away(mut self) -> Result<Left, OpError> {
        if let Some(agents) = &self.agents {
            agents.close().await;
        }
        drop(self.private.take());
        let mut closed = Ok(());
        // What was mounted last is within what was mounted first.
        while let Some(tree) = self.trees.pop() {
            if let Err(error) = tree.close().await {
                tracing::warn!(%error, "a tree of a command");
                closed = closed.and(Err(failed::op(error)));
            }
        }
        // Those who wait for a cache wait no longer than this.
        self.caches.clear();
        self.thrown_away.clear();
        closed.map(|()| Left(self.outputs))
    }
}

impl Left {
    /// Makes results of it: `count` of them, in their order.
    pub(super) async fn keep(self, count: usize) -> Result<Vec<WorkerRef>, OpError> {
        let mut kept = Vec::with_capacity(count);
        for output in self.0.into_values() {
            kept.push(match output {
                Output::Shown(tree) => tree,
                Output::Changed(tree) => WorkerRef::new(tree.commit().await.map_err(failed::op)?),
            });
        }
        Ok(kept)
    }
}
