//! Remembering results, under keys that lead to them.

use crate::error::{Error, Stage, StoreError};
use crate::key::{KeyId, Link, Selector};
use crate::machine::action::Work;
use crate::machine::edge::{Candidate, EdgeId, Finished, Key, Level, Origin};
use crate::machine::node::Use;
use crate::machine::tickets::Task;
use crate::machine::{ANY, LOCAL, Machine};
use crate::store::StoredResult;
use crate::value::Value;
use std::sync::Arc;

/// Keys of an input that lead to a key, each with what is read of that input.
type Ways = Vec<(Option<Selector>, KeyId)>;

impl<R: Value> Machine<R> {
    /// Remembers a result that was computed, or that came `from` another source than the solver's own, and completes the
    /// edge with it once that is done.
    pub(super) fn keep(&mut self, edge: EdgeId, result: R, from: Option<Box<Candidate>>) {
        let mut links = Vec::new();
        // What was merged into it leads here, too.
        let absorbed = self.edges[edge.at()].rare.iter().flat_map(|rare| rare.absorbed.iter().copied());
        for edge in absorbed.collect::<Vec<_>>() {
            self.name_inputs(edge, &mut links);
        }
        let node = self.edges[edge.at()].node;
        if !self.graph[node].is_root() {
            // Keys it was found by may be those of results of other contents: this result gets the key of its own.
            self.edges[edge.at()].keys.clear_names();
        }
        self.name_here(edge, &mut links);
        let keys = self.edges[edge.at()].keys.local().to_vec();
        self.edges[edge.at()].doing().pending = Some(result.clone());
        // A copy is as old as what it is a copy of, or it would be taken for the newest.
        let created_at = from.as_ref().map(|from| from.record.result.created_at);
        let work = Work::Save { links, keys, result: Some(result), created_at };
        let ticket = self.start(node, None, Task::Save { edge, from }, work);
        self.edges[edge.at()].doing().busy = Some(ticket);
    }

    /// Gives the inputs of an edge keys in the solver's own cache if they have none.
    fn name_inputs(&mut self, edge: EdgeId, links: &mut Vec<(KeyId, Link, KeyId)>) {
        for input in 0..self.edges[edge.at()].deps.len() {
            let below = self.edges[edge.at()].deps[input].edge;
            if self.edges[below.at()].names().next().is_none() {
                self.name_here(below, links);
            }
        }
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
            if state.keys.first_local().is_none() {
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
                self.edges[edge.at()].keys.name(id);
            }
            let names = self.edges[edge.at()].keys.local();
            for (input, ways) in (0..).zip(ways) {
                for (selector, from) in ways {
                    for to in &names {
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
        let known = self.edges[edge.at()].keys.contains(key);
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

    /// Has a result that was remembered before an edge was merged into the one that has it be found by what leads to that
    /// edge: nothing else would, as soon as what stands for it has gone.
    pub(super) fn add_ways(&mut self, edge: EdgeId, into: EdgeId) {
        let state = &self.edges[into.at()];
        let (Some(op), node) = (self.op_key(into), state.node) else { return };
        if state.deps.is_empty() || state.finished.is_none() && !state.is_kept() {
            return;
        }
        let mut links = Vec::new();
        self.name_inputs(edge, &mut links);
        let known = self.ways_of([into]);
        for (input, (ways, known)) in (0..).zip(self.ways_of([edge]).into_iter().zip(known)) {
            // Not the content, for the reason that `join` has.
            let content = self.graph[self.edges[edge.at()].node].content(input as usize);
            let new = ways.into_iter().filter(|way| Some(way.1) != content && !known.contains(way));
            for (selector, from) in new {
                for to in self.edges[into.at()].keys.local() {
                    links.push((from, Link { op, input, selector: selector.clone() }, to));
                }
            }
        }
        if !links.is_empty() {
            self.start(
                node,
                None,
                Task::Join,
                Work::Save { links, keys: Vec::new(), result: None, created_at: None },
            );
        }
    }

    /// For each input the keys that lead to an edge's, with their selectors: those of edges that were merged into it, too.
    pub(super) fn ways(&self, edge: EdgeId) -> Vec<Ways> {
        let absorbed = self.edges[edge.at()].rare.iter().flat_map(|rare| rare.absorbed.iter().copied());
        self.ways_of(std::iter::once(edge).chain(absorbed))
    }

    /// The same of these edges alone, which have as many inputs each.
    fn ways_of(&self, edges: impl IntoIterator<Item = EdgeId>) -> Vec<Ways> {
        let mut ways: Vec<Ways> = Vec::new();
        for edge in edges {
            ways.resize_with(self.edges[edge.at()].deps.len(), Vec::new);
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
        let result = state.rest();
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
            state.keys.clear_names();
            state.keys.name(loaded.record.key);
        }
        state.finished = Some(finished);
        state.level = Level::Complete;
        // Its keys in the solver's own cache hold from now on, be the result computed or from elsewhere.
        if saved && !self.graph[node].is_root() && !self.graph[node].options.ignore_cache {
            for id in self.edges[edge.at()].keys.local() {
                let known = |key: Key| key.id == id && (key.source == LOCAL || key.source == ANY);
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
