//! The state of everything active, as a synchronous machine: it is told what happened and says what to do.
//!
//! ```text
//!   scheduler ── step(Done) ─▶ Machine ── turn() ─▶ [Action] ── performed ─▶ Done …
//! ```
//!
//! It never waits, never does I/O, has no clock and no randomness: the same events in the same order make the same
//! actions. The scheduler performs actions; a simulation may perform them in any order it likes.
//!
//! * A [`Node`](node::Node) is a vertex that some job holds; an [`EdgeState`] is an output of it.
//! * An edge is wanted at a [`Level`](edge::Level) by jobs and by edges above it. [`advance`] decides, from what is known of
//!   it and of the edges below, what to ask of those and what to start. It is called for edges that something happened to,
//!   jobs in turn, and looks only at those inputs that changed: a vertex costs what its inputs cost, whatever is around it.
//! * Work is started under a ticket and ends by the ticket's return, cancelled or not. A node leaves when no job holds it
//!   and no ticket is out.
//!
//! | what happens | where |
//! |---|---|
//! | jobs come with sources and graphs; nodes are held as long as somebody needs them | [`jobs`], [`intake`], [`hold`] |
//! | what jobs ask for is answered, or withdrawn | [`requests`] |
//! | an edge goes on: cache maps, keys, records, inputs, the op | [`advance`], [`cache_maps`], [`cache`], [`inputs`], [`exec`] |
//! | jobs take turns, and wait for a place where there are limits | [`fair`], [`gates`] |
//! | an edge stands for another, a result is saved, is lost | [`merge`], [`save`], [`lost`] |
//! | work goes out and comes back | [`action`], [`tickets`] |
//! | others look on: options, sessions, events, reasons, pictures, exports | [`walk`], [`hearers`], [`tell`], [`explain`], [`view`], [`trace`] |
//!
//! What holds after each step stands in [`check`], which looks whether it does where the settings say so.

mod action;
mod advance;
mod arena;
mod cache;
mod cache_maps;
mod check;
mod doing;
mod edge;
mod exec;
mod explain;
mod fair;
mod gates;
mod hearers;
mod hold;
mod inputs;
mod intake;
mod jobs;
mod keys;
mod lost;
mod map_digest;
mod merge;
mod node;
mod nodes;
mod reached;
mod requests;
mod save;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod sizes;
mod tell;
mod tickets;
mod trace;
mod view;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use action::{Action, Done, Failure, Place, Work};
use arena::Arena;
pub(crate) use edge::EdgeId;
use edge::EdgeState;
use fair::FairQueue;
use gates::Gates;
use hashbrown::HashTable;
use jobs::JobState;
use nodes::Nodes;
use petgraph::stable_graph::NodeIndex;
use requests::Request;
pub(crate) use requests::{Answer, RequestId};
use slab::Slab;
use tickets::Ticket;
pub(crate) use tickets::TicketId;
pub(crate) use trace::{Trace, Traced, Way};

use crate::ids::JobId;
use crate::settings::Settings;
use crate::store::CacheSource;
use crate::value::Value;

/// A cache that is asked, by its place. Place 0 is the solver's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceIx(u32);

/// The solver's own cache.
const LOCAL: SourceIx = SourceIx(0);
/// The source of a key that is the same everywhere.
const ANY: SourceIx = SourceIx(u32::MAX);

/// A source with those who brought it.
struct SourceState<R: Value> {
    source: Arc<dyn CacheSource<R>>,
    /// Jobs that brought it; the solver's own counts one more.
    users: u32,
    /// It failed or was too slow: it is asked no more. What its jobs are told about that.
    dead: Option<Arc<str>>,
}

/// Something to be looked at.
#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(EdgeId),
    Load(JobId),
}

/// Everything active.
pub(crate) struct Machine<R: Value> {
    graph: Nodes<R>,
    /// Nodes by digest and by whether they ignore the cache.
    by_digest: HashTable<NodeIndex>,
    hasher: RandomState,
    edges: Arena<EdgeState<R>>,
    jobs: BTreeMap<JobId, JobState<R>>,
    sources: Slab<SourceState<R>>,
    tickets: HashMap<TicketId, Ticket>,
    /// Questions to others than the solver's own cache that somebody waits for, by node.
    lookups: BTreeSet<(NodeIndex, TicketId)>,
    requests: HashMap<RequestId, Request>,
    /// Edges that stand for what has this identity.
    identities: HashMap<merge::Identity, EdgeId>,
    /// Edges that something happened to, and graphs to be loaded.
    dirty: FairQueue<Step>,
    gates: Gates,
    actions: Vec<Action<R>>,
    /// Where a walk has been: the number of the last walk that visited a place.
    visited: Vec<u32>,
    walks: u32,
    next: u64,
    next_job: u32,
    now: SystemTime,
    log_limit: usize,
    check: bool,
    /// How long a source other than the solver's own may take for an answer.
    patience: Duration,
}

impl<R: Value> Machine<R> {
    pub(crate) fn new(local: Arc<dyn CacheSource<R>>, settings: &Settings) -> Self {
        let mut sources = Slab::new();
        sources.insert(SourceState { source: local, users: 1, dead: None });
        Self {
            graph: Nodes::new(),
            by_digest: HashTable::new(),
            hasher: RandomState::new(),
            edges: Arena::default(),
            jobs: BTreeMap::new(),
            sources,
            tickets: HashMap::new(),
            lookups: BTreeSet::new(),
            requests: HashMap::new(),
            identities: HashMap::new(),
            dirty: FairQueue::default(),
            gates: Gates::new(settings),
            actions: Vec::new(),
            visited: Vec::new(),
            walks: 0,
            next: 0,
            next_job: 0,
            now: SystemTime::UNIX_EPOCH,
            log_limit: settings.log_limit,
            check: settings.check,
            patience: settings.source_deadline,
        }
    }

    /// Sets the time that everything happens at until it is set again.
    pub(crate) fn clock(&mut self, now: SystemTime) {
        self.now = now;
    }

    /// Advances edges and takes in vertices, at most `budget` of both, jobs in turn, and says whether there are more.
    pub(crate) fn turn(&mut self, budget: usize) -> bool {
        let mut done = 0;
        while done < budget {
            done += match self.dirty.pop() {
                Some(Step::Advance(edge)) => {
                    self.advance(edge);
                    1
                }
                Some(Step::Load(job)) => {
                    self.load_some(job);
                    intake::AT_ONCE
                }
                None => break,
            };
        }
        if self.check {
            self.assert_sound();
        }
        !self.dirty.is_empty()
    }

    /// What is to be done.
    pub(crate) fn actions(&mut self) -> Vec<Action<R>> {
        std::mem::take(&mut self.actions)
    }

    fn serial(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
