//! The graph below an edge as it is at one moment: what an export walks over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::ids::{Edge, JobId, VertexName};
use crate::key::{KeyId, Selector};
use crate::machine::edge::{EdgeId, Origin};
use crate::machine::node::Use;
use crate::machine::{ANY, LOCAL, Machine, SourceIx};
use crate::ops::Site;
use crate::status::Feed;
use crate::store::{CacheSource, Record};
use crate::value::Value;

/// What a job has below an edge, that edge first.
pub(crate) struct Trace<R: Value> {
    pub(crate) edges: Vec<Traced>,
    /// Where the job looks for keys; the solver's own cache is the first.
    pub(crate) sources: Vec<Arc<dyn CacheSource<R>>>,
    /// How long a source other than the first may take for an answer.
    pub(crate) patience: Duration,
}

/// An edge with what is known of it. Sources and edges are named by their places in the trace.
pub(crate) struct Traced {
    pub(crate) vertex: Arc<VertexName>,
    /// Its vertex, and those that were merged into it.
    pub(crate) sites: SmallVec<[Site; 1]>,
    /// The op part of its keys: one for each cache map, of which a vertex with inputs has one at most.
    pub(crate) ops: SmallVec<[KeyId; 1]>,
    pub(crate) is_root: bool,
    /// Who is told what happens in its context, if anybody was so far.
    pub(crate) feed: Option<Arc<Feed>>,
    /// For each input the ways to it.
    pub(crate) inputs: Box<[SmallVec<[Way; 2]>]>,
    /// Its keys, with the sources they were found in. Those of a root are its ops, the same in every source.
    pub(crate) keys: SmallVec<[(usize, KeyId); 1]>,
    /// The records of the result that it has.
    pub(crate) own: SmallVec<[(usize, Record); 1]>,
    /// Whether its results are to be left out.
    pub(crate) no_export: bool,
}

/// A way to an input.
pub(crate) enum Way {
    /// By its definition.
    Edge(Option<Selector>, usize),
    /// By what it contains.
    Content(KeyId),
}

impl<R: Value> Machine<R> {
    /// What a job has below an edge, merged edges followed. Without recursion.
    pub(crate) fn trace(&self, job: JobId, edge: &Edge) -> Result<Trace<R>> {
        let Some(state) = self.jobs.get(&job) else { return Err(Error::UnknownJob { job }) };
        let unknown = || {
            let reason = format!("not loaded by {job}");
            Error::Invalid { vertex: edge.to_string(), reason }
        };
        let node = self.held_by(job, &edge.vertex).ok_or_else(unknown)?;
        let known = &self.graph[node].edges;
        let first = known.iter().copied().find(|known| self.edges[known.at()].output == edge.output);
        let mut places =
            Places { found: vec![self.standing_for(first.ok_or_else(unknown)?)], places: HashMap::new() };
        places.places.insert(places.found[0], 0);
        let alive =
            |source: &SourceIx| self.sources.get(source.0 as usize).is_some_and(|state| state.dead.is_none());
        let sources: Vec<_> =
            std::iter::once(LOCAL).chain(state.sources().iter().copied().filter(alive)).collect();
        let mut edges = Vec::new();
        while let Some(edge) = places.found.get(edges.len()).copied() {
            edges.push(self.traced(job, edge, &sources, &mut places));
        }
        let at = |source: &SourceIx| Some(Arc::clone(&self.sources.get(source.0 as usize)?.source));
        let sources = sources.iter().filter_map(at).collect();
        Ok(Trace { edges, sources, patience: self.patience })
    }

    fn traced(&self, job: JobId, edge: EdgeId, sources: &[SourceIx], places: &mut Places) -> Traced {
        let state = &self.edges[edge.at()];
        let node = &self.graph[state.node];
        let is_root = node.is_root();
        let of_job = |edge: &EdgeId| {
            let holders = &self.graph[self.edges[edge.at()].node].holders;
            holders.iter().any(|holder| holder.job == job)
        };
        let absorbed = state.rare.iter().flat_map(|rare| rare.absorbed.iter().copied()).filter(of_job);
        let same: SmallVec<[EdgeId; 1]> = std::iter::once(edge).chain(absorbed).collect();
        let mut ops = SmallVec::new();
        let mut inputs: Box<[SmallVec<[Way; 2]>]> =
            std::iter::repeat_with(SmallVec::new).take(node.inputs.len()).collect();
        for edge in &same {
            let state = &self.edges[edge.at()];
            let node = &self.graph[state.node];
            for map in &node.maps {
                let op = map.digest.key(state.output);
                if !ops.contains(&op) && (is_root || ops.is_empty()) {
                    ops.push(op);
                }
            }
            for (input, (dep, ways)) in state.deps.iter().zip(&mut inputs).enumerate() {
                let selector = node.usage(input).and_then(Use::selector).cloned();
                ways.push(Way::Edge(selector, places.of(self.standing_for(dep.edge))));
                ways.extend(node.content(input).map(Way::Content));
            }
        }
        let place = |source: SourceIx| sources.iter().position(|known| *known == source);
        let mut keys: SmallVec<[(usize, KeyId); 1]> = SmallVec::new();
        if !is_root {
            keys.extend(state.names().map(|key| (0, key)));
            let found = state.keys.iter().filter(|key| key.source != LOCAL && key.source != ANY);
            keys.extend(found.filter_map(|key| Some((place(key.source)?, key.id))));
        }
        let mut own = SmallVec::new();
        if let Some(finished) = &state.finished {
            if let (Some(result), Some(key)) = (&finished.saved, state.keys.first_local()) {
                own.push((0, Record { key, result: result.clone() }));
            }
            if let Origin::Loaded(loaded) = &finished.origin
                && let Some(source) = place(loaded.source)
            {
                own.push((source, loaded.record.clone()));
            }
        }
        Traced {
            vertex: Arc::clone(&node.name),
            sites: same.iter().map(|edge| self.site(self.edges[edge.at()].node)).collect(),
            ops,
            is_root,
            feed: node.feed.clone(),
            inputs,
            keys,
            own,
            no_export: same.iter().all(|edge| self.graph[self.edges[edge.at()].node].options.no_export),
        }
    }
}

/// Edges in the order in which they were found.
struct Places {
    found: Vec<EdgeId>,
    places: HashMap<EdgeId, usize>,
}

impl Places {
    fn of(&mut self, edge: EdgeId) -> usize {
        *self.places.entry(edge).or_insert_with(|| {
            self.found.push(edge);
            self.found.len() - 1
        })
    }
}
