//! Work that was begun and has not ended.

use crate::machine::action::{Action, Done, Place, Work};
use crate::machine::edge::{Candidate, EdgeId, Level};
use crate::machine::node::Progress;
use crate::machine::{Machine, SourceIx};
use crate::ops::Site;
use crate::status::Feed;
use crate::value::Value;
use petgraph::stable_graph::NodeIndex;
use std::sync::Arc;

/// A piece of work. Never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TicketId(pub(super) u64);

/// What a ticket is for.
#[derive(Clone, Debug)]
pub(super) enum Task {
    CacheMap,
    /// With the generations of the inputs it was given.
    Exec {
        inputs: Box<[u32]>,
    },
    Preprocess {
        input: usize,
        generation: u32,
        /// Whose result is prepared; below the consumer, so that it stays as long as the ticket is out.
        context: NodeIndex,
    },
    SlowDigest {
        input: usize,
        generation: u32,
    },
    Probe {
        edge: EdgeId,
        input: usize,
        source: SourceIx,
    },
    Records {
        edge: EdgeId,
        source: SourceIx,
    },
    Load {
        edge: EdgeId,
        candidate: Box<Candidate>,
    },
    Save {
        edge: EdgeId,
        from: Option<Box<Candidate>>,
    },
    /// Remembering links alone.
    Join,
    Forget,
}

/// Work that was begun.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    /// Whose work it is: the node stays as long as the ticket is out.
    pub(super) node: NodeIndex,
    pub(super) task: Task,
    /// Whether it was told to stop.
    pub(super) cancelled: bool,
    /// Whether nothing waits for it: a question to a source that not everybody who has the node has brought.
    pub(super) waived: bool,
}

/// For how many tickets there is always place.
const KEPT: usize = 64;

impl<R: Value> Machine<R> {
    /// Begins work of a node, in the context of a vertex if it needs one.
    pub(super) fn start(
        &mut self,
        node: NodeIndex,
        context: Option<NodeIndex>,
        task: Task,
        work: Work<R>,
    ) -> TicketId {
        let ticket = TicketId(self.serial());
        self.graph[node].tickets += 1;
        self.tickets.insert(ticket, Ticket { node, task, cancelled: false, waived: false });
        let place = context.map(|at| self.place(at));
        self.actions.push(Action::Start { ticket, place, work });
        ticket
    }

    pub(super) fn site(&self, node: NodeIndex) -> Site {
        Site { node, serial: self.graph[node].serial }
    }

    /// The context of a node.
    pub(super) fn place(&mut self, at: NodeIndex) -> Place {
        Place { site: self.site(at), name: Arc::clone(&self.graph[at].name), feed: self.feed(at) }
    }

    /// The feed of a node, for whoever works in its context.
    fn feed(&mut self, at: NodeIndex) -> Arc<Feed> {
        if let Some(feed) = &self.graph[at].feed {
            return Arc::clone(feed);
        }
        let feed = Arc::new(Feed::new(self.log_limit));
        for (name, journal) in self.listeners(at) {
            feed.attach(&name, &journal);
        }
        self.graph[at].feed = Some(Arc::clone(&feed));
        feed
    }

    /// Tells work to stop. It ends when it returns.
    pub(super) fn cancel(&mut self, ticket: TicketId) {
        if let Some(known) = self.tickets.get_mut(&ticket)
            && !known.cancelled
        {
            known.cancelled = true;
            self.actions.push(Action::Cancel { ticket });
        }
    }

