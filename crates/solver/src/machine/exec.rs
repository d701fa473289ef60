//! What a node does: its cache maps, the preparation of its inputs, the op itself. Shared by all its edges and jobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;

use crate::error::{Error, OpError, Stage};
use crate::explain::{Asked, Question};
use crate::ids::JobId;
use crate::key::KeyId;
use crate::machine::action::{Failure, Work};
use crate::machine::edge::{EdgeId, Level, Origin};
use crate::machine::fair::FairQueue;
use crate::machine::map_digest::MapDigest;
use crate::machine::node::{Map, Progress, Use};
use crate::machine::tickets::Task;
use crate::machine::{Machine, TicketId};
use crate::ops::CacheMap;
use crate::settings::Settings;
use crate::value::Value;
use oci_spec::image::Digest;

/// How many run at once, and who waits.
struct Gate {
    limit: usize,
    running: usize,
    waiting: FairQueue<NodeIndex>,
}

impl Gate {
    fn of(limit: usize) -> Self {
        Self { limit: limit.max(1), running: 0, waiting: FairQueue::default() }
    }
}

/// The limits of parallelism.
pub(super) struct Gates {
    kinds: BTreeMap<String, Gate>,
    maps: Gate,
}

impl Gates {
    pub(super) fn new(settings: &Settings) -> Self {
        let kinds =
            settings.parallelism.iter().map(|(kind, limit)| (kind.clone(), Gate::of(*limit))).collect();
        Self { kinds, maps: Gate::of(settings.cache_maps) }
    }

    /// Whether no place is taken.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.kinds.values().chain([&self.maps]).all(|gate| gate.running == 0)
    }
}

impl<R: Value> Machine<R> {
    /// Has a node that waits for a place wait in the turn of one more job. Whoever's turn comes first brings it on; what it
    /// leaves in other queues counts for nothing then.
    pub(super) fn wait_in_turn(&mut self, job: JobId, node: NodeIndex) {
        let state = &self.graph[node];
        if matches!(state.mapping, Progress::Queued) {
            self.gates.maps.waiting.push(job, node);
        } else if matches!(state.exec, Progress::Queued)
            && let Some(gate) = self.gates.kinds.get_mut(state.op.kind())
        {
            gate.waiting.push(job, node);
        }
    }

    /// Has a node that waits for a place wait in the turns of all who have it.
    fn wait_in_all_turns(&mut self, node: NodeIndex) {
        for holder in self.graph[node].holders.clone() {
            self.wait_in_turn(holder.job, node);
        }
    }

    /// Whether somebody wants an edge of a node at this level and does not have it.
    fn is_wanted(&self, node: NodeIndex, level: Level) -> bool {
        self.graph[node].edges.iter().any(|edge| {
            let edge = &self.edges[edge.at()];
            edge.wanted() >= level && edge.finished.is_none()
        })
    }

    /// Asks for the next cache map.
    pub(super) fn map(&mut self, node: NodeIndex) {
        if !self.graph[node].mapping.is_idle() || !self.graph[node].more {
            return;
        }
        if self.gates.maps.running >= self.gates.maps.limit {
            self.graph[node].mapping = Progress::Queued;
            return self.wait_in_all_turns(node);
        }
        self.gates.maps.running += 1;
        self.graph[node].placed = true;
        let state = &self.graph[node];
        let (op, index, deadline) = (Arc::clone(&state.op), state.maps.len(), state.options.deadline);
        let ticket = self.start(node, Some(node), Task::CacheMap, Work::CacheMap { op, index, deadline });
        self.graph[node].mapping = Progress::Running(ticket, false);
    }

    /// Gives up the place that a node's cache map or op takes, to the next who waits. Whoever waits for a build within
    /// its own must not keep that from a place.
    pub(super) fn give_place(&mut self, node: NodeIndex) {
        if !std::mem::take(&mut self.graph[node].placed) {
            return;
        }
        match self.graph[node].mapping {
            Progress::Running(..) => self.next_map(),
            _ => self.next_exec(node),
        }
    }

    fn next_map(&mut self) {
        self.gates.maps.running -= 1;
        while self.gates.maps.running < self.gates.maps.limit {
            let Some(node) = self.gates.maps.waiting.pop() else { return };
            let Some(state) = self.graph.node_weight_mut(node) else { continue };
            // The place may have been given up, and taken by another node since.
            if matches!(state.mapping, Progress::Queued) {
                state.mapping = Progress::Idle;
                if self.is_wanted(node, Level::Fast) {
                    self.map(node);
                }
            }
        }
    }

