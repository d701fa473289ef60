//! How many cache maps are asked for and ops run at once, and who waits for a place.

use std::collections::BTreeMap;
use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;

use crate::ids::JobId;
use crate::machine::Machine;
use crate::machine::edge::{EdgeId, Level};
use crate::machine::fair::FairQueue;
use crate::machine::node::Progress;
use crate::settings::Settings;
use crate::value::Value;

/// How many run at once, and who waits.
pub(super) struct Gate {
    limit: usize,
    running: usize,
    waiting: FairQueue<NodeIndex>,
}

impl Gate {
    fn of(limit: usize) -> Self {
        Self { limit: limit.max(1), running: 0, waiting: FairQueue::default() }
    }

    /// Takes a place, if there is one.
    pub(super) fn enter(&mut self) -> bool {
        let free = self.running < self.limit;
        self.running += usize::from(free);
        free
    }
}

/// The limits of parallelism.
pub(super) struct Gates {
    pub(super) kinds: BTreeMap<String, Gate>,
    pub(super) maps: Gate,
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
        let resuming = state.rare.as_ref().is_some_and(|rare| rare.resuming);
        if matches!(state.mapping, Progress::Queued)
            || (resuming && matches!(state.mapping, Progress::Running(..)))
        {
            self.gates.maps.waiting.push(job, node);
        } else if (matches!(state.exec, Progress::Queued)
            || (resuming && matches!(state.exec, Progress::Running(..))))
            && let Some(gate) = self.gates.kinds.get_mut(state.op.kind())
        {
            gate.waiting.push(job, node);
        }
    }

    /// Has a node that waits for a place wait in the turns of all who have it.
    pub(super) fn wait_in_all_turns(&mut self, node: NodeIndex) {
        for holder in self.graph[node].holders.clone() {
            self.wait_in_turn(holder.job, node);
        }
    }

    /// Gives up the place that a node's cache map or op takes, to the next who waits. Whoever waits for a build within
    /// its own must not keep that from a place.
    pub(super) fn give_place(&mut self, node: NodeIndex) {
        if let Some(rare) = &mut self.graph[node].rare {
            rare.resuming = false;
        }
        if !std::mem::take(&mut self.graph[node].placed) {
            return;
        }
        match self.graph[node].mapping {
            Progress::Running(..) => self.next_map(),
            _ => self.next_exec(node),
        }
    }

    /// Whether a node may be told what was built within it: it goes on then, with a place. Where there is none now it waits
    /// for its turn. While it waits for other builds it needs none: one that kept them from a place would wait for ever.
    pub(super) fn resume(&mut self, node: NodeIndex) -> bool {
        let state = &self.graph[node];
        if state.placed || state.holders.is_empty() {
            return true;
        }
        let gate = match (&state.mapping, &state.exec) {
            (Progress::Running(_, false), _) => Some(&self.gates.maps),
            (_, Progress::Running(_, false)) => self.gates.kinds.get(state.op.kind()),
            _ => None,
        };
        let Some(gate) = gate else { return true };
        let full = gate.running >= gate.limit;
        if self.is_kept_within(node) {
            return true;
        }
        if !full {
            self.take_place(node);
        } else if !std::mem::replace(&mut self.graph[node].rare().resuming, true) {
            self.wait_in_all_turns(node);
        }
        !full
    }

    /// Has a node whose turn it is to go on do so, and says whether it is one.
    fn resumes(&mut self, node: NodeIndex) -> bool {
        let Some(rare) = self.graph.node_weight_mut(node).and_then(|state| state.rare.as_mut()) else {
            return false;
        };
        if !std::mem::take(&mut rare.resuming) {
            return false;
        }
        let told = self.built_within(node);
        // It may have begun another build, or have stopped to wait, since.
        if !told.is_empty() && !self.is_kept_within(node) {
            self.take_place(node);
        }
        told.into_iter().for_each(|edge| self.touch(edge));
        true
    }

    /// Takes a place for what a node does.
    fn take_place(&mut self, node: NodeIndex) {
        let state = &mut self.graph[node];
        let gate = match state.mapping {
            Progress::Running(..) => Some(&mut self.gates.maps),
            _ => self.gates.kinds.get_mut(state.op.kind()),
        };
        if let Some(gate) = gate {
            state.placed = true;
            gate.running += 1;
        }
    }

    fn next_map(&mut self) {
        self.gates.maps.running -= 1;
        while self.gates.maps.running < self.gates.maps.limit {
            let Some(node) = self.gates.maps.waiting.pop() else { return };
            if self.resumes(node) {
                continue;
            }
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
            if self.resumes(next) {
                continue;
            }
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
        // What was found in a cache meanwhile is loaded, or will be.
        let runs = |edge: &EdgeId| {
            let edge = &self.edges[edge.at()];
            edge.wanted() == Level::Complete
                && edge.finished.is_none()
                && edge.busy().is_none()
                && edge.candidates().is_empty()
        };
        state.edges.iter().any(runs) && state.inputs.iter().enumerate().all(has)
    }
}
