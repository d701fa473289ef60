//! What is told of nodes to the jobs that have them.

use std::collections::BTreeSet;
use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::error::Error;
use crate::ids::{JobId, VertexName};
use crate::machine::{Machine, SourceIx};
use crate::status::{Event, Journal, What};
use crate::value::Value;

type Listener = (Arc<VertexName>, Arc<Journal>);

impl<R: Value> Machine<R> {
    /// Who is told what happens to a node, under which name: its own jobs, and those of nodes that were merged into it.
    pub(super) fn listeners(&self, node: NodeIndex) -> SmallVec<[Listener; 2]> {
        let mut listeners = SmallVec::new();
        let mut stack: SmallVec<[NodeIndex; 2]> = SmallVec::from_slice(&[node]);
        // With several outputs a vertex may have been merged in several steps.
        let mut told = BTreeSet::new();
        while let Some(node) = stack.pop() {
            let Some(state) = self.graph.node_weight(node).filter(|_| !told.contains(&node)) else {
                continue;
            };
            let mirrors = state.rare.as_ref().map(|rare| &rare.mirrors);
            if !told.is_empty() || mirrors.is_some_and(|mirrors| !mirrors.is_empty()) {
                told.insert(node);
            }
            let journals = self.journals(node).into_iter();
            listeners.extend(journals.map(|journal| (Arc::clone(&state.name), journal)));
            stack.extend(mirrors.into_iter().flatten().copied());
        }
        listeners
    }

    /// Tells what happened to a node.
    pub(super) fn tell(&self, node: NodeIndex, what: &What) {
        for (name, journal) in self.listeners(node) {
            journal.push(Event { at: self.now, vertex: Some(name), what: what.clone() });
        }
    }

    pub(super) fn tell_warning(&self, node: NodeIndex, warning: String) {
        self.tell(node, &What::Warning(warning));
    }

    /// Tells all jobs that use a source.
    pub(super) fn warn_users(&self, source: SourceIx, warning: &str) {
        for (job, state) in &self.jobs {
            if state.uses(source) {
                for journal in self.journals_of(*job) {
                    journal.push(Event {
                        at: self.now,
                        vertex: None,
                        what: What::Warning(warning.to_owned()),
                    });
                }
            }
        }
    }

    /// The op of a node began to run.
    pub(super) fn began(&mut self, node: NodeIndex) {
        let now = self.now;
        self.graph[node].times().started = Some(now);
        self.graph[node].times().ended = None;
        self.graph[node].cached = false;
        self.tell(node, &What::Started);
    }

    /// The op of a node has ended, and what came of it is kept.
    pub(super) fn ended(&mut self, node: NodeIndex, error: Option<&Error>) {
        let now = self.now;
        self.graph[node].times().ended = Some(now);
        self.tell(node, &error.map_or(What::Completed, |error| What::Failed(error.clone())));
        self.hush(node);
    }

    /// The result of a node came from a cache, so that nothing below it is needed for it.
    pub(super) fn was_cached(&mut self, node: NodeIndex) {
        let mut stack = vec![node];
        while let Some(node) = stack.pop() {
            let state = &mut self.graph[node];
            let told =
                state.times.as_ref().is_some_and(|times| times.started.is_some() || times.ended.is_some());
            if told || std::mem::replace(&mut state.cached, true) {
                continue;
            }
            self.tell(node, &What::Cached);
            self.hush(node);
            // What was merged into it is told with it; what that would have needed is not.
            let state = &self.graph[node];
            let mirrors = state
                .rare
                .iter()
                .flat_map(|rare| rare.mirrors.iter())
                .filter_map(|at| self.graph.node_weight(*at));
            for state in std::iter::once(state).chain(mirrors) {
                stack.extend(state.inputs.iter().map(|edge| self.edges[edge.at()].node));
            }
        }
    }

    /// Lets go of the feed of a node that nobody has to tell by; it is made again if somebody does.
    pub(super) fn hush(&mut self, node: NodeIndex) {
        let state = &mut self.graph[node];
        if state.feed.as_ref().is_some_and(|feed| Arc::strong_count(feed) == 1 && feed.is_silent()) {
            state.feed = None;
        }
    }

    /// The op of a node returned, and nothing came of it: it was told to stop, or an input was gone.
    pub(super) fn stopped(&mut self, node: NodeIndex) {
        let Some(times) = self.graph[node].times.as_deref_mut().filter(|times| times.is_running()) else {
            return;
        };
        times.started = None;
        self.tell(node, &What::Stopped);
        self.hush(node);
    }

    /// An output of a node is being prepared for somebody.
    pub(super) fn preparing(&mut self, node: NodeIndex) {
        let now = self.now;
        if self.graph[node].times().prepares(now) {
            self.tell(node, &What::Preparing);
        }
    }

    /// An output of a node is not being prepared for somebody any more.
    pub(super) fn prepared(&mut self, node: NodeIndex) {
        let now = self.now;
        if self.graph[node].times().prepared(now) {
            self.tell(node, &What::Prepared);
        }
    }

    /// Tells a job that comes later what has happened to a node, and to what its edges were merged into.
    pub(super) fn tell_past(&self, job: JobId, node: NodeIndex) {
        let name = &self.graph[node].name;
        let mut told: SmallVec<[NodeIndex; 2]> = SmallVec::from_slice(&[node]);
        let mut at = 0;
        while let Some(of) = told.get(at).copied() {
            self.journals_of(job).iter().for_each(|journal| self.retell(of, name, journal));
            let merged = self.graph[of].edges.iter().filter_map(|edge| self.edges[edge.at()].merged_into);
            for into in merged.map(|into| self.edges[into.at()].node) {
                if !told.contains(&into) {
                    told.push(into);
                }
            }
            at += 1;
        }
    }

    /// Tells what has happened to a node, under a name of its own or of what was merged into it.
    fn retell(&self, node: NodeIndex, name: &Arc<VertexName>, journal: &Arc<Journal>) {
        let state = &self.graph[node];
        let times = state.times.as_deref().cloned().unwrap_or_default();
        let tell = |at, what| {
            journal.push(Event { at, vertex: Some(Arc::clone(name)), what });
        };
        if let Some(started) = times.started {
            tell(started, What::Started);
        } else if state.cached {
            tell(self.now, What::Cached);
        }
        if let Some(since) = times.preparing_since() {
            tell(since, What::Preparing);
        }
        if let Some(feed) = &state.feed {
            feed.attach(name, journal);
        }
        if let Some(ended) = times.ended {
            let failed = self.failure(node).map(|error| What::Failed(error.clone()));
            tell(ended, failed.unwrap_or(What::Completed));
        }
    }

    /// What a node itself failed with.
    pub(super) fn failure(&self, node: NodeIndex) -> Option<&Error> {
        let state = &self.graph[node];
        let of_edge = || {
            let edges = state.edges.iter().map(|edge| &self.edges[edge.at()]);
            // What an input failed with is told there.
            let own =
                edges.filter(|edge| edge.deps.iter().all(|dep| self.edges[dep.edge.at()].error().is_none()));
            own.filter_map(|edge| edge.error()).map(|(_, error)| error).next()
        };
        state.error.as_deref().map(|(_, error)| error).or_else(of_edge)
    }

    /// Tells those who have one node what happens to another, of which an edge stands for one of its own.
    pub(super) fn mirror(&mut self, node: NodeIndex, target: NodeIndex) {
        if !self.graph[target].rare().mirrors.insert(node) {
            return;
        }
        for (name, journal) in self.listeners(node) {
            self.retell(target, &name, &journal);
        }
    }
}
