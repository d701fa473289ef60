//! Who holds what, and for how long.
//!
//! A job holds the nodes of its graphs, the nodes that edges of those were merged into, and everything below. A node goes
//! when nobody holds it, nothing above it is left and no ticket is out for it.

use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::explain::Why;
use crate::graph::Graph;
use crate::ids::{JobId, SessionId, VertexName};
use crate::machine::edge::{EdgeId, EdgeState, Level};
use crate::machine::node::{Holder, Node, Progress};
use crate::machine::requests::{Answer, RequestId};
use crate::machine::{LOCAL, Machine, SourceIx, SourceState, Step};
use crate::ops::Site;
use crate::status::{Event, Journal, What};
use crate::store::CacheSource;
use crate::value::Value;
use crate::vertex::Vertex;
use oci_spec::image::Digest;

/// How many vertices are loaded in one step.
pub(super) const AT_ONCE: usize = 32;

/// A job, or a build within a build.
pub(super) struct JobState<R: Value> {
    session: Option<SessionId>,
    sources: SmallVec<[SourceIx; 2]>,
    pub(super) explain: bool,
    /// Where it tells what happens; a build within a build tells the jobs it is built for.
    journal: Option<Arc<Journal>>,
    /// The node that it is built within.
    pub(super) parent: Option<NodeIndex>,
    held: Vec<NodeIndex>,
    pub(super) requests: BTreeSet<RequestId>,
    loading: VecDeque<Loading<R>>,
    pub(super) whys: Vec<Why>,
}

impl<R: Value> JobState<R> {
    /// Where it looks besides the solver's own cache.
    pub(super) fn sources(&self) -> &[SourceIx] {
        &self.sources
    }

    pub(super) fn uses(&self, source: SourceIx) -> bool {
        self.sources.contains(&source)
    }
}

/// A graph on its way in.
struct Loading<R: Value> {
    vertices: Box<dyn Iterator<Item = Vertex<R>> + Send>,
    request: RequestId,
}

impl<R: Value> Machine<R> {
    /// Opens a job.
    pub(crate) fn open(
        &mut self,
        session: Option<SessionId>,
        sources: Vec<Arc<dyn CacheSource<R>>>,
        explain: bool,
        journal: Arc<Journal>,
    ) -> JobId {
        let sources: SmallVec<[SourceIx; 2]> =
            sources.into_iter().map(|source| self.source(source)).collect();
        for warning in sources.iter().filter_map(|source| self.sources[source.0 as usize].dead.as_deref()) {
            journal.push(Event { at: self.now, vertex: None, what: What::Warning(warning.to_owned()) });
        }
        self.open_as(session, sources, explain, Some(journal), None)
    }

    /// Opens a job for a build within a node.
    pub(super) fn open_within(&mut self, parent: NodeIndex) -> JobId {
        let sources: SmallVec<[SourceIx; 2]> =
            self.graph[parent].sources.iter().copied().filter(|source| *source != LOCAL).collect();
        sources.iter().for_each(|source| self.sources[source.0 as usize].users += 1);
        let explain = self.explains(parent);
        let job = self.open_as(None, sources, explain, None, Some(parent));
        self.graph[parent].rare().subs.push(job);
        job
    }

    fn open_as(
        &mut self,
        session: Option<SessionId>,
        sources: SmallVec<[SourceIx; 2]>,
        explain: bool,
        journal: Option<Arc<Journal>>,
        parent: Option<NodeIndex>,
    ) -> JobId {
        self.next_job += 1;
        let job = JobId(self.next_job);
        let (held, requests, loading, whys) = (Vec::new(), BTreeSet::new(), VecDeque::new(), Vec::new());
        let state = JobState { session, sources, explain, journal, parent, held, requests, loading, whys };
        self.jobs.insert(job, state);
        job
    }

    /// The place of a source; the same one has one place, whoever brings it.
    fn source(&mut self, source: Arc<dyn CacheSource<R>>) -> SourceIx {
        let known = self.sources.iter_mut().find(|(_, known)| Arc::ptr_eq(&known.source, &source));
        let at = match known {
            Some((at, known)) => {
                known.users += 1;
                at
            }
            None => self.sources.insert(SourceState { source, users: 1, dead: None }),
        };
        SourceIx(u32::try_from(at).unwrap_or(u32::MAX))
    }

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
    pub(super) fn add(&mut self, job: JobId, vertex: Vertex<R>) -> Result<()> {
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
        let node = self.insert(vertex, inputs.into());
        self.hold(job, node, true);
        Ok(())
    }

    /// Adds a node for a vertex that is not active.
    fn insert(&mut self, vertex: Vertex<R>, inputs: Box<[EdgeId]>) -> NodeIndex {
        let below = |machine: &Self, edge: EdgeId| machine.graph[machine.edges[edge.at()].node].rank;
        let rank = inputs.iter().map(|edge| below(self, *edge) + 1).max().unwrap_or(0);
        let serial = self.serial();
        let node = Node {
            name: vertex.name,
            op: vertex.op,
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
                    self.sources[source.0 as usize].users += 1;
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

    /// Ends a job: what it asked for is answered, what it alone held goes.
    pub(crate) fn discard(&mut self, job: JobId) {
        let Some(state) = self.jobs.remove(&job) else { return };
        for request in state.requests {
            self.withdraw(request, Some(Error::Cancelled { job }));
        }
        for loading in state.loading {
            self.answer(loading.request, Err(Error::Cancelled { job }));
        }
        if let Some(parent) = state.parent {
            let subs = &mut self.graph[parent].rare().subs;
            subs.retain(|sub| *sub != job);
        }
        // The newest first: what is above goes before what is below.
        for node in state.held.iter().rev().copied() {
            self.graph[node].holders.retain(|holder| holder.job != job);
            if let (Some(feed), Some(journal)) = (&self.graph[node].feed, &state.journal) {
                feed.detach(journal);
            }
        }
        for node in state.held.iter().rev().copied() {
            if self.graph.node_weight(node).is_some_and(|node| node.holders.is_empty()) {
                self.retire(node);
            }
        }
        for node in state.held.iter().rev().copied() {
            self.let_go(node);
        }
        for source in state.sources {
            self.drop_source(source);
        }
        if let Some(journal) = state.journal {
            journal.end();
        }
    }

    fn drop_source(&mut self, source: SourceIx) {
        let at = source.0 as usize;
        if let Some(state) = self.sources.get_mut(at) {
            state.users -= 1;
            if state.users == 0 {
                self.sources.remove(at);
            }
        }
    }

    /// Stops what a node does that nobody holds any more.
    fn retire(&mut self, node: NodeIndex) {
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
                state
                    .sources
                    .iter()
                    .filter(|source| **source != LOCAL)
                    .for_each(|source| self.drop_source(*source));
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
                    None => stack.extend(job.parent),
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

    /// What a job holds, in the order it came to it.
    pub(super) fn held(&self, job: JobId) -> &[NodeIndex] {
        self.jobs.get(&job).map_or(&[], |state| state.held.as_slice())
    }

    /// The journal of a job.
    pub(crate) fn journal(&self, job: JobId) -> Result<Arc<Journal>> {
        let journal = self.jobs.get(&job).and_then(|state| state.journal.as_ref());
        journal.cloned().ok_or(Error::UnknownJob { job })
    }

    /// All jobs, oldest first.
    pub(crate) fn open_jobs(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }
}
