//! Graphs on their way in: vertices that are active already are shared, others get a node.

use std::sync::Arc;

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use oci_spec::image::Digest;
use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ids::{JobId, VertexName};
use crate::machine::edge::{EdgeId, EdgeState};
use crate::machine::node::{Holder, Node, Progress};
use crate::machine::requests::{Answer, RequestId};
use crate::machine::{LOCAL, Machine, Step};
use crate::value::Value;
use crate::vertex::Vertex;

/// How many vertices are loaded in one step.
pub(super) const AT_ONCE: usize = 32;

/// A graph on its way in.
pub(super) struct Loading<R: Value> {
    vertices: Box<dyn Iterator<Item = (Vertex<R>, Arc<str>)> + Send>,
    pub(super) request: RequestId,
}

impl<R: Value> Machine<R> {
    /// Takes a graph in, a part at a time, in turn with what else there is to do.
    pub(crate) fn load(&mut self, job: JobId, graph: Graph<R>, request: RequestId) {
        let Some(state) = self.jobs.get_mut(&job) else {
            self.answer(request, Err(Error::UnknownJob { job }));
            return;
        };
        state.loading.push_back(Loading { vertices: Box::new(graph.into_vertices()), request });
        if state.loading.len() == 1 {
            self.dirty.push(job, Step::Load(job));
        }
    }

    /// Takes in the next part of what a job is loading.
    pub(super) fn load_some(&mut self, job: JobId) {
        let Some(loading) = self.jobs.get_mut(&job).and_then(|state| state.loading.pop_front()) else {
            return;
        };
        let Loading { mut vertices, request } = loading;
        let loaded = vertices.by_ref().take(AT_ONCE).try_fold(0, |loaded, vertex| {
            self.add(job, vertex)?;
            Ok(loaded + 1)
        });
        let answer = match loaded {
            Ok(AT_ONCE) => None,
            Ok(_) => Some(Ok(Answer::Loaded)),
            Err(error) => Some(Err(error)),
        };
        let Some(state) = self.jobs.get_mut(&job) else { return };
        match answer {
            None => state.loading.push_front(Loading { vertices, request }),
            Some(answer) => self.answer(request, answer),
        }
        if self.jobs.get(&job).is_some_and(|state| !state.loading.is_empty()) {
            self.dirty.push(job, Step::Load(job));
        }
    }

    /// Adds a vertex, whose inputs were added before, to a job.
    pub(super) fn add(&mut self, job: JobId, (vertex, kind): (Vertex<R>, Arc<str>)) -> Result<()> {
        let digest = &vertex.name.digest;
        let ignoring = self.find(digest, true);
        let known = if vertex.options.ignore_cache {
            ignoring
        } else {
            ignoring.or_else(|| self.find(digest, false))
        };
        if let Some(known) = known {
            self.refuse_parents(job, known)?;
            self.hold(job, known, true);
            return Ok(());
        }
        let mut inputs = Vec::with_capacity(vertex.inputs.len());
        for (input, edge) in vertex.inputs.iter().enumerate() {
            let Some(node) = self.held_by(job, &edge.vertex) else {
                let (vertex, missing) = ((*vertex.name).clone(), edge.clone());
                return Err(Error::MissingInput { vertex, input, missing });
            };
            inputs.push(self.edge(node, edge.output));
        }
        let node = self.insert(vertex, kind, inputs.into());
        self.hold(job, node, true);
        Ok(())
    }

