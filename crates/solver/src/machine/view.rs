//! What there is of a job, to be looked at.

use std::collections::HashMap;
use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;

use crate::error::{Error, Result};
use crate::graph::{GraphView, Known, OutputView, Port, VertexState, VertexView};
use crate::ids::JobId;
use crate::machine::Machine;
use crate::machine::edge::{EdgeId, EdgeState, Level, Origin};
use crate::machine::node::{Holder, Progress};
use crate::machine::tickets::Task;
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// All vertices that a job has, as they are now: those of its graphs in the order they came, then what stands for them
    /// and what is built within them.
    pub(crate) fn view(&self, job: JobId) -> Result<GraphView> {
        if !self.knows(job) {
            return Err(Error::UnknownJob { job });
        }
        let mut found = Vec::new();
        let mut places = HashMap::new();
        let mut take = |node, within| {
            places.entry(node).or_insert_with(|| {
                found.push((node, within));
                found.len() - 1
            });
        };
        let own =
            |job| move |node: &NodeIndex| self.graph[*node].holders.contains(&Holder { job, own: true });
        self.held(job).iter().copied().filter(own(job)).for_each(|node| take(node, None));
        // A build within a vertex has vertices with builds within them.
        let mut jobs = vec![job];
        while let Some(job) = jobs.pop() {
            let held = self.held(job);
            let within = self.jobs.get(&job).and_then(|state| state.parent);
            held.iter().copied().filter(own(job)).for_each(|node| take(node, within));
            held.iter().copied().for_each(|node| take(node, None));
            let rare = held.iter().filter_map(|node| self.graph[*node].rare.as_ref());
            jobs.extend(rare.flat_map(|rare| rare.subs.iter().copied()));
        }
        let port = |edge: EdgeId| {
            let state = &self.edges[edge.at()];
            Some(Port { vertex: *places.get(&state.node)?, output: state.output })
        };
        let vertices = found.iter().map(|(node, within)| {
            let mut vertex = self.vertex_view(*node);
            vertex.inputs = self.graph[*node].inputs.iter().filter_map(|edge| port(*edge)).collect();
            vertex.within = within.and_then(|within| places.get(&within).copied());
            let edges = self.graph[*node].edges.iter();
            vertex.outputs = edges.map(|edge| self.output_view(*edge, port)).collect();
            vertex.outputs.sort_by_key(|output| output.output);
            vertex
        });
        Ok(GraphView { vertices: vertices.collect() })
    }

    fn vertex_view(&self, node: NodeIndex) -> VertexView {
        let state = &self.graph[node];
        let times = state.times.as_deref().cloned().unwrap_or_default();
        let mut vertex =
            VertexView::new(Arc::clone(&state.name), state.op.kind(), state.options.ignore_cache);
        vertex.state = self.state_of(node);
        vertex.lost = state.edges.iter().map(|edge| self.edges[edge.at()].generation).sum();
        (vertex.started, vertex.ended) = (times.started, times.ended);
        vertex.preparing = times.preparing(self.now);
        vertex.error = self.failure(node).map(ToString::to_string);
        vertex
    }

    fn output_view(&self, edge: EdgeId, port: impl Fn(EdgeId) -> Option<Port>) -> OutputView {
        let state = &self.edges[edge.at()];
        let known = match state.level {
            Level::None => Known::Nothing,
            Level::Fast => Known::Definition,
            Level::Slow => Known::Content,
            Level::Complete => Known::Result,
        };
        let merged = state.merged_into.and_then(|into| port(self.standing_for(into)));
        OutputView { output: state.output, known, keys: state.names().collect(), merged }
    }

    /// What a node is doing, or what became of it.
    fn state_of(&self, node: NodeIndex) -> VertexState {
        let state = &self.graph[node];
        let edges = || state.edges.iter().map(|edge| &self.edges[edge.at()]);
        let doing = |task: fn(&Task) -> bool| {
            edges()
                .filter_map(EdgeState::busy)
                .any(|ticket| self.tickets.get(&ticket).is_some_and(|ticket| task(&ticket.task)))
        };
        let executed = |edge: &EdgeState<R>| {
            edge.finished.as_ref().map(|finished| matches!(finished.origin, Origin::Executed))
        };
        if self.failure(node).is_some() {
            VertexState::Failed
        } else if edges().next().is_some() && edges().all(|edge| edge.merged_into.is_some()) {
            VertexState::Merged
        } else if matches!(state.exec, Progress::Running(..)) {
            VertexState::Running
        } else if state.times.as_ref().is_some_and(|times| times.preparing_since().is_some()) {
            VertexState::Preparing
        } else if doing(|task| matches!(task, Task::Save { .. })) {
            VertexState::Saving
        } else if doing(|task| matches!(task, Task::Load { .. })) {
            VertexState::Loading
        } else if matches!(state.exec, Progress::Queued) {
            VertexState::Queued
        } else if matches!(state.mapping, Progress::Running(..) | Progress::Queued) {
            VertexState::Mapping
        } else if edges().any(|edge| executed(edge) == Some(true)) {
            VertexState::Completed
        } else if state.cached || edges().any(|edge| executed(edge) == Some(false)) {
            VertexState::Cached
        } else if edges().any(|edge| edge.generation > 0) {
            VertexState::Lost
        } else if edges().any(|edge| edge.error().is_some()) {
            VertexState::Blocked
        } else {
            VertexState::Waiting
        }
    }
}
