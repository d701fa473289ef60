//! What was asked from outside, and the answers.

use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ids::{Edge, JobId, VertexName};
use crate::machine::Machine;
use crate::machine::action::{Action, Place};
use crate::machine::edge::{EdgeId, Level, Origin};
use crate::machine::node::Progress;
use crate::ops::Site;
use crate::value::Value;

/// A question. Never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestId(pub(crate) u64);

/// A question after a result that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) edge: EdgeId,
    pub(super) job: JobId,
}

/// What was asked for.
pub(crate) enum Answer<R: Value> {
    /// A graph is loaded.
    Loaded,
    /// An edge has a result.
    Built {
        result: R,
        /// The job that asked: for a build within a build, that of its own.
        job: JobId,
        /// The vertex that has it, which may be one that the asked one was merged into.
        vertex: Arc<VertexName>,
        cached: bool,
        generation: u32,
        /// Where its ancestors are found.
        place: Place,
    },
}

impl<R: Value> Machine<R> {
    /// Asks for the result of an edge of a job.
    pub(crate) fn build(&mut self, job: JobId, edge: &Edge, request: RequestId) {
        if !self.knows(job) {
            return self.answer(request, Err(Error::UnknownJob { job }));
        }
        let Some(node) = self.held_by(job, &edge.vertex) else {
            let reason = format!("not loaded by {job}");
            return self.answer(request, Err(Error::Invalid { vertex: edge.to_string(), reason }));
        };
        let edge = self.edge(node, edge.output);
        let edge = self.standing_for(edge);
        self.requests.insert(request, Request { edge, job });
        if let Some(job) = self.jobs.get_mut(&job) {
            job.requests.insert(request);
        }
        let state = &mut self.edges[edge.at()];
        state.doing().requests.insert(request);
        state.want(Level::Complete, 1);
        self.touch(edge);
    }

    /// Builds an edge of a graph as part of a vertex.
    pub(crate) fn build_within(&mut self, site: Site, graph: Graph<R>, edge: &Edge, request: RequestId) {
        if !self.is_there(site) {
            return self.answer(request, Err(Error::Closed));
        }
        let job = self.open_within(site.node);
        // Where nobody wants the vertex any more, nobody would end what is built within it.
        let added = if self.builds(site.node) {
            graph.into_vertices().try_for_each(|vertex| self.add(job, vertex))
        } else {
            Err(Error::Cancelled { job })
        };
        match added {
            Ok(()) => {
                self.build(job, edge, request);
                // What is refused is answered at once, and nobody waits.
                if self.requests.contains_key(&request) {
                    self.give_place(site.node);
                    // It waits again, so that what it was to be told with a place it may be told without one.
                    self.built_within(site.node).into_iter().for_each(|edge| self.touch(edge));
                }
            }
            Err(error) => {
                self.discard(job);
                self.answer(request, Err(error));
            }
        }
    }

    /// Whether a node may build something within itself: its op works, and is wanted.
    pub(super) fn builds(&self, node: NodeIndex) -> bool {
        let state = &self.graph[node];
        let works = matches!(state.exec, Progress::Running(_, false))
            || matches!(state.mapping, Progress::Running(_, false));
        works && !state.holders.is_empty()
    }

    /// The edges that are asked for within a node, and whether each has come to an end.
    fn asked_within(&self, node: NodeIndex) -> impl Iterator<Item = (EdgeId, bool)> {
        let subs = self.graph[node].rare.iter().flat_map(|rare| &rare.subs);
        let requests = subs.filter_map(|job| self.jobs.get(job)).flat_map(|job| &job.requests);
        requests.filter_map(|request| self.requests.get(request)).map(|request| {
            let edge = &self.edges[request.edge.at()];
            (request.edge, edge.finished.is_some() || edge.error().is_some())
        })
    }

    /// Whether a node waits for something that is still being built within it.
    pub(super) fn is_kept_within(&self, node: NodeIndex) -> bool {
        self.asked_within(node).any(|(_, ended)| !ended)
    }

    /// The edges that were built within a node, and that it was not told of yet.
    pub(super) fn built_within(&self, node: NodeIndex) -> Vec<EdgeId> {
        self.asked_within(node).filter(|(_, ended)| *ended).map(|(edge, _)| edge).collect()
    }