    /// A cache map was answered.
    pub(super) fn mapped(&mut self, node: NodeIndex, cancelled: bool, outcome: Result<CacheMap<R>, Failure>) {
        self.give_place(node);
        self.graph[node].mapping = Progress::Idle;
        let stage = Stage::CacheMap;
        match outcome {
            Ok(map) => match self.check_map(node, &map) {
                Ok(()) => {
                    let state = &mut self.graph[node];
                    state.more = map.more;
                    let deps = map.deps.into_iter().map(Use::of);
                    let map = Map { digest: MapDigest::of(map.digest), opts: map.opts, deps: deps.collect() };
                    state.maps.push(Arc::new(map));
                }
                Err(reason) => {
                    let vertex = (*self.graph[node].name).clone();
                    self.fail_node(node, Level::Fast, Error::Contract { vertex, stage, reason });
                }
            },
            Err(failure) => self.failed(node, node, stage, Level::Fast, cancelled, failure),
        }
        self.touch_node(node);
    }

    fn check_map(&self, node: NodeIndex, map: &CacheMap<R>) -> Result<(), String> {
        let state = &self.graph[node];
        if map.deps.len() != state.inputs.len() {
            let (says, has) = (map.deps.len(), state.inputs.len());
            return Err(format!("its cache map has {says} inputs and the vertex {has}"));
        }
        if map.more && !state.is_root() {
            return Err("only a vertex without inputs may have several cache maps".to_owned());
        }
        Ok(())
    }

    /// Runs the op, as soon as there is a place.
    pub(super) fn execute(&mut self, node: NodeIndex) {
        if !self.graph[node].exec.is_idle() {
            return;
        }
        let kind = self.graph[node].op.kind();
        let Some(gate) = self.gates.kinds.get_mut(kind) else { return self.run(node) };
        if gate.running < gate.limit {
            gate.running += 1;
            self.graph[node].placed = true;
            return self.run(node);
        }
        self.graph[node].exec = Progress::Queued;
        self.wait_in_all_turns(node);
    }

    fn run(&mut self, node: NodeIndex) {
        let below: Vec<_> = self.graph[node].inputs.iter().map(|edge| self.standing_for(*edge)).collect();
        let mut inputs = Vec::with_capacity(below.len());
        let mut generations = Vec::with_capacity(below.len());
        for edge in below {
            let edge = &self.edges[edge.at()];
            let Some(finished) = &edge.finished else {
                debug_assert!(false, "an op runs without its inputs");
                return;
            };
            inputs.push(finished.result.clone());
            generations.push(edge.generation);
        }
        let question = if self.explains(node) { Some(Box::new(self.question(node))) } else { None };
        let state = &self.graph[node];
        let (op, deadline) = (Arc::clone(&state.op), state.options.deadline);
        let task = Task::Exec { inputs: generations.into() };
        let ticket = self.start(node, Some(node), task, Work::Exec { op, inputs, deadline, question });
        self.graph[node].exec = Progress::Running(ticket, false);
        self.began(node);
    }

    fn next_exec(&mut self, node: NodeIndex) {
        let op = Arc::clone(&self.graph[node].op);
        let Some(gate) = self.gates.kinds.get_mut(op.kind()) else { return };
        gate.running = gate.running.saturating_sub(1);
        loop {
            let Some(gate) = self.gates.kinds.get_mut(op.kind()) else { return };
            if gate.running >= gate.limit {
                return;
            }
            let Some(next) = gate.waiting.pop() else { return };
            let Some(state) = self.graph.node_weight_mut(next) else { continue };
            if !matches!(state.exec, Progress::Queued) {
                continue;
            }
            state.exec = Progress::Idle;
            // What it needs may have been lost, or nobody wants it any more: it asks again if it is to run.
            self.touch_node(next);
            if self.is_runnable(next) {
                self.execute(next);
            }
        }
    }

    /// Whether a node that waited for its turn still has to run.
    fn is_runnable(&self, node: NodeIndex) -> bool {
        let state = &self.graph[node];
        let has = |(input, edge): (usize, &EdgeId)| {
            self.edges[self.standing_for(*edge).at()].finished.is_some() && state.is_prepared(input)
        };
        self.is_wanted(node, Level::Complete) && state.inputs.iter().enumerate().all(has)
    }

