//! Why ops run: the question that is taken down when one begins, and for whom the answer is kept.

use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::explain::{Asked, Question, Why, Words};
use crate::ids::JobId;
use crate::machine::Machine;
use crate::machine::edge::{DepState, Origin};
use crate::machine::node::Use;
use crate::ops::Site;
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// What is to be explained of a node that runs.
    pub(super) fn question(&self, node: NodeIndex) -> Question {
        let state = &self.graph[node];
        let edge = state.edges.first().map(|edge| &self.edges[edge.at()]);
        let asked = |(input, dep): (usize, &DepState)| {
            let below = &self.edges[dep.edge.at()];
            let usage = state.usage(input);
            Asked {
                vertex: Arc::clone(&self.graph[below.node].name),
                ran: below.finished.as_ref().is_some_and(|done| matches!(done.origin, Origin::Executed)),
                again: self.graph[below.node].options.ignore_cache
                    || below.rare.as_ref().is_some_and(|rare| !rare.refused.is_empty()),
                selector: usage.and_then(Use::selector).cloned(),
                keys: below.names().collect(),
                content: state.content(input),
                looks_at: usage.and_then(Use::slow_digest).map(|digest| {
                    let digest = Arc::clone(digest);
                    Words(Arc::new(move || digest.looks_at()))
                }),
            }
        };
        let output = edge.map_or(0, |edge| edge.output);
        Question {
            vertex: Arc::clone(&state.name),
            ignore_cache: state.options.ignore_cache,
            ops: state.maps.iter().map(|map| map.digest.key(output)).collect(),
            known: edge.map(|edge| edge.keys_here().collect()).unwrap_or_default(),
            refused: edge
                .and_then(|edge| edge.rare.as_ref())
                .map(|rare| rare.refused.iter().map(|(_, id)| id.clone()).collect())
                .unwrap_or_default(),
            inputs: edge.map(|edge| edge.deps.iter().enumerate().map(asked).collect()).unwrap_or_default(),
        }
    }

    /// Whether some job wants to know why this node runs.
    pub(super) fn explains(&self, node: NodeIndex) -> bool {
        self.graph[node]
            .holders
            .iter()
            .any(|holder| self.jobs.get(&holder.job).is_some_and(|job| job.explain))
    }

    /// Takes down why a node runs, for those of its jobs that want to know; for a build within a build these are the jobs
    /// that it is built for.
    pub(crate) fn explained(&mut self, site: Site, why: &Why) {
        if !self.is_there(site) {
            return;
        }
        let mut stack: SmallVec<[NodeIndex; 2]> = SmallVec::from_slice(&[site.node]);
        let mut seen = std::collections::HashSet::new();
        while let Some(node) = stack.pop() {
            let Some(state) = self.graph.node_weight(node) else { continue };
            for holder in &state.holders {
                let Some(job) = self.jobs.get_mut(&holder.job).filter(|_| seen.insert(holder.job)) else {
                    continue;
                };
                match job.parent {
                    Some(parent) => stack.push(parent),
                    None if job.explain => job.whys.push(why.clone()),
                    None => {}
                }
            }
        }
    }

    /// Why vertices of a job ran, in the order in which they did.
    pub(crate) fn whys(&self, job: JobId) -> Result<Vec<Why>> {
        let state = self.jobs.get(&job).ok_or(Error::UnknownJob { job })?;
        Ok(state.whys.clone())
    }
}
