//! The op of a node, run once for all its edges and jobs: how it begins, ends, fails and is stopped.

use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;

use crate::error::{Error, OpError, Stage};
use crate::machine::action::{Failure, Work};
use crate::machine::edge::Level;
use crate::machine::node::Progress;
use crate::machine::tickets::Task;
use crate::machine::{Machine, TicketId};
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// Whether somebody wants an edge of a node at this level and does not have it.
    pub(super) fn is_wanted(&self, node: NodeIndex, level: Level) -> bool {
        self.graph[node].edges.iter().any(|edge| {
            let edge = &self.edges[edge.at()];
            edge.wanted() >= level && edge.finished.is_none()
        })
    }

    /// Runs the op, as soon as there is a place.
    pub(super) fn execute(&mut self, node: NodeIndex) {
        if !self.graph[node].exec.is_idle() {
            return;
        }
        let Some(gate) = self.gates.kinds.get_mut(&*self.graph[node].kind) else { return self.run(node) };
        if gate.enter() {
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

    /// Work of a node failed: told under `blamed`, whose work it was. What was cancelled may be begun again.
    pub(super) fn failed(
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
