//! The cache maps of a node, one after the other.

use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;

use crate::error::{Error, Stage};
use crate::machine::Machine;
use crate::machine::action::{Failure, Work};
use crate::machine::edge::Level;
use crate::machine::map_digest::MapDigest;
use crate::machine::node::{Map, Progress, Use};
use crate::machine::tickets::Task;
use crate::ops::CacheMap;
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// Asks for the next cache map.
    pub(super) fn map(&mut self, node: NodeIndex) {
        if !self.graph[node].mapping.is_idle() || !self.graph[node].more {
            return;
        }
        if !self.gates.maps.enter() {
            self.graph[node].mapping = Progress::Queued;
            return self.wait_in_all_turns(node);
        }
        self.graph[node].placed = true;
        let state = &self.graph[node];
        let (op, index, deadline) = (Arc::clone(&state.op), state.maps.len(), state.options.deadline);
        let ticket = self.start(node, Some(node), Task::CacheMap, Work::CacheMap { op, index, deadline });
        self.graph[node].mapping = Progress::Running(ticket, false);
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
}