    /// What is to be explained of a node that runs.
    fn question(&self, node: NodeIndex) -> Question {
        let state = &self.graph[node];
        let edge = state.edges.first().map(|edge| &self.edges[edge.at()]);
        let asked = |(input, dep): (usize, &crate::machine::edge::DepState)| {
            let below = &self.edges[dep.edge.at()];
            let usage = state.usage(input);
            Asked {
                vertex: Arc::clone(&self.graph[below.node].name),
                ran: below.finished.as_ref().is_some_and(|done| matches!(done.origin, Origin::Executed)),
                again: self.graph[below.node].options.ignore_cache
                    || below.rare.as_ref().is_some_and(|rare| !rare.refused.is_empty()),
                selector: usage.and_then(Use::selector).cloned(),
                keys: below.keys.local().to_vec(),
                content: state.content(input),
                looks_at: usage.and_then(Use::slow_digest).map(|digest| digest.looks_at()),
            }
        };
        let output = edge.map_or(0, |edge| edge.output);
        Question {
            vertex: Arc::clone(&state.name),
            ignore_cache: state.options.ignore_cache,
            ops: state.maps.iter().map(|map| map.digest.key(output)).collect(),
            known: edge.map(|edge| edge.keys_here().collect()).unwrap_or_default(),
            refused: edge
                .and_then(|edge| edge.rare.as_ref())
                .map(|rare| rare.refused.iter().map(|(_, id)| id.clone()).collect())
                .unwrap_or_default(),
            inputs: edge.map(|edge| edge.deps.iter().enumerate().map(asked).collect()).unwrap_or_default(),
        }
    }

    /// The op returned.
    pub(super) fn executed(
        &mut self,
        node: NodeIndex,
        inputs: &[u32],
        cancelled: bool,
        outcome: Result<Vec<R>, Failure>,
    ) {
        self.graph[node].exec = Progress::Idle;
        let stage = Stage::Exec;
        match outcome {
            Ok(outputs) => {
                self.forget_newer(node, inputs);
                self.graph[node].exec = Progress::Done(outputs.into_iter().map(Some).collect());
            }
            Err(Failure::Said(OpError::InputLost { input, cause })) if input < inputs.len() => {
                self.input_lost(node, input, inputs[input], &cause);
            }
            Err(failure) => self.failed(node, node, stage, Level::Complete, cancelled, failure),
        }
        if !matches!(self.graph[node].exec, Progress::Done(_)) {
            self.stopped(node);
        }
        // Only now: what was lost must not be given to whoever is next.
        self.give_place(node);
        self.touch_node(node);
    }

    /// The op ran with these inputs: what is known of the content of later ones says nothing of its outputs.
    fn forget_newer(&mut self, node: NodeIndex, inputs: &[u32]) {
        for (input, generation) in inputs.iter().enumerate() {
            let below = self.standing_for(self.graph[node].inputs[input]);
            let is_newer = self.edges[below.at()].generation != *generation;
            if is_newer && self.graph[node].content(input).is_some() {
                self.graph[node].prepare(input).slow = Progress::Idle;
            }
        }
    }

    /// Prepares an input of a node that has a result, and finds the key of its content, one after the other.
    pub(super) fn prepare(&mut self, node: NodeIndex, input: usize) {
        let below = self.standing_for(self.graph[node].inputs[input]);
        let edge = &self.edges[below.at()];
        let Some(finished) = &edge.finished else { return };
        let (result, generation, context) = (finished.result.clone(), edge.generation, edge.node);
        let state = &mut self.graph[node];
        let Some(usage) = state.maps.first().map(Arc::clone) else { return };
        let Some(usage) = usage.deps.get(input) else { return };
        if usage.is_plain() {
            return;
        }
        let prepared = state.prepare(input);
        if let Some(preprocess) = usage.preprocess().filter(|_| prepared.preprocess.done().is_none()) {
            if prepared.preprocess.is_idle() {
                let work = Work::Preprocess { what: Arc::clone(preprocess), input: result };
                let task = Task::Preprocess { input, generation, context };
                let ticket = self.start(node, Some(context), task, work);
                self.graph[node].prepare(input).preprocess = Progress::Running(ticket, false);
                self.preparing(context);
            }
            return;
        }
        if let Some(digest) = usage.slow_digest().filter(|_| prepared.slow.is_idle()) {
            let work = Work::SlowDigest { what: Arc::clone(digest), input: result };
            let ticket = self.start(node, Some(node), Task::SlowDigest { input, generation }, work);
            self.graph[node].prepare(input).slow = Progress::Running(ticket, false);
        }
    }

