//! Edges that are the same: vertices of different digests whose ops and inputs have the same keys.
//!
//! Edges are the same if they have the same op key and each input is the same edge, or has the same content; if they are
//! without inputs and share a key; or if they have the same op key and a cache gives them the same key. One of them stands for the others. Inputs are
//! merged before those that have them, so one look-up finds what is the same: merging is linear.
//!
//! The guard against cycles is a rank, greater than that of everything below: an edge is merged only into one that has no
//! greater rank, which cannot be above it. Of equal rank are only other merged vertices, each of them a step away: an edge
//! is merged into none whose vertex has an output that was merged into its own, or they would keep each other for ever.

use petgraph::stable_graph::NodeIndex;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use crate::key::KeyId;
use crate::machine::edge::{EdgeId, Key, Level, Phase};
use crate::machine::node::{Progress, Use};
use crate::machine::{ANY, Machine};
use crate::value::Value;

/// From how many inputs on an edge waits for all of them to merge.
pub(super) const MANY: usize = 64;

/// What two edges have in common if they are the same.
pub(super) type Identity = [u8; 16];

impl<R: Value> Machine<R> {
    /// Gives an edge without inputs an identity.
    pub(super) fn identify(&mut self, edge: EdgeId, key: KeyId) {
        self.propose(edge, identity(b"root", [key.as_bytes().as_slice()]));
    }

    /// Gives an edge the identity that a cache gives it. Other ops are not the same, though a cache may say so.
    pub(super) fn identify_stored(&mut self, edge: EdgeId, key: Key) {
        let Some(op) = self.op_key(edge) else { return };
        let source = key.source.0.to_le_bytes();
        let parts = [source.as_slice(), key.id.as_bytes(), op.as_bytes()];
        self.propose(edge, identity(b"stored", parts));
    }

    /// Looks for an edge that is the same by its op and inputs, if something of those is new. True if the edge was merged
    /// away. One with many inputs that was looked for before waits until the fast keys of all are known: they have merged by
    /// then as a rule, one by one, and looking at all of them whenever one does would be quadratic.
    pub(super) fn try_merge(&mut self, edge: EdgeId) -> bool {
        let state = &mut self.edges[edge.at()];
        let early = state.deps.len() > MANY
            && matches!(state.phase, Phase::Idle | Phase::Fast)
            && (state.sums.fast as usize) < state.deps.len()
            && !state.identities.is_empty();
        if !early
            && std::mem::take(&mut state.unsigned)
            && let Some(op) = self.op_key(edge)
        {
            for by_content in [false, true] {
                if let Some(identity) = self.signature(edge, op, by_content) {
                    self.propose(edge, identity);
                }
            }
        }
        self.edges[edge.at()].merged_into.is_some()
    }

    /// What an edge is by its op and inputs: the edges that these are or, where it is known, their content. `None` if
    /// no content is known where it is asked for.
    fn signature(&self, edge: EdgeId, op: KeyId, by_content: bool) -> Option<Identity> {
        let state = &self.edges[edge.at()];
        let node = &self.graph[state.node];
        let mut hasher = Sha256::new();
        hasher.update(op.as_bytes());
        let mut contents = false;
        for (input, dep) in state.deps.iter().enumerate() {
            match node.content(input).filter(|_| by_content) {
                Some(content) => {
                    contents = true;
                    hasher.update(b"c");
                    hasher.update(content.as_bytes());
                }
                None => {
                    hasher.update(b"e");
                    hasher.update(self.serial_of(dep.edge));
                    if let Some(selector) = node.usage(input).and_then(Use::selector) {
                        hasher.update(selector.0.as_ref().as_bytes());
                    }
                    hasher.update(b"\0");
                }
            }
        }
        (contents == by_content).then(|| truncated(hasher))
    }

    /// What names an edge as long as the machine lives.
    fn serial_of(&self, edge: EdgeId) -> [u8; 12] {
        let state = &self.edges[edge.at()];
        let mut name = [0; 12];
        name[..8].copy_from_slice(&self.graph[state.node].serial.to_le_bytes());
        name[8..].copy_from_slice(&state.output.to_le_bytes());
        name
    }

    /// Merges an edge with the one that has this identity, or lets it stand for it.
    fn propose(&mut self, edge: EdgeId, identity: Identity) {
        let edge = self.standing_for(edge);
        let known = *self.identities.entry(identity).or_insert(edge);
        if known == edge {
            let state = &mut self.edges[edge.at()];
            if !state.identities.contains(&identity) {
                state.identities.push(identity);
            }
            return;
        }
        if self.may_merge(edge, known) {
            self.merge(edge, known);
        } else if self.may_merge(known, edge) {
            self.identities.insert(identity, edge);
            self.edges[edge.at()].identities.push(identity);
            self.merge(known, edge);
        }
    }

