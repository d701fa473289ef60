//! Remembering results, under keys that lead to them.

use crate::error::{Error, Stage, StoreError};
use crate::key::{KeyId, Link};
use crate::machine::action::Work;
use crate::machine::edge::{Candidate, EdgeId, Finished, Key, Level, Origin};
use crate::machine::node::Use;
use crate::machine::tickets::Task;
use crate::machine::{ANY, LOCAL, Machine};
use crate::store::StoredResult;
use crate::value::Value;
use smallvec::SmallVec;
use std::sync::Arc;

impl<R: Value> Machine<R> {
    /// Remembers a result that was computed, or that came `from` another source than the solver's own, and completes the
    /// edge with it once that is done.
    pub(super) fn keep(&mut self, edge: EdgeId, result: R, from: Option<Box<Candidate>>) {
        let mut links = Vec::new();
        let node = self.edges[edge.at()].node;
        if !self.graph[node].is_root() {
            // Keys it was found by may be those of results of other contents: this result gets the key of its own.
            self.edges[edge.at()].local.clear();
        }
        self.name_here(edge, &mut links);
        let keys = self.edges[edge.at()].local.to_vec();
        self.edges[edge.at()].pending = Some(result.clone());
        // A copy is as old as what it is a copy of, or it would be taken for the newest.
        let created_at = from.as_ref().map(|from| from.record.result.created_at);
        let work = Work::Save { links, keys, result: Some(result), created_at };
        let ticket = self.start(node, None, Task::Save { edge, from }, work);
        self.edges[edge.at()].busy = Some(ticket);
    }

    /// Gives an edge, and those below it that have none, keys in the solver's own cache, and says over which links they are
    /// reached. Without recursion: a chain may be long.
    fn name_here(&mut self, edge: EdgeId, links: &mut Vec<(KeyId, Link, KeyId)>) {
        let mut stack = vec![(edge, false)];
        while let Some((edge, below_done)) = stack.pop() {
            let state = &self.edges[edge.at()];
            if !below_done {
                stack.push((edge, true));
                let unnamed = state
                    .deps
                    .iter()
                    .map(|dep| dep.edge)
                    .filter(|below| self.edges[below.at()].names().next().is_none());
                stack.extend(unnamed.map(|below| (below, false)));
                continue;
            }
            let Some(op) = self.op_key(edge) else { continue };
            if state.deps.is_empty() {
                continue;
            }
            let ways = self.ways(edge);
            if state.local.is_empty() {
                // The same ways make the same key in every process. What is known of an input's content names it better than
                // its definition, which may have come out differently before: the way of the content is the last.
                let content = |input: usize| self.graph[self.edges[edge.at()].node].content(input);
                let first = ways.iter().enumerate().map(|(input, ways)| {
                    content(input).map(|content| (None, content)).or_else(|| ways.first().cloned())
                });
                let Some(first) = first.collect::<Option<Vec<_>>>() else { continue };
                let named = first
                    .iter()
                    .map(|(selector, from)| (selector.as_ref().map(|selector| &selector.0), *from));
                let id = KeyId::derived(op, named);
                self.edges[edge.at()].local.push(id);
            }
            for (input, ways) in (0..).zip(ways) {
                for (selector, from) in ways {
                    for to in &self.edges[edge.at()].local {
                        links.push((from, Link { op, input, selector: selector.clone() }, *to));
                    }
                }
            }
        }
    }