    /// An input was prepared.
    pub(super) fn preprocessed(
        &mut self,
        node: NodeIndex,
        input: usize,
        (generation, context): (u32, NodeIndex),
        cancelled: bool,
        outcome: Result<(), Failure>,
    ) {
        let below = self.standing_for(self.graph[node].inputs[input]);
        let current = self.edges[below.at()].generation;
        self.prepared(context);
        self.graph[node].prepare(input).preprocess = Progress::Idle;
        match outcome {
            // Prepared was what has been replaced since.
            Ok(()) if current != generation => {}
            Ok(()) => self.graph[node].prepare(input).preprocess = Progress::Done(()),
            Err(Failure::Said(OpError::InputLost { cause, .. })) => {
                self.input_lost(node, input, generation, &cause);
            }
            Err(failure) => self.failed(node, context, Stage::Preprocess, Level::Slow, cancelled, failure),
        }
        self.touch_input(node, input);
    }

    /// The key of an input's content was found.
    pub(super) fn digested(
        &mut self,
        node: NodeIndex,
        input: usize,
        generation: u32,
        cancelled: bool,
        outcome: Result<Digest, Failure>,
    ) {
        let below = self.standing_for(self.graph[node].inputs[input]);
        let current = self.edges[below.at()].generation;
        self.graph[node].prepare(input).slow = Progress::Idle;
        match outcome {
            Ok(_) if current != generation => {}
            Ok(digest) => {
                self.graph[node].prepare(input).slow = Progress::Done(KeyId::of_content(&digest));
                // What has the same op over the same content is the same, unless the op runs with what was there before.
                if matches!(self.graph[node].exec, Progress::Idle | Progress::Queued) {
                    for edge in self.graph[node].edges.clone() {
                        self.edges[edge.at()].unsigned = true;
                    }
                }
            }
            Err(Failure::Said(OpError::InputLost { cause, .. })) => {
                self.input_lost(node, input, generation, &cause);
            }
            Err(failure) => self.failed(node, node, Stage::SlowDigest, Level::Slow, cancelled, failure),
        }
        self.touch_input(node, input);
    }

    /// Work of a node failed: told under `blamed`, whose work it was. What was cancelled may be begun again.
    fn failed(
        &mut self,
        node: NodeIndex,
        blamed: NodeIndex,
        stage: Stage,
        level: Level,
        cancelled: bool,
        failure: Failure,
    ) {
        let vertex = (*self.graph[blamed].name).clone();
        let error = match failure {
            Failure::TimedOut(after) => Error::TimedOut { vertex, stage, after },
            _ if cancelled => return,
            Failure::Panicked(message) => Error::Panicked { vertex, stage, message },
            Failure::Said(OpError::Failed(cause)) => Error::Op { vertex, stage, cause: cause.into() },
            Failure::Said(said) => Error::Op { vertex, stage, cause: Arc::new(said) },
        };
        self.fail_node(node, level, error);
    }

    /// Stops whatever a node does that nobody waits for.
    pub(super) fn stop_unwanted(&mut self, node: NodeIndex) {
        let mut stopped: smallvec::SmallVec<[TicketId; 4]> = smallvec::SmallVec::new();
        if !self.is_wanted(node, Level::Fast) {
            stopped.extend(Self::stop(&mut self.graph[node].mapping));
        }
        if !self.is_wanted(node, Level::Slow) {
            for prepared in &mut self.graph[node].prepared {
                stopped.extend(Self::stop(&mut prepared.preprocess));
                stopped.extend(Self::stop(&mut prepared.slow));
            }
        }
        if !self.is_wanted(node, Level::Complete) {
            let exec = &mut self.graph[node].exec;
            if matches!(exec, Progress::Queued) {
                *exec = Progress::Idle;
            }
            stopped.extend(Self::stop(&mut self.graph[node].exec));
        }
        if stopped.is_empty() {
            return;
        }
        if !self.builds(node) {
            self.cancel_within(node);
        }
        stopped.into_iter().for_each(|ticket| self.cancel(ticket));
    }
}
