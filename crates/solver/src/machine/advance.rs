//! What is to be done for an edge, decided from what is known of it and of its inputs.
//!
//! The rule above all others: no input is completed while a cheaper key may still decide. So an edge asks its inputs for
//! fast keys first; then, where none match, for slow ones, those inputs first that nothing matches; and for results only
//! where the content of an input is the last way to a key, or where no key leads to a result and the op has to run.

use petgraph::stable_graph::NodeIndex;

use crate::error::{Error, Stage};
use crate::machine::edge::{DepState, EdgeId, Flags, Key, Level, Phase};
use crate::machine::node::Progress;
use crate::machine::{ANY, Machine};
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// Looks at an edge that something happened to.
    pub(super) fn advance(&mut self, edge: EdgeId) {
        let Some(state) = self.edges.get_mut(edge.at()) else { return };
        state.queued = false;
        if state.merged_into.is_some() {
            return;
        }
        let (node, wanted) = (state.node, state.wanted());
        let lowered = wanted < std::mem::replace(&mut state.asked, wanted);
        if lowered {
            state.phase = Phase::Idle;
            self.stop_load(edge, wanted);
            self.stop_unwanted(node);
        }
        if wanted == Level::None {
            return self.relax(edge);
        }
        if self.edges[edge.at()].finished.is_some() || self.has_failed(edge, wanted) {
            return self.settle(edge);
        }
        if !self.take_maps(edge) {
            return;
        }
        // What is the same is found before anything is begun that would keep it from being merged.
        if self.try_merge(edge) || self.take_changes(edge, wanted) || self.try_merge(edge) {
            return;
        }
        if self.graph[node].is_root() {
            self.advance_root(edge, wanted);
        } else {
            self.advance_inner(edge, wanted);
        }
    }

    /// Tells what an edge failed with, or has failed with before, to those who want as much.
    fn has_failed(&mut self, edge: EdgeId, wanted: Level) -> bool {
        let state = &self.edges[edge.at()];
        if state.error().is_some_and(|(level, _)| wanted >= *level) {
            return true;
        }
        let error = self.graph[state.node].error.as_deref().filter(|(level, _)| wanted >= *level).cloned();
        if let Some((level, error)) = error {
            self.fail(edge, level, error);
            return true;
        }
        false
    }

    /// An edge that has a result or an error needs nothing, and whoever asked can be answered.
    fn settle(&mut self, edge: EdgeId) {
        self.relax(edge);
        self.answer_requests(edge);
    }

    /// Wants nothing of any input.
    pub(super) fn relax(&mut self, edge: EdgeId) {
        self.edges[edge.at()].phase = Phase::Idle;
        for input in 0..self.edges[edge.at()].deps.len() {
            self.want(edge, input, Level::None);
        }
    }

    /// An edge failed, for those who want at least this level.
    pub(super) fn fail(&mut self, edge: EdgeId, level: Level, error: Error) {
        self.edges[edge.at()].rare().error = Some((level, error));
        self.notify(edge);
        self.settle(edge);
        let node = self.edges[edge.at()].node;
        self.stop_unwanted(node);
    }

    /// A node failed.
    pub(super) fn fail_node(&mut self, node: NodeIndex, level: Level, error: Error) {
        match &mut self.graph[node].error {
            // It is told once, and kept for all who want as little as either.
            Some(known) => known.0 = known.0.min(level),
            None => {
                self.ended(node, Some(&error));
                self.graph[node].error = Some(Box::new((level, error)));
            }
        }
        self.touch_node(node);
    }

    /// Takes up cache maps that were answered. False if there is none yet; then one was asked for.
    fn take_maps(&mut self, edge: EdgeId) -> bool {
        let node = self.edges[edge.at()].node;
        if self.graph[node].maps.is_empty() {
            self.map(node);
            return false;
        }
        let seen = self.edges[edge.at()].maps_seen as usize;
        if seen == self.graph[node].maps.len() {
            return true;
        }
        if self.graph[node].is_root() {
            let (output, ignores) = (self.edges[edge.at()].output, self.graph[node].options.ignore_cache);
            for at in seen..self.graph[node].maps.len() {
                let id = self.graph[node].maps[at].digest.key(output);
                self.edges[edge.at()].keys.name(id);
                self.identify(edge, id);
                if !ignores {
                    self.edges[edge.at()].keys.push(Key { source: ANY, id });
                }
            }
            self.raise(edge, if self.graph[node].more { Level::Fast } else { Level::Slow });
            self.notify(edge);
        } else {
            self.begin_inputs(edge);
        }
        self.edges[edge.at()].maps_seen = u32::try_from(self.graph[node].maps.len()).unwrap_or(u32::MAX);
        true
    }

    /// Connects an edge with its inputs.
    fn begin_inputs(&mut self, edge: EdgeId) {
        let node = self.edges[edge.at()].node;
        let inputs: Vec<_> = self.graph[node].inputs.iter().map(|input| self.standing_for(*input)).collect();
        self.edges[edge.at()].deps = inputs.iter().map(|input| DepState::of(*input)).collect();
        for (at, below) in inputs.into_iter().enumerate() {
            self.edges[below.at()].consumers.push((edge, u32::try_from(at).unwrap_or(u32::MAX)));
            self.change(edge, at);
        }
        self.edges[edge.at()].unsigned = true;
    }

    /// Takes note of inputs that changed. True if the edge failed for that.
    fn take_changes(&mut self, edge: EdgeId, wanted: Level) -> bool {
        let changed = std::mem::take(&mut self.edges[edge.at()].changed);
        for (at, input) in changed.iter().enumerate() {
            let input = *input as usize;
            let dep = &self.edges[edge.at()].deps[input];
            let (below, wants) = (dep.edge, dep.wanted);
            let failed = self.edges[below.at()].error().filter(|(level, _)| wants >= *level).cloned();
            if let Some((_, error)) = failed {
                // The failure may be forgiven; then this input and the rest are still to be looked at.
                self.edges[edge.at()].changed.extend_from_slice(&changed[at..]);
                self.fail(edge, wanted, error);
                return true;
            }
            self.edges[edge.at()].deps[input].changed = false;
            self.look_at(edge, input);
        }
        false
    }

    /// Asks about what is new of an input, and counts it anew.
    pub(super) fn look_at(&mut self, edge: EdgeId, input: usize) {
        let node = self.edges[edge.at()].node;
        let ignores = self.graph[node].options.ignore_cache;
        if !ignores {
            self.probe_input(edge, input);
        }
        let content = self.graph[node].content(input);
        let has_slow = self.graph[node].usage(input).is_some_and(|usage| usage.slow_digest().is_some());
        let prepared = self.graph[node].is_prepared(input);
        let dep = &self.edges[edge.at()].deps[input];
        let below = &self.edges[dep.edge.at()];
        let asked = dep.probing == 0 && (ignores || dep.keys_seen as usize == below.keys.len());
        let slow = below.level >= Level::Slow && asked;
        let flags = Flags {
            fast: below.level >= Level::Fast && asked,
            slow,
            exhausted: slow && (!has_slow || content.is_some()),
            matched: dep.matched,
            ready: below.finished.is_some() && prepared && asked,
        };
        let state = &mut self.edges[edge.at()];
        let dep = &mut state.deps[input];
        state.sums.take(dep.flags);
        dep.flags = flags;
        state.sums.add(flags);
        self.pursue(edge, input);
    }

    /// Asks an input for what the edge's phase needs of it, and prepares its result.
    fn pursue(&mut self, edge: EdgeId, input: usize) {
        let state = &self.edges[edge.at()];
        let dep = &state.deps[input];
        let Flags { slow, exhausted, matched, ready, .. } = dep.flags;
        let content = if slow && !exhausted { Level::Complete } else { Level::Slow };
        let goal = match state.phase {
            Phase::Idle => Level::None,
            Phase::Fast => Level::Fast,
            Phase::SlowUnmatched if matched => Level::Fast,
            Phase::SlowUnmatched | Phase::SlowAll => content,
            Phase::Run => Level::Complete,
        };
        let node = state.node;
        self.want(edge, input, goal);
        if goal == Level::Complete && !ready {
            self.prepare(node, input);
        }
    }

    /// Changes what an edge does about its inputs.
    fn enter(&mut self, edge: EdgeId, phase: Phase) {
        if std::mem::replace(&mut self.edges[edge.at()].phase, phase) != phase {
            for input in 0..self.edges[edge.at()].deps.len() {
                self.pursue(edge, input);
            }
        }
    }

    /// Raises what is known of an edge.
    pub(super) fn raise(&mut self, edge: EdgeId, level: Level) {
        if self.edges[edge.at()].level < level {
            self.edges[edge.at()].level = level;
            self.notify(edge);
        }
    }

    fn advance_root(&mut self, edge: EdgeId, wanted: Level) {
        let node = self.edges[edge.at()].node;
        match wanted {
            Level::None | Level::Fast => {}
            Level::Slow if self.graph[node].options.ignore_cache => self.raise(edge, Level::Slow),
            Level::Slow => self.map(node),
            Level::Complete => {
                if self.take_output(edge) || self.use_cache(edge) {
                    return;
                }
                if self.graph[node].more { self.map(node) } else { self.execute(node) }
            }
        }
    }

    fn advance_inner(&mut self, edge: EdgeId, wanted: Level) {
        if wanted == Level::Complete && (self.take_output(edge) || self.use_cache(edge)) {
            return;
        }
        let state = &self.edges[edge.at()];
        let (node, sums) = (state.node, state.sums);
        let all = u32::try_from(state.deps.len()).unwrap_or(u32::MAX);
        let ignores = self.graph[node].options.ignore_cache;
        // A slow key might lead to more, in another source; but looking at what inputs contain has them computed or pulled.
        let satisfied = wanted == Level::Slow && sums.fast == all && !state.keys.is_empty();
        let hopeless = ignores || sums.dead > 0;
        let phase = if hopeless || sums.exhausted == all {
            if wanted == Level::Complete { Phase::Run } else { Phase::Fast }
        } else if sums.fast < all || wanted == Level::Fast || satisfied {
            Phase::Fast
        } else if sums.matched < all {
            Phase::SlowUnmatched
        } else {
            Phase::SlowAll
        };
        self.enter(edge, phase);
        let level = if hopeless || satisfied || sums.exhausted == all {
            Level::Slow
        } else if sums.fast == all {
            Level::Fast
        } else {
            Level::None
        };
        self.raise(edge, level);
        if phase == Phase::Run && self.edges[edge.at()].sums.ready == all {
            self.execute(node);
        }
    }

    /// Takes a result that the op has computed. True if there is one.
    fn take_output(&mut self, edge: EdgeId) -> bool {
        let state = &self.edges[edge.at()];
        if state.busy().is_some() {
            return true;
        }
        let (node, output) = (state.node, state.output as usize);
        match &mut self.graph[node].exec {
            Progress::Done(outputs) => {
                let known = outputs.len();
                match outputs.get_mut(output).map(Option::take) {
                    Some(Some(result)) => self.keep(edge, result, None),
                    // It was taken, and could not be kept.
                    Some(None) => {
                        self.graph[node].exec = Progress::Idle;
                        return false;
                    }
                    // Whoever asks for what is not there does not spoil the rest for others.
                    None => {
                        let vertex = (*self.graph[node].name).clone();
                        let reason = format!("{known} outputs, and output {output} is asked for");
                        let error = Error::Contract { vertex, stage: Stage::Exec, reason };
                        if self.graph[node].times().ended.is_none() {
                            self.ended(node, Some(&error));
                        }
                        self.fail(edge, Level::Complete, error);
                    }
                }
            }
            Progress::Running(..) => {}
            // A cache that is not waited for may still answer before it is its turn.
            Progress::Queued | Progress::Idle => return false,
        }
        true
    }
}
