//! Whom a node works for: the sessions of its jobs, and the journals that are told of it.

use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::ids::{JobId, SessionId};
use crate::machine::Machine;
use crate::machine::jobs::JobState;
use crate::status::Journal;
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// The sessions of all who have a node, each once.
    pub(crate) fn sessions(&self, node: NodeIndex) -> Vec<SessionId> {
        let mut found = Vec::new();
        let mut stack = vec![node];
        let mut seen = std::collections::HashSet::new();
        while let Some(node) = stack.pop() {
            let Some(state) = self.graph.node_weight(node).filter(|_| seen.insert(node)) else { continue };
            for holder in &state.holders {
                let Some(job) = self.jobs.get(&holder.job) else { continue };
                if let Some(session) = job.session.as_ref().filter(|session| !found.contains(*session)) {
                    found.push(session.clone());
                }
                stack.extend(job.parent);
            }
        }
        found
    }

    /// The journals that are told what happens to a node: those of jobs that have it in a graph, over the nodes that
    /// their builds are within.
    pub(super) fn journals(&self, node: NodeIndex) -> SmallVec<[Arc<Journal>; 2]> {
        let mut found: SmallVec<[Arc<Journal>; 2]> = SmallVec::new();
        let mut stack: SmallVec<[NodeIndex; 2]> = SmallVec::from_slice(&[node]);
        // Several builds within one node lead to it: it is gone over once.
        let mut seen = std::collections::HashSet::new();
        while let Some(node) = stack.pop() {
            let Some(state) = self.graph.node_weight(node) else { continue };
            for job in state
                .holders
                .iter()
                .filter(|holder| holder.own)
                .filter_map(|holder| self.jobs.get(&holder.job))
            {
                match &job.journal {
                    Some(journal) if !found.iter().any(|known| Arc::ptr_eq(known, journal)) => {
                        found.push(Arc::clone(journal));
                    }
                    Some(_) => {}
                    None => stack.extend(job.parent.filter(|parent| seen.insert(*parent))),
                }
            }
        }
        found
    }

    /// The journals of one job.
    pub(super) fn journals_of(&self, job: JobId) -> SmallVec<[Arc<Journal>; 2]> {
        match self.jobs.get(&job) {
            Some(JobState { journal: Some(journal), .. }) => SmallVec::from_iter([Arc::clone(journal)]),
            Some(JobState { parent: Some(parent), .. }) => self.journals(*parent),
            _ => SmallVec::new(),
        }
    }
}