    /// Takes note that work ended. A ticket that is not out (it was given up on) counts for nothing.
    pub(crate) fn step(&mut self, ticket: TicketId, done: Done<R>) {
        let Some(Ticket { node, task, cancelled, waived }) = self.tickets.remove(&ticket) else { return };
        self.graph[node].tickets -= 1;
        self.lookups.remove(&(node, ticket));
        // The map of what is out keeps the place that a large number of tickets took.
        if self.tickets.is_empty() && self.tickets.capacity() > KEPT {
            self.tickets.shrink_to(KEPT);
        }
        self.hush(node);
        match (task, done) {
            (Task::CacheMap, Done::CacheMap(outcome)) => self.mapped(node, cancelled, outcome),
            (Task::Exec { inputs }, Done::Exec(outcome)) => self.executed(node, &inputs, cancelled, outcome),
            (Task::Preprocess { input, generation, context }, Done::Preprocess(outcome)) => {
                self.preprocessed(node, input, (generation, context), cancelled, outcome);
            }
            (Task::SlowDigest { input, generation }, Done::SlowDigest(outcome)) => {
                self.digested(node, input, generation, cancelled, outcome);
            }
            (Task::Probe { edge, input, source }, Done::Probe(outcome)) => {
                if !waived {
                    self.edges[edge.at()].deps[input].probing -= 1;
                }
                self.probed(edge, input, source, outcome);
            }
            (Task::Records { edge, source }, Done::Records(outcome)) => {
                if !waived {
                    self.edges[edge.at()].asking -= 1;
                }
                self.recorded(edge, source, outcome);
            }
            (Task::Load { edge, candidate }, Done::Load(outcome)) => {
                self.loaded(edge, candidate, cancelled, outcome);
            }
            (Task::Save { edge, from }, Done::Save(outcome)) => self.saved(edge, from, outcome),
            (Task::Join, Done::Save(outcome)) => {
                if let Err(cause) = outcome {
                    self.tell_warning(node, format!("a way to a cached result was not remembered: {cause}"));
                }
            }
            (Task::Forget, Done::Forget(outcome)) => {
                if let Err(cause) = outcome {
                    self.tell_warning(node, format!("a lost record was not dropped: {cause}"));
                }
            }
            (task, _) => debug_assert!(false, "an end of another kind of work than {task:?}"),
        }
        self.let_go(node);
    }

    /// Marks an edge as one that something happened to.
    pub(super) fn touch(&mut self, edge: EdgeId) {
        let state = &mut self.edges[edge.at()];
        if state.queued {
            return;
        }
        state.queued = true;
        let job = self.graph[state.node].holders.first().map_or(crate::ids::JobId(0), |holder| holder.job);
        self.dirty.push(job, crate::machine::Step::Advance(edge));
    }

    /// Marks all edges of a node.
    pub(super) fn touch_node(&mut self, node: NodeIndex) {
        for edge in self.graph[node].edges.clone() {
            self.touch(edge);
        }
    }

    /// Marks an input of all edges of a node as changed.
    pub(super) fn touch_input(&mut self, node: NodeIndex, input: usize) {
        for edge in self.graph[node].edges.clone() {
            self.change(edge, input);
        }
    }

    /// Marks an input of an edge as changed.
    pub(super) fn change(&mut self, edge: EdgeId, input: usize) {
        let state = &mut self.edges[edge.at()];
        let Some(dep) = state.deps.get_mut(input) else { return };
        if !std::mem::replace(&mut dep.changed, true) {
            state.changed.push(u32::try_from(input).unwrap_or(u32::MAX));
        }
        self.touch(edge);
    }

    /// Tells the edges above that something is new, and forgets those that have gone.
    pub(super) fn notify(&mut self, edge: EdgeId) {
        let mut consumers = std::mem::take(&mut self.edges[edge.at()].consumers);
        consumers.retain(|(above, input)| {
            let state = self.edges.get(above.at());
            state.and_then(|state| state.deps.get(*input as usize)).is_some_and(|dep| dep.edge == edge)
        });
        for (above, input) in &consumers {
            self.change(*above, *input as usize);
        }
        self.edges[edge.at()].consumers = consumers;
    }

    /// Changes what an edge wants of one of its inputs.
    pub(super) fn want(&mut self, edge: EdgeId, input: usize, level: Level) {
        let dep = &mut self.edges[edge.at()].deps[input];
        let before = std::mem::replace(&mut dep.wanted, level);
        if before == level {
            return;
        }
        let below = dep.edge;
        let state = &mut self.edges[below.at()];
        let wanted = state.wanted();
        state.want(before, -1);
        state.want(level, 1);
        let fails = state.error().is_some_and(|(fails, _)| level >= *fails);
        if state.wanted() != wanted {
            self.touch(below);
        }
        if fails {
            self.change(edge, input);
        }
    }

    /// The edge that stands for this one.
    pub(super) fn standing_for(&self, mut edge: EdgeId) -> EdgeId {
        while let Some(into) = self.edges[edge.at()].merged_into {
            edge = into;
        }
        edge
    }

    /// Cancels what a piece of work of a node is doing, if it runs.
    pub(super) fn stop<T>(progress: &mut Progress<T>) -> Option<TicketId> {
        match progress {
            Progress::Running(ticket, stopped @ false) => {
                *stopped = true;
                Some(*ticket)
            }
            _ => None,
        }
    }
}