    /// Has the definitions of all inputs lead to a key that the content of one has led to: next time they are enough, and
    /// nothing has to be computed for its content to be seen. (BuildKit's `Query` joins keys likewise, but contents, too,
    /// so that one may come to lead to what was made of another.)
    pub(super) fn join(&mut self, edge: EdgeId, key: Key) {
        let (node, op) = (self.edges[edge.at()].node, self.op_key(edge));
        let inputs = self.edges[edge.at()].deps.len();
        let by_content = (0..inputs).any(|input| self.graph[node].content(input).is_some());
        let known = self.edges[edge.at()].keys.contains(&key);
        let Some(op) = op.filter(|_| by_content && !known && key.source == LOCAL) else { return };
        let mut links = Vec::new();
        for (input, ways) in (0..).zip(self.ways(edge)) {
            let content = self.graph[node].content(input as usize);
            let defined = ways.into_iter().filter(|(_, from)| Some(*from) != content);
            links.extend(defined.map(|(selector, from)| (from, Link { op, input, selector }, key.id)));
        }
        let work = Work::Save { links, keys: Vec::new(), result: None, created_at: None };
        self.start(node, None, Task::Join, work);
    }

    /// For each input the keys that lead to an edge's, with their selectors: those of edges that were merged into it, too.
    pub(super) fn ways(&self, edge: EdgeId) -> Vec<Vec<(Option<crate::key::Selector>, KeyId)>> {
        let state = &self.edges[edge.at()];
        let mut ways = vec![Vec::new(); state.deps.len()];
        let absorbed = state.rare.iter().flat_map(|rare| rare.absorbed.iter().copied());
        for edge in std::iter::once(edge).chain(absorbed) {
            let state = &self.edges[edge.at()];
            let node = &self.graph[state.node];
            for (input, (dep, ways)) in state.deps.iter().zip(&mut ways).enumerate() {
                let selector = node.usage(input).and_then(Use::selector).cloned();
                let keys = self.edges[dep.edge.at()].names();
                let content = node.content(input).map(|content| (None, content));
                for way in keys.map(|key| (selector.clone(), key)).chain(content) {
                    if !ways.contains(&way) {
                        ways.push(way);
                    }
                }
            }
        }
        ways
    }

    /// A result was remembered, or was not.
    pub(super) fn saved(
        &mut self,
        edge: EdgeId,
        from: Option<Box<Candidate>>,
        outcome: Result<Option<StoredResult>, StoreError>,
    ) {
        let state = &mut self.edges[edge.at()];
        state.busy = None;
        let result = state.pending.take();
        self.touch(edge);
        match outcome {
            Ok(saved) => {
                let Some(result) = result else { return };
                let origin = from.map_or(Origin::Executed, Origin::Loaded);
                self.complete(edge, Finished { result, origin, saved });
            }
            Err(cause) => {
                let node = self.edges[edge.at()].node;
                let vertex = (*self.graph[node].name).clone();
                let store = self.sources[LOCAL.0 as usize].source.name().into();
                let error = Error::Store { vertex, stage: Stage::Save, store, cause: Arc::new(cause) };
                self.fail_node(node, Level::Complete, error);
            }
        }
    }

    /// An edge has a result.
    pub(super) fn complete(&mut self, edge: EdgeId, finished: Finished<R>) {
        let executed = matches!(finished.origin, Origin::Executed);
        let saved = finished.saved.is_some();
        let state = &mut self.edges[edge.at()];
        let node = state.node;
        if let Origin::Loaded(loaded) = &finished.origin
            && !saved
            && !self.graph[node].is_root()
        {
            state.local = SmallVec::from_slice(&[loaded.record.key]);
        }
        state.finished = Some(finished);
        state.level = Level::Complete;
        // Its keys in the solver's own cache hold from now on, be the result computed or from elsewhere.
        if saved && !self.graph[node].is_root() && !self.graph[node].options.ignore_cache {
            for id in self.edges[edge.at()].local.clone() {
                let known = |key: &Key| key.id == id && (key.source == LOCAL || key.source == ANY);
                if !self.edges[edge.at()].keys.iter().any(known) {
                    self.found(edge, Key { source: LOCAL, id });
                }
            }
        }
        if executed {
            // Another output of it may have told so, or a loss that the op runs again.
            if self.graph[node].times().is_running() {
                self.ended(node, None);
            }
        } else {
            self.was_cached(node);
        }
        self.notify(edge);
        self.touch(edge);
    }
}
