//! Looking for keys and records, and loading them.

use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::error::{Cause, Error, LoadError, Stage, StoreError, Tried};
use crate::key::{KeyId, Link};
use crate::machine::action::Work;
use crate::machine::edge::{Candidate, EdgeId, Finished, Key, Level, Origin};
use crate::machine::tickets::{Task, TicketId};
use crate::machine::{ANY, LOCAL, Machine, SourceIx};
use crate::store::{CacheSource, Record};
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// The sources that a node's keys are looked for in.
    fn sources_of(&self, edge: EdgeId) -> SmallVec<[SourceIx; 4]> {
        let node = &self.graph[self.edges[edge.at()].node];
        let alive =
            |source: &SourceIx| self.sources.get(source.0 as usize).is_some_and(|state| state.dead.is_none());
        node.sources.iter().copied().filter(alive).collect()
    }

    fn source_at(&self, source: SourceIx) -> Option<Arc<dyn CacheSource<R>>> {
        Some(Arc::clone(&self.sources.get(source.0 as usize)?.source))
    }

    /// Asks where the keys of an input lead that were not asked about yet.
    pub(super) fn probe_input(&mut self, edge: EdgeId, input: usize) {
        let state = &self.edges[edge.at()];
        let dep = &state.deps[input];
        let node = &self.graph[state.node];
        let below = &self.edges[dep.edge.at()];
        let content = if dep.slow_probed { None } else { node.content(input) };
        let seen = dep.keys_seen as usize;
        if seen == below.keys.len() && content.is_none() {
            return;
        }
        let (Some(map), Some(op)) = (node.maps.first(), self.op_key(edge)) else { return };
        let position = u32::try_from(input).unwrap_or(u32::MAX);
        let selector = map.deps[input].selector().cloned();
        let new: SmallVec<[Key; 2]> = below.keys.since(seen).collect();
        let known = below.keys.len();
        let dep = &mut self.edges[edge.at()].deps[input];
        dep.keys_seen = u32::try_from(known).unwrap_or(u32::MAX);
        dep.slow_probed |= content.is_some();
        for source in self.sources_of(edge) {
            let from: Vec<_> = new
                .iter()
                .filter(|key| key.source == source || key.source == ANY)
                .map(|key| key.id)
                .collect();
            if !from.is_empty() {
                self.probe(
                    edge,
                    input,
                    source,
                    from,
                    Link { op, input: position, selector: selector.clone() },
                );
            }
            if let Some(content) = content {
                self.probe(edge, input, source, vec![content], Link { op, input: position, selector: None });
            }
        }
    }

    /// Asks about everything once more that a node is to be found by: there are sources that were not asked. An edge that
    /// has a result does so if that is lost.
    pub(super) fn ask_again(&mut self, node: NodeIndex) {
        for edge in self.graph[node].edges.clone() {
            let state = &mut self.edges[edge.at()];
            if state.merged_into.is_some() {
                continue;
            }
            state.keys_asked = 0;
            for input in 0..state.deps.len() {
                let dep = &mut self.edges[edge.at()].deps[input];
                dep.keys_seen = 0;
                dep.slow_probed = false;
                self.change(edge, input);
            }
            self.touch(edge);
        }
    }

    fn probe(&mut self, edge: EdgeId, input: usize, source: SourceIx, from: Vec<KeyId>, link: Link) {
        let Some(asked) = self.source_at(source) else { return };
        self.edges[edge.at()].asking_here += u32::from(source == LOCAL);
        let node = self.edges[edge.at()].node;
        let work = Work::Probe { source: asked, from, link, local: source == LOCAL };
        let ticket = self.start(node, None, Task::Probe { edge, input, source }, work);
        if self.awaits(node, source, ticket) {
            self.edges[edge.at()].deps[input].probing += 1;
        }
    }

    /// Whether a node waits for what a source says: only if all who have it brought that source. Nobody waits for the cache
    /// of another.
    pub(super) fn is_waited_for(&self, node: NodeIndex, source: SourceIx) -> bool {
        let brought = |job| self.jobs.get(&job).is_none_or(|state| state.uses(source));
        source == LOCAL || self.graph[node].holders.iter().all(|holder| brought(holder.job))
    }

    /// Takes note of a question of a node, and says whether it is waited for.
    fn awaits(&mut self, node: NodeIndex, source: SourceIx, ticket: TicketId) -> bool {
        let waits = self.is_waited_for(node, source);
        if !waits {
            self.waive(ticket);
        } else if source != LOCAL {
            self.lookups.insert((node, ticket));
        }
        waits
    }

    fn waive(&mut self, ticket: TicketId) {
        if let Some(ticket) = self.tickets.get_mut(&ticket) {
            ticket.waived = true;
        }
    }

    /// No longer waits for sources that somebody who has a node now did not bring. Their answers still count when they come.
    pub(super) fn stop_waiting(&mut self, node: NodeIndex) {
        let asked = |task: &Task| match task {
            Task::Probe { source, .. } | Task::Records { source, .. } => Some(*source),
            _ => None,
        };
        let out = self.lookups.range((node, TicketId(0))..=(node, TicketId(u64::MAX)));
        let given_up: Vec<_> = out
            .filter_map(|(_, id)| Some((*id, self.tickets.get(id)?.task.clone())))
            .filter(|(_, task)| asked(task).is_some_and(|source| !self.is_waited_for(node, source)))
            .collect();
        for (ticket, task) in given_up {
            self.waive(ticket);
            self.lookups.remove(&(node, ticket));
            match task {
                Task::Probe { edge, input, .. } => {
                    self.edges[edge.at()].deps[input].probing -= 1;
                    self.change(edge, input);
                }
                Task::Records { edge, .. } => {
                    self.edges[edge.at()].asking -= 1;
                    self.touch(edge);
                }
                _ => {}
            }
        }
    }

    /// The op part of an edge's keys.
    pub(super) fn op_key(&self, edge: EdgeId) -> Option<KeyId> {
        let state = &self.edges[edge.at()];
        self.graph[state.node].maps.first().map(|map| map.digest.key(state.output))
    }

    /// It was told where keys of an input lead.
    pub(super) fn probed(
        &mut self,
        edge: EdgeId,
        input: usize,
        source: SourceIx,
        outcome: Result<Vec<KeyId>, StoreError>,
    ) {
        self.change(edge, input);
        let state = &mut self.edges[edge.at()];
        state.asking_here -= u32::from(source == LOCAL);
        // The job whose source it was may have gone.
        let is_asked = self.graph[state.node].sources.contains(&source);
        let Some(dep) = state.deps.get_mut(input).filter(|_| is_asked) else { return };
        let found = match outcome {
            Ok(found) => found,
            Err(cause) => return self.source_failed(edge, source, Stage::Lookup, cause),
        };
        dep.matched |= !found.is_empty();
        let inputs = state.deps.len();
        let mut keys: SmallVec<[Key; 1]> = SmallVec::new();
        for id in found {
            let key = Key { source, id };
            if inputs == 1 || state.reached.get_or_insert_default().by(key, input, inputs) {
                keys.push(key);
            }
        }
        state.reached.take_if(|reached| reached.is_empty());
        for key in keys {
            self.join(edge, key);
            self.found(edge, key);
        }
    }

    /// A key of an edge was found.
    pub(super) fn found(&mut self, edge: EdgeId, key: Key) {
        let state = &mut self.edges[edge.at()];
        if state.keys.contains(key) {
            return;
        }
        state.keys.push(key);
        self.identify_stored(edge, key);
        self.notify(edge);
        self.touch(edge);
    }

    /// Asks for records and loads one. True if that is under way, so that nothing dearer is to be done yet.
    pub(super) fn use_cache(&mut self, edge: EdgeId) -> bool {
        let state = &self.edges[edge.at()];
        if state.busy().is_some() {
            return true;
        }
        if self.graph[state.node].options.ignore_cache {
            return false;
        }
        let seen = state.keys_asked as usize;
        if seen < state.keys.len() {
            self.ask_records(edge, seen);
        }
        let state = &mut self.edges[edge.at()];
        // The newest; of equally new ones that of the source that comes first, and the solver's own comes first.
        let rank =
            |candidate: &Candidate| (candidate.record.result.created_at, std::cmp::Reverse(candidate.source));
        let best = state
            .candidates()
            .iter()
            .enumerate()
            .max_by_key(|(_, candidate)| rank(candidate))
            .map(|(at, _)| at);
        let Some(best) = best else { return state.asking > 0 };
        // What is here need not be fetched from elsewhere: first it is known whether it is.
        if state.candidates()[best].source != LOCAL && state.asking_here > 0 {
            return true;
        }
        let candidate = state.doing().candidates.swap_remove(best);
        let node = state.node;
        let Some(source) = self.source_at(candidate.source) else { return true };
        let work = Work::Load { source, record: candidate.record.clone() };
        let candidate = Box::new(candidate);
        let ticket = self.start(node, Some(node), Task::Load { edge, candidate }, work);
        self.edges[edge.at()].doing().busy = Some(ticket);
        true
    }

    fn ask_records(&mut self, edge: EdgeId, seen: usize) {
        let new: SmallVec<[Key; 2]> = self.edges[edge.at()].keys.since(seen).collect();
        self.edges[edge.at()].keys_asked = u32::try_from(seen + new.len()).unwrap_or(u32::MAX);
        let node = self.edges[edge.at()].node;
        for at in self.sources_of(edge) {
            let keys: Vec<_> =
                new.iter().filter(|key| key.source == at || key.source == ANY).map(|key| key.id).collect();
            let Some(source) = self.source_at(at).filter(|_| !keys.is_empty()) else { continue };
            self.edges[edge.at()].asking_here += u32::from(at == LOCAL);
            let work = Work::Records { source, keys, local: at == LOCAL };
            let ticket = self.start(node, None, Task::Records { edge, source: at }, work);
            if self.awaits(node, at, ticket) {
                self.edges[edge.at()].asking += 1;
            }
        }
    }

    /// It was told which records keys have.
    pub(super) fn recorded(
        &mut self,
        edge: EdgeId,
        source: SourceIx,
        outcome: Result<Vec<Record>, StoreError>,
    ) {
        self.touch(edge);
        let state = &mut self.edges[edge.at()];
        state.asking_here -= u32::from(source == LOCAL);
        match outcome {
            // The job whose source it was may have gone.
            _ if !self.graph[state.node].sources.contains(&source) => {}
            Ok(records) => {
                for record in records {
                    let candidate = Candidate { source, record };
                    let state = &mut self.edges[edge.at()];
                    let known = state.candidates().iter().any(|known| known.is(&candidate));
                    if !known && !state.refuses(&candidate) {
                        state.nominate(candidate);
                    }
                }
            }
            Err(cause) => self.source_failed(edge, source, Stage::Lookup, cause),
        }
    }

    /// A source could not say. The solver's own must be able to; of another that is a miss, once and for all.
    fn source_failed(&mut self, edge: EdgeId, source: SourceIx, stage: Stage, cause: StoreError) {
        let node = self.edges[edge.at()].node;
        let Some(state) = self.sources.get_mut(source.0 as usize) else { return };
        let name: Arc<str> = state.source.name().into();
        if source == LOCAL {
            let vertex = (*self.graph[node].name).clone();
            let error = Error::Store { vertex, stage, store: name, cause: Arc::new(cause) };
            return self.fail_node(node, Level::Fast, error);
        }
        if state.dead.is_none() {
            let warning = format!("cache {name}: not used: {cause}");
            state.dead = Some(warning.as_str().into());
            self.warn_users(source, &warning);
        }
    }

    /// Stops loading what nobody wants loaded any more.
    pub(super) fn stop_load(&mut self, edge: EdgeId, wanted: Level) {
        let Some(ticket) = self.edges[edge.at()].busy().filter(|_| wanted < Level::Complete) else { return };
        let loads = self.tickets.get(&ticket).is_some_and(|ticket| matches!(ticket.task, Task::Load { .. }));
        if loads {
            self.cancel(ticket);
        }
    }

    /// A record was loaded, or was not.
    pub(super) fn loaded(
        &mut self,
        edge: EdgeId,
        candidate: Box<Candidate>,
        cancelled: bool,
        outcome: Result<R, LoadError>,
    ) {
        self.touch(edge);
        self.edges[edge.at()].rest();
        let cause = match outcome {
            Ok(result) if candidate.source == LOCAL => {
                let origin = Origin::Loaded(candidate);
                return self.complete(edge, Finished { result, origin, saved: None });
            }
            Ok(result) => return self.keep(edge, result, Some(candidate)),
            Err(LoadError::Failed(_)) if cancelled => {
                self.edges[edge.at()].nominate(*candidate);
                return;
            }
            Err(LoadError::Failed(cause)) => cause,
            Err(LoadError::Gone(cause)) => {
                self.forget(edge, candidate.source, candidate.record.result.id.clone());
                cause
            }
        };
        let id = &candidate.record.result.id;
        let node = self.edges[edge.at()].node;
        self.tell_warning(node, format!("cached result {id} cannot be used: {cause}"));
        self.in_vain(edge, *candidate, Cause::from(cause));
    }

    /// Keeps in mind why a record came to nothing, and never uses it for this edge again.
    pub(super) fn in_vain(&mut self, edge: EdgeId, candidate: Candidate, cause: Cause) {
        let Candidate { source, record } = candidate;
        let cache = self.sources.get(source.0 as usize).map_or("", |state| state.source.name()).into();
        let result = record.result.id.clone();
        self.edges[edge.at()].rare().tried.push(Tried::Record { cache, result, cause });
        self.refuse(edge, source, record.result.id);
    }

    /// Never uses this record for this edge again.
    pub(super) fn refuse(&mut self, edge: EdgeId, source: SourceIx, id: crate::store::ResultId) {
        let state = &mut self.edges[edge.at()];
        state.rare().refused.push((source, id));
        if state.candidates().is_empty() {
            return;
        }
        let candidates = std::mem::take(&mut state.doing().candidates);
        let kept = candidates.into_iter().filter(|candidate| !state.refuses(candidate)).collect();
        state.doing().candidates = kept;
        state.tidy();
    }

    /// Has a source drop a result that is gone.
    pub(super) fn forget(&mut self, edge: EdgeId, source: SourceIx, id: crate::store::ResultId) {
        let node = self.edges[edge.at()].node;
        if let Some(source) = self.source_at(source) {
            self.start(node, None, Task::Forget, Work::Forget { source, results: vec![id] });
        }
    }
}