    /// Adds a node for a vertex that is not active.
    fn insert(&mut self, vertex: Vertex<R>, kind: Arc<str>, inputs: Box<[EdgeId]>) -> NodeIndex {
        let below = |machine: &Self, edge: EdgeId| machine.graph[machine.edges[edge.at()].node].rank;
        let rank = inputs.iter().map(|edge| below(self, *edge) + 1).max().unwrap_or(0);
        let serial = self.serial();
        let node = Node {
            name: vertex.name,
            op: vertex.op,
            kind,
            options: vertex.options,
            serial,
            inputs,
            edges: SmallVec::new(),
            rank,
            above: 0,
            holders: SmallVec::new(),
            sources: SmallVec::from_slice(&[LOCAL]),
            maps: SmallVec::new(),
            more: true,
            mapping: Progress::Idle,
            prepared: Box::default(),
            exec: Progress::Idle,
            error: None,
            placed: false,
            tickets: 0,
            cached: false,
            times: None,
            feed: None,
            rare: None,
        };
        let node = self.graph.add_node(node);
        for input in 0..self.graph[node].inputs.len() {
            let edge = self.graph[node].inputs[input];
            let below = self.edges[edge.at()].node;
            self.graph[below].above += 1;
        }
        let (digest, ignores) = (self.graph[node].name.digest.clone(), self.graph[node].options.ignore_cache);
        let Self { graph, by_digest, hasher, .. } = self;
        let same =
            |at: &NodeIndex| graph[*at].name.digest == digest && graph[*at].options.ignore_cache == ignores;
        if let Entry::Vacant(vacant) =
            by_digest.entry(hasher.hash_one(&digest), same, |at| hasher.hash_one(&graph[*at].name.digest))
        {
            vacant.insert(node);
        }
        node
    }

    /// The active node of a digest.
    fn find(&self, digest: &Digest, ignores: bool) -> Option<NodeIndex> {
        let same = |at: &NodeIndex| {
            let node = &self.graph[*at];
            node.options.ignore_cache == ignores && node.name.digest == *digest
        };
        self.by_digest.find(self.hasher.hash_one(digest), same).copied()
    }

    /// The node of this digest that a job has in one of its graphs.
    pub(super) fn held_by(&self, job: JobId, digest: &Digest) -> Option<NodeIndex> {
        let own = |node: &NodeIndex| self.graph[*node].holders.contains(&Holder { job, own: true });
        [true, false].into_iter().filter_map(|ignores| self.find(digest, ignores)).find(own)
    }

    /// The edge of a node, made if nobody asked for it before.
    pub(super) fn edge(&mut self, node: NodeIndex, output: u32) -> EdgeId {
        let known =
            self.graph[node].edges.iter().copied().find(|edge| self.edges[edge.at()].output == output);
        if let Some(edge) = known {
            return edge;
        }
        let edge = EdgeId(u32::try_from(self.edges.insert(EdgeState::of(node, output))).unwrap_or(u32::MAX));
        self.graph[node].edges.push(edge);
        edge
    }

    /// A build within a build must not need what waits for it: neither the node that it is within, nor those that builds
    /// are within which have that one.
    fn refuse_parents(&self, job: JobId, node: NodeIndex) -> Result<()> {
        let Some(parent) = self.jobs.get(&job).and_then(|state| state.parent) else { return Ok(()) };
        // Every node that waits, with the one it waits for on the way to the parent.
        let mut waiting = vec![(parent, None)];
        let mut at = 0;
        while let Some((waits, _)) = waiting.get(at).copied() {
            for holder in &self.graph[waits].holders {
                let above = self.jobs.get(&holder.job).and_then(|state| state.parent);
                if let Some(above) = above.filter(|above| waiting.iter().all(|(known, _)| known != above)) {
                    waiting.push((above, Some(at)));
                }
            }
            at += 1;
        }
        // What the job has was looked at before.
        let is_new = |node: &NodeIndex| !self.graph[*node].holders.iter().any(|holder| holder.job == job);
        let mut seen = std::collections::HashSet::new();
        let mut stack: Vec<_> = Some(node).into_iter().filter(is_new).collect();
        while let Some(needed) = stack.pop() {
            if let Some(found) = waiting.iter().position(|(waits, _)| *waits == needed) {
                let steps = std::iter::successors(Some(found), |at| waiting[*at].1);
                let path = steps.map(|at| waiting[at].0).chain([needed]);
                let path = path.map(|at| VertexName::clone(&self.graph[at].name)).collect();
                return Err(Error::Cycle { path });
            }
            stack.extend(self.below(needed).into_iter().filter(is_new).filter(|below| seen.insert(*below)));
        }
        Ok(())
    }
}
