//! Who holds what, and for how long.
//!
//! A job holds the nodes of its graphs, the nodes that edges of those were merged into, and everything below. A node goes
//! when nobody holds it, nothing above it is left and no ticket is out for it.

use std::hash::BuildHasher;

use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::ids::JobId;
use crate::machine::edge::{EdgeId, Level};
use crate::machine::node::Holder;
use crate::machine::{LOCAL, Machine, SourceIx};
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// Has a job hold a node and all below it.
    pub(super) fn hold(&mut self, job: JobId, node: NodeIndex, own: bool) {
        let mut stack = vec![(node, own)];
        while let Some((node, own)) = stack.pop() {
            let state = &mut self.graph[node];
            let held = match state.holders.iter_mut().find(|holder| holder.job == job) {
                Some(holder) if holder.own || !own => continue,
                Some(holder) => {
                    holder.own = true;
                    true
                }
                None => {
                    let forsaken = state.holders.is_empty();
                    state.holders.push(Holder { job, own });
                    if forsaken {
                        self.forgive(node);
                    }
                    false
                }
            };
            if own {
                self.tell_past(job, node);
            }
            if held {
                continue;
            }
            self.wait_in_turn(job, node);
            let Some(of_job) = self.jobs.get_mut(&job) else { continue };
            of_job.held.push(node);
            let state = &mut self.graph[node];
            let known = state.sources.len();
            for source in &of_job.sources {
                if !state.sources.contains(source) {
                    state.sources.push(*source);
                    let former = state.rare.as_mut().map(|rare| &mut rare.former);
                    match former.and_then(|former| former.extract_if(.., |known| *known == *source).next()) {
                        Some(_) => {}
                        None => self.sources[source.0 as usize].users += 1,
                    }
                }
            }
            if self.graph[node].sources.len() > known {
                self.ask_again(node);
            }
            if known > 1 && self.graph[node].tickets > 0 {
                self.stop_waiting(node);
            }
            stack.extend(self.below(node).into_iter().map(|below| (below, false)));
        }
    }

    /// Asks sources no more that nobody who has a node brought, and lets go of those that it has nothing of.
    pub(super) fn leave_sources(&mut self, node: NodeIndex) {
        let Self { graph, jobs, .. } = self;
        let state = &mut graph[node];
        let holders = &state.holders;
        let brought = |source: &SourceIx| {
            let uses = |job| jobs.get(&job).is_some_and(|state| state.uses(*source));
            *source == LOCAL || holders.iter().any(|holder| uses(holder.job))
        };
        let (stay, leave): (Vec<_>, Vec<_>) = state.sources.iter().copied().partition(brought);
        if leave.is_empty() && state.rare.as_ref().is_none_or(|rare| rare.former.is_empty()) {
            return;
        }
        state.sources = stay.into();
        state.rare().former.extend(&leave);
        for edge in state.edges.clone() {
            let state = &mut self.edges[edge.at()];
            if state.candidates().iter().any(|candidate| leave.contains(&candidate.source)) {
                state.doing().candidates.retain(|candidate| !leave.contains(&candidate.source));
                state.tidy();
                self.touch(edge);
            }
        }
        self.free_sources(node);
    }

    /// Lets go of the sources of jobs that have gone, as far as a node has nothing of them and asks them nothing.
    fn free_sources(&mut self, node: NodeIndex) {
        let Self { graph, edges, .. } = self;
        let state = &mut graph[node];
        if state.tickets > 0 {
            return;
        }
        let Some(rare) = &mut state.rare else { return };
        let is_used = |source: &SourceIx| state.edges.iter().any(|edge| edges[edge.at()].is_told_by(*source));
        let (used, free): (Vec<_>, Vec<_>) = std::mem::take(&mut rare.former).into_iter().partition(is_used);
        rare.former = used;
        free.into_iter().for_each(|source| self.drop_source(source));
    }

    /// Forgets what a node failed with: nobody who was told is left.
    fn forgive(&mut self, node: NodeIndex) {
        if self.graph[node].error.take().is_some() {
            let times = self.graph[node].times();
            (times.started, times.ended) = (None, None);
        }
        for edge in self.graph[node].edges.clone() {
            if let Some(rare) = &mut self.edges[edge.at()].rare {
                rare.error = None;
            }
        }
    }

    /// Stops what a node does that nobody holds any more.
    pub(super) fn retire(&mut self, node: NodeIndex) {
        let subs =
            self.graph[node].rare.as_mut().map(|rare| std::mem::take(&mut rare.subs)).unwrap_or_default();
        for sub in subs {
            self.discard(sub);
        }
        for edge in self.graph[node].edges.clone() {
            self.relax(edge);
        }
        self.stop_unwanted(node);
    }

    /// Removes a node that nobody needs, and those below it that it was the last to need.
    pub(super) fn let_go(&mut self, node: NodeIndex) {
        let mut stack = vec![node];
        while let Some(node) = stack.pop() {
            let Some(state) = self.graph.node_weight(node) else { continue };
            if !state.holders.is_empty() || state.tickets > 0 || state.above > 0 {
                continue;
            }
            let below = self.below(node);
            for edge in state.edges.clone() {
                self.remove_edge(edge);
            }
            for below in &below {
                self.graph[*below].above -= 1;
            }
            stack.extend(below);
            let digest = self.graph[node].name.digest.clone();
            if let Ok(found) = self.by_digest.find_entry(self.hasher.hash_one(&digest), |at| *at == node) {
                found.remove();
            }
            if let Some(state) = self.graph.remove_node(node) {
                let former = state.rare.iter().flat_map(|rare| rare.former.iter());
                let sources = state.sources.iter().filter(|source| **source != LOCAL);
                sources.chain(former).for_each(|source| self.drop_source(*source));
            }
        }
    }

    fn remove_edge(&mut self, edge: EdgeId) {
        for input in 0..self.edges[edge.at()].deps.len() {
            self.want(edge, input, Level::None);
        }
        let Some(state) = self.edges.remove(edge.at()) else { return };
        for identity in state.identities {
            if self.identities.get(&identity) == Some(&edge) {
                self.identities.remove(&identity);
            }
        }
        // What it was merged into stays as long as it does.
        if let Some(into) = state.merged_into {
            let target = self.edges[into.at()].node;
            self.graph[target].rare().mirrors.remove(&state.node);
            let into = self.standing_for(into);
            self.edges[into.at()].rare().absorbed.remove(&edge);
        }
    }

    /// What a node needs as long as it is there: its inputs, and what its edges were merged into.
    pub(super) fn below(&self, node: NodeIndex) -> SmallVec<[NodeIndex; 4]> {
        let node = &self.graph[node];
        let merged = node.edges.iter().filter_map(|edge| self.edges[edge.at()].merged_into);
        node.inputs.iter().copied().chain(merged).map(|edge| self.edges[edge.at()].node).collect()
    }
}