    /// Whether one edge may be merged into another.
    fn may_merge(&self, edge: EdgeId, into: EdgeId) -> bool {
        let (from, to) = (&self.edges[edge.at()], &self.edges[into.at()]);
        let (node, other) = (&self.graph[from.node], &self.graph[to.node]);
        // Who was given a result that is gone names it by its number, which would be another's.
        let idle = from.finished.is_none()
            && from.generation == 0
            && from.busy().is_none()
            && from.error().is_none()
            && node.exec.is_idle()
            && node.error.is_none()
            && node.prepared.iter().all(|input| {
                !matches!(input.preprocess, Progress::Running(..))
                    && !matches!(input.slow, Progress::Running(..))
            });
        let fails = to.error().is_some() || other.error.is_some() || other.holders.is_empty();
        // What was computed whatever the cache has may stand for what need not be, but not the other way round.
        let forgetful = node.options.ignore_cache && !other.options.ignore_cache;
        // A build within a build may not come to wait for what waits for it.
        let is_within = |job| self.jobs.get(&job).is_some_and(|job| job.parent.is_some());
        let has = |job| other.holders.iter().any(|holder| holder.job == job);
        let crosses = node.holders.iter().any(|holder| is_within(holder.job) && !has(holder.job));
        idle && !fails
            && !forgetful
            && !crosses
            && other.rank <= node.rank
            && !self.is_merged_into(to.node, from.node)
    }

    /// Whether a vertex is another, or one of its outputs was merged into one of that other's, be it over several steps.
    fn is_merged_into(&self, node: NodeIndex, other: NodeIndex) -> bool {
        let (rank, mut seen) = (self.graph[other].rank, SmallVec::<[NodeIndex; 4]>::new());
        let mut stack: SmallVec<[NodeIndex; 4]> = SmallVec::from_slice(&[node]);
        while let Some(at) = stack.pop() {
            if at == other {
                return true;
            }
            // Ranks never grow from a vertex to what it was merged into.
            if self.graph[at].rank < rank || seen.contains(&at) {
                continue;
            }
            seen.push(at);
            let merged = self.graph[at].edges.iter().filter_map(|edge| self.edges[edge.at()].merged_into);
            stack.extend(merged.map(|into| self.edges[into.at()].node));
        }
        false
    }

    /// Has one edge stand for another from now on.
    fn merge(&mut self, edge: EdgeId, into: EdgeId) {
        let (node, target) = (self.edges[edge.at()].node, self.edges[into.at()].node);
        self.relax(edge);
        let state = &mut self.edges[edge.at()];
        state.merged_into = Some(into);
        let consumers = std::mem::take(&mut state.consumers);
        let requests = state.take_requests();
        let absorbed = state.rare.as_mut().map(|rare| std::mem::take(&mut rare.absorbed)).unwrap_or_default();
        state.wants = [0; 3];
        for identity in std::mem::take(&mut state.identities) {
            self.identities.insert(identity, into);
            self.edges[into.at()].identities.push(identity);
        }
        // What was merged into it keeps pointing at it; only the list of whose inputs count moves on.
        let rare = self.edges[into.at()].rare();
        let merged: SmallVec<[EdgeId; 2]> = std::iter::once(edge).chain(absorbed.iter().copied()).collect();
        rare.absorbed.insert(edge);
        rare.absorbed.extend(absorbed);
        for request in requests {
            if let Some(request) = self.requests.get_mut(&request) {
                request.edge = into;
            }
            self.edges[into.at()].doing().requests.insert(request);
            self.edges[into.at()].want(Level::Complete, 1);
        }
        for (above, input) in consumers {
            let Some(state) = self.edges.get_mut(above.at()) else { continue };
            let Some(dep) = state.deps.get_mut(input as usize).filter(|dep| dep.edge == edge) else {
                continue;
            };
            dep.edge = into;
            dep.keys_seen = 0;
            let wanted = dep.wanted;
            state.unsigned = true;
            self.edges[into.at()].want(wanted, 1);
            self.edges[into.at()].consumers.push((above, input));
            self.change(above, input as usize);
        }
        // Nodes that have it as input but did not ask for it yet need what stands for it, too.
        for job in self.graph[node].holders.clone() {
            self.hold(job.job, target, false);
        }
        self.share_keys(edge, into);
        merged.into_iter().for_each(|edge| self.add_ways(edge, into));
        self.graph[target].above += 1;
        self.mirror(node, target);
        self.touch(into);
        self.stop_unwanted(node);
    }
}

impl<R: Value> Machine<R> {
    /// Has what stands for an edge be found, and remembered, under the keys of that edge, too.
    fn share_keys(&mut self, edge: EdgeId, into: EdgeId) {
        let target = &self.graph[self.edges[into.at()].node];
        let here = |key: &Key| key.source == ANY || target.sources.contains(&key.source);
        let keys: Vec<_> = self.edges[edge.at()].keys.iter().filter(here).collect();
        let ignores = target.options.ignore_cache;
        let local = self.edges[edge.at()].keys.local();
        let state = &mut self.edges[into.at()];
        for id in local {
            state.keys.name(id);
        }
        let known = state.keys.len();
        for key in keys.into_iter().filter(|_| !ignores) {
            if !state.keys.contains(key) {
                state.keys.push(key);
            }
        }
        // All above are told, and there may be many: of nothing new they are not.
        if state.keys.len() > known {
            self.notify(into);
        }
    }
}

fn identity<'a>(kind: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> Identity {
    let mut hasher = Sha256::new();
    hasher.update(kind);
    parts.into_iter().for_each(|part| hasher.update(part));
    truncated(hasher)
}

fn truncated(hasher: Sha256) -> Identity {
    let mut identity = [0; 16];
    identity.copy_from_slice(&hasher.finalize()[..16]);
    identity
}
