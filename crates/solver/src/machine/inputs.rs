//! What is done with the inputs of a node before its op runs: they are prepared, and the keys of their content found.

use std::sync::Arc;

use oci_spec::image::Digest;
use petgraph::stable_graph::NodeIndex;

use crate::error::{OpError, Stage};
use crate::key::KeyId;
use crate::machine::Machine;
use crate::machine::action::{Failure, Work};
use crate::machine::edge::Level;
use crate::machine::merge::MANY;
use crate::machine::node::{Prepared, Progress};
use crate::machine::tickets::Task;
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// Prepares an input of a node that has a result, and finds the key of its content, one after the other.
    pub(super) fn prepare(&mut self, node: NodeIndex, input: usize) {
        let below = self.standing_for(self.graph[node].inputs[input]);
        let edge = &self.edges[below.at()];
        let Some(finished) = &edge.finished else { return };
        let (result, generation, context) = (finished.result.clone(), edge.generation, edge.node);
        let state = &mut self.graph[node];
        let deadline = state.options.deadline;
        let Some(usage) = state.maps.first().map(Arc::clone) else { return };
        let Some(usage) = usage.deps.get(input) else { return };
        if usage.is_plain() {
            return;
        }
        let prepared = state.prepare(input);
        if let Some(preprocess) = usage.preprocess().filter(|_| prepared.preprocess.done().is_none()) {
            if prepared.preprocess.is_idle() {
                let work = Work::Preprocess { what: Arc::clone(preprocess), input: result, deadline };
                let task = Task::Preprocess { input, generation, context };
                let ticket = self.start(node, Some(context), task, work);
                self.graph[node].prepare(input).preprocess = Progress::Running(ticket, false);
                self.preparing(context);
            }
            return;
        }
        if let Some(digest) = usage.slow_digest().filter(|_| prepared.slow.is_idle()) {
            let work = Work::SlowDigest { what: Arc::clone(digest), input: result, deadline };
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
        // It is merged into nothing as long as inputs are being prepared; it may be now.
        let state = &self.graph[node];
        let is_running = |input: &Prepared| matches!(input.preprocess, Progress::Running(..));
        if state.inputs.len() <= MANY && state.exec.is_idle() && !state.prepared.iter().any(is_running) {
            for edge in state.edges.clone() {
                self.edges[edge.at()].unsigned = true;
            }
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
}
