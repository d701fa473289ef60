//! Results whose bytes turned out to be gone after the hit.
//!
//! The record is dropped and the edge evaluated without it: by another record, or by its op. Every record is used at most
//! once by an edge, and an op is run again at most once for that reason, and never if it has no inputs and has just run:
//! what a source has itself lost, running it again does not bring back. So it ends, with an error that lists everything
//! that the edge was tried to be had from.

use petgraph::stable_graph::NodeIndex;

use crate::error::{Cause, Error, Result, Tried};
use crate::ids::{Edge, JobId};
use crate::machine::edge::{EdgeId, Level, Origin, Phase};
use crate::machine::node::Progress;
use crate::machine::{LOCAL, Machine};
use crate::status::What;
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// An input that a node was given is gone.
    pub(super) fn input_lost(&mut self, node: NodeIndex, input: usize, generation: u32, cause: &Cause) {
        let edge = self.standing_for(self.graph[node].inputs[input]);
        // The cause of a loss that cannot be made good is told by the edge that lost; the consumer fails with it.
        let _ = self.lose(edge, generation, cause);
    }

    /// Says that what a job built is gone; the next build makes it again.
    pub(crate) fn lost(&mut self, job: JobId, edge: &Edge, generation: u32, cause: &Cause) -> Result<()> {
        if !self.knows(job) {
            return Err(Error::UnknownJob { job });
        }
        let Some(node) = self.held_by(job, &edge.vertex) else { return Err(Error::UnknownJob { job }) };
        let edge = self.edge(node, edge.output);
        let edge = self.standing_for(edge);
        self.lose(edge, generation, cause)
    }

    /// Evaluates an edge again without what it has now, if that is what is gone.
    fn lose(&mut self, edge: EdgeId, generation: u32, cause: &Cause) -> Result<()> {
        let state = &mut self.edges[edge.at()];
        let (node, output) = (state.node, state.output as usize);
        // It may have been lost to somebody else, and made again.
        if state.generation != generation || state.finished.is_none() {
            return Ok(());
        }
        let Some(finished) = state.finished.take() else { return Ok(()) };
        state.generation += 1;
        state.level = Level::Slow;
        // What it was doing about its inputs is decided anew, whatever is wanted of it by then.
        (state.asked, state.phase) = (Level::None, Phase::Idle);
        let name = (*self.graph[node].name).clone();
        let mut outcome = Ok(());
        match finished.origin {
            Origin::Loaded(candidate) => {
                self.forget(edge, candidate.source, candidate.record.result.id.clone());
                self.in_vain(edge, *candidate, Cause::clone(cause));
            }
            Origin::Executed => {
                let again = !self.graph[node].is_root() && self.edges[edge.at()].rare().recomputed == 0;
                self.edges[edge.at()].rare().recomputed += 1;
                // The run may be for another output that was lost; a run that is over may have made this one, too.
                let made = |outputs: &Vec<Option<R>>| outputs.get(output).is_some_and(Option::is_some);
                if self.graph[node].exec.done().is_some_and(|outputs| !made(outputs)) {
                    self.graph[node].exec = Progress::Idle;
                }
                let tried = &mut self.edges[edge.at()].rare().tried;
                if !again {
                    let tried = tried.as_slice().into();
                    outcome = Err(Error::Lost { vertex: name, tried, cause: Cause::clone(cause) });
                }
                tried.push(Tried::Exec { cause: Cause::clone(cause) });
            }
        }
        if let Some(saved) = finished.saved {
            self.forget(edge, LOCAL, saved.id.clone());
            self.refuse(edge, LOCAL, saved.id);
        }
        self.graph[node].cached = false;
        if let Some(times) = self.graph[node].times.as_deref_mut().filter(|times| !times.is_running()) {
            (times.started, times.ended) = (None, None);
        }
        self.tell(node, &What::Lost(cause.to_string()));
        self.unprepare(edge);
        if let Err(error) = &outcome {
            self.ended(node, Some(error));
            self.fail(edge, Level::Complete, error.clone());
        }
        self.notify(edge);
        self.touch(edge);
        outcome
    }

    /// What was done with a result that is gone has to be done again with the next.
    fn unprepare(&mut self, edge: EdgeId) {
        for (above, input) in self.edges[edge.at()].consumers.clone() {
            let Some(state) = self.edges.get(above.at()) else { continue };
            if state.deps.get(input as usize).is_none_or(|dep| dep.edge != edge) {
                continue;
            }
            let node = state.node;
            let Some(prepared) = self.graph[node].prepared.get_mut(input as usize) else { continue };
            // What runs finds, when it ends, that it worked on something older.
            if prepared.preprocess.done().is_some() {
                prepared.preprocess = Progress::Idle;
            }
            if prepared.slow.done().is_some() {
                prepared.slow = Progress::Idle;
                self.edges[above.at()].deps[input as usize].slow_probed = false;
                self.unidentify(above);
            }
        }
    }

    /// What an edge was by the content of an input it may not be any more: it stands for nothing until that is known anew.
    fn unidentify(&mut self, edge: EdgeId) {
        let state = &mut self.edges[edge.at()];
        if state.finished.is_some() {
            return;
        }
        state.unsigned = true;
        for identity in std::mem::take(&mut state.identities) {
            if self.identities.get(&identity) == Some(&edge) {
                self.identities.remove(&identity);
            }
        }
    }
}