    /// Whether who asked may be told now: an op that built something within its vertex needs a place to go on.
    fn may_be_told(&mut self, request: RequestId) -> bool {
        let job = self.requests.get(&request).and_then(|request| self.jobs.get(&request.job));
        job.and_then(|job| job.parent).is_none_or(|parent| self.resume(parent))
    }

    /// Nobody wants what is built within a node, since nobody wants the node.
    pub(super) fn cancel_within(&mut self, node: NodeIndex) {
        let subs = self.graph[node].rare.as_ref().map(|rare| rare.subs.clone()).unwrap_or_default();
        for job in subs {
            let open = self.jobs.get(&job).map(|state| state.requests.clone()).unwrap_or_default();
            for request in open {
                self.withdraw(request, Some(Error::Cancelled { job }));
            }
        }
    }

    pub(super) fn knows(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    pub(super) fn answer(&mut self, request: RequestId, answer: Result<Answer<R>>) {
        self.actions.push(Action::Answer { request, answer });
    }

    /// Answers all who asked for an edge, if it has come to an end.
    pub(super) fn answer_requests(&mut self, edge: EdgeId) {
        if self.edges[edge.at()].requests().next().is_none() {
            return;
        }
        let state = &self.edges[edge.at()];
        if state.finished.is_none() && state.error().is_none() {
            return;
        }
        let asked: Vec<_> = state.requests().collect();
        let told: Vec<_> = asked.into_iter().filter(|request| self.may_be_told(*request)).collect();
        if told.is_empty() {
            return;
        }
        let place = self.place(self.edges[edge.at()].node);
        let state = &self.edges[edge.at()];
        let answer = match (&state.finished, state.error()) {
            (Some(finished), _) => Ok(finished),
            (None, Some((_, error))) => Err(error.clone()),
            (None, None) => return,
        };
        let node = &self.graph[state.node];
        let answers: Vec<_> = told
            .iter()
            .filter_map(|request| self.requests.get(request))
            .map(|request| {
                answer.as_ref().map_err(Error::clone).map(|finished| Answer::Built {
                    result: finished.result.clone(),
                    job: request.job,
                    vertex: Arc::clone(&node.name),
                    cached: !matches!(finished.origin, Origin::Executed),
                    generation: state.generation,
                    place: place.clone(),
                })
            })
            .collect();
        for (request, answer) in told.into_iter().zip(answers) {
            self.close(request);
            let state = &mut self.edges[edge.at()];
            state.doing().requests.remove(&request);
            state.tidy();
            state.want(Level::Complete, -1);
            self.answer(request, answer);
        }
        self.touch(edge);
    }

    /// Forgets a request that was answered.
    fn close(&mut self, request: RequestId) {
        if let Some(Request { job, .. }) = self.requests.remove(&request)
            && let Some(job) = self.jobs.get_mut(&job)
        {
            job.requests.remove(&request);
        }
    }

    /// Nobody waits for this answer any more; an error is told if there is one to tell.
    pub(crate) fn withdraw(&mut self, request: RequestId, error: Option<Error>) {
        let Some(Request { edge, .. }) = self.requests.get(&request).copied() else { return };
        self.close(request);
        let state = &mut self.edges[edge.at()];
        state.doing().requests.remove(&request);
        state.tidy();
        state.want(Level::Complete, -1);
        self.touch(edge);
        if let Some(error) = error {
            self.answer(request, Err(error));
        }
    }

    /// Answers everything that nothing is done about, if nothing is done at all: a bug, but nobody is to hang on it.
    pub(crate) fn stalled(&mut self) {
        if !self.tickets.is_empty() || !self.dirty.is_empty() || self.requests.is_empty() {
            return;
        }
        let name = |machine: &Self, edge: EdgeId| {
            let state = &machine.edges[edge.at()];
            let (name, phase) = (&machine.graph[state.node].name, state.phase);
            format!(
                "{name}[{}]: wanted {:?}, known {:?}, {phase:?}",
                state.output,
                state.wanted(),
                state.level
            )
        };
        let waiting =
            self.edges.iter().filter(|(_, state)| state.wanted() > Level::None && state.finished.is_none());
        let waiting =
            waiting.filter_map(|(at, _)| u32::try_from(at).ok()).map(|at| name(self, EdgeId(at))).collect();
        let error = Error::Stalled { waiting };
        let open: Vec<_> = self.requests.keys().copied().collect();
        for request in open {
            self.withdraw(request, Some(error.clone()));
        }
    }
}
