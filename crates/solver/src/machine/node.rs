//! A vertex that some job holds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::error::Error;
use crate::ids::{JobId, VertexName};
use crate::key::{KeyId, Selector};
use crate::machine::SourceIx;
use crate::machine::edge::{EdgeId, Level};
use crate::machine::map_digest::MapDigest;
use crate::machine::tickets::TicketId;
use crate::ops::{CacheOpts, Dep, Op, Preprocess, SlowDigest};
use crate::status::Feed;
use crate::value::Value;
use crate::vertex::VertexOptions;

/// Somebody who holds a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) job: JobId,
    /// Whether the vertex is in one of its graphs; otherwise it holds it for one that was merged into it.
    pub(super) own: bool,
}

/// A cache map as it is kept.
pub(super) struct Map<R: Value> {
    pub(super) digest: MapDigest,
    pub(super) opts: CacheOpts,
    pub(super) deps: Box<[Use<R>]>,
}

/// How an input is used. Most are used as they are and as a whole, which is all that `None` says.
pub(super) struct Use<R: Value>(pub(super) Option<Box<Special<R>>>);

/// What is done with an input that is not used as it is and as a whole.
pub(super) struct Special<R: Value> {
    pub(super) selector: Option<Selector>,
    pub(super) digest: Option<Arc<dyn SlowDigest<R>>>,
    pub(super) preprocess: Option<Arc<dyn Preprocess<R>>>,
}

impl<R: Value> Use<R> {
    pub(super) fn of(dep: Dep<R>) -> Self {
        let Dep { selector, slow_digest: digest, preprocess } = dep;
        let plain = selector.is_none() && digest.is_none() && preprocess.is_none();
        Self((!plain).then(|| Box::new(Special { selector: selector.map(Selector), digest, preprocess })))
    }

    pub(super) fn selector(&self) -> Option<&Selector> {
        self.0.as_ref()?.selector.as_ref()
    }

    pub(super) fn slow_digest(&self) -> Option<&Arc<dyn SlowDigest<R>>> {
        self.0.as_ref()?.digest.as_ref()
    }

    pub(super) fn preprocess(&self) -> Option<&Arc<dyn Preprocess<R>>> {
        self.0.as_ref()?.preprocess.as_ref()
    }

    /// Whether nothing is done with the result of the input before it is used.
    pub(super) fn is_plain(&self) -> bool {
        self.slow_digest().is_none() && self.preprocess().is_none()
    }
}

/// How far a piece of work of a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress<T> {
    /// It was not begun, or has to be done again.
    #[default]
    Idle,
    /// It waits for a free place.
    Queued,
    /// It runs; `true` if it was told to stop.
    Running(TicketId, bool),
    /// It was done.
    Done(T),
}

impl<T> Progress<T> {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    pub(super) fn done(&self) -> Option<&T> {
        match self {
            Self::Done(done) => Some(done),
            _ => None,
        }
    }
}

/// What was done with the result of an input.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) preprocess: Progress<()>,
    pub(super) slow: Progress<KeyId>,
}

/// When things happened to a vertex.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    pub(super) started: Option<SystemTime>,
    pub(super) ended: Option<SystemTime>,
    /// If its outputs were ever prepared for anybody: those of most are not.
    preparing: Option<Box<Preparing>>,
}

/// When the outputs of a vertex were prepared for others.
#[derive(Clone, Debug, Default)]
struct Preparing {
    /// For how many others they are being prepared, and since when for any.
    others: u32,
    since: Option<SystemTime>,
    /// How long they were being prepared for any before.
    before: Duration,
}

impl Times {
    /// Whether the op runs.
    pub(super) fn is_running(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }

    /// One more preparation begins; says whether it is the only one.
    pub(super) fn prepares(&mut self, now: SystemTime) -> bool {
        let preparing = self.preparing.get_or_insert_default();
        preparing.others += 1;
        if preparing.others == 1 {
            preparing.since = Some(now);
        }
        preparing.others == 1
    }

    /// A preparation ended; says whether it was the last one.
    pub(super) fn prepared(&mut self, now: SystemTime) -> bool {
        let Some(preparing) = &mut self.preparing else { return false };
        preparing.others = preparing.others.saturating_sub(1);
        let since = if preparing.others == 0 { preparing.since.take() } else { None };
        preparing.before += elapsed(since, now);
        since.is_some()
    }

    /// Since when its outputs are being prepared for others, if they are.
    pub(super) fn preparing_since(&self) -> Option<SystemTime> {
        self.preparing.as_ref()?.since
    }

    /// How long its outputs were being prepared for others, until now if they still are.
    pub(super) fn preparing(&self, now: SystemTime) -> Duration {
        self.preparing
            .as_ref()
            .map_or(Duration::ZERO, |preparing| preparing.before + elapsed(preparing.since, now))
    }
}

/// How long it is since something, if there is such a thing. A clock that was set back counts for nothing.
fn elapsed(since: Option<SystemTime>, now: SystemTime) -> Duration {
    since.and_then(|since| now.duration_since(since).ok()).unwrap_or_default()
}

/// A vertex that some job holds.
pub(super) struct Node<R: Value> {
    pub(super) name: Arc<VertexName>,
    pub(super) op: Arc<dyn Op<R>>,
    pub(super) options: VertexOptions,
    pub(super) serial: u64,
    /// Its inputs as they are defined.
    pub(super) inputs: Box<[EdgeId]>,
    /// Its edges, those that somebody asked for: outputs are numbered as a definition likes, and need not be there.
    pub(super) edges: SmallVec<[EdgeId; 2]>,
    /// Greater than that of all its inputs, and of what they were merged into.
    pub(super) rank: u32,
    /// How many are above it: an input counts each time, and so does an edge that was merged into one of its own.
    pub(super) above: u32,
    pub(super) holders: SmallVec<[Holder; 1]>,
    /// Where keys of it are looked for.
    pub(super) sources: SmallVec<[SourceIx; 4]>,
    pub(super) maps: SmallVec<[Arc<Map<R>>; 1]>,
    /// Whether there are more maps.
    pub(super) more: bool,
    pub(super) mapping: Progress<()>,
    /// What was done with the results of inputs; empty until something is.
    pub(super) prepared: Box<[Prepared]>,
    pub(super) exec: Progress<Vec<Option<R>>>,
    /// What it failed with, for those who want at least this level.
    pub(super) error: Option<Box<(Level, Error)>>,
    /// Whether its cache map, or its op, takes one of the places that there are for such work.
    pub(super) placed: bool,
    /// How many tickets are out for it.
    pub(super) tickets: u32,
    /// Whether it was told that its result comes from a cache.
    pub(super) cached: bool,
    pub(super) times: Option<Box<Times>>,
    pub(super) feed: Option<Arc<Feed>>,
    pub(super) rare: Option<Box<RareNode>>,
}

/// What few nodes have.
#[derive(Default)]
pub(super) struct RareNode {
    /// Jobs that are builds within this one.
    pub(super) subs: Vec<JobId>,
    /// Nodes of which an edge was merged into one of this node: they are told what happens to it.
    pub(super) mirrors: BTreeSet<NodeIndex>,
    /// Sources of jobs that do not have it any more, which are asked nothing, but are named by what they have said.
    pub(super) former: Vec<SourceIx>,
    /// Whether it waits for a place, to be told what was built within it.
    pub(super) resuming: bool,
}

impl<R: Value> Node<R> {
    pub(super) fn is_root(&self) -> bool {
        self.inputs.is_empty()
    }

    /// How input `input` is used, once that is known.
    pub(super) fn usage(&self, input: usize) -> Option<&Use<R>> {
        self.maps.first()?.deps.get(input)
    }

    /// The key of the content of an input, once it is known.
    pub(super) fn content(&self, input: usize) -> Option<KeyId> {
        self.prepared.get(input)?.slow.done().copied()
    }

    /// What was done with an input, to be written to.
    pub(super) fn prepare(&mut self, input: usize) -> &mut Prepared {
        if self.prepared.is_empty() {
            self.prepared = std::iter::repeat_with(Prepared::default).take(self.inputs.len()).collect();
        }
        &mut self.prepared[input]
    }

    /// Whether an input is ready to be used: prepared, and with its content key.
    pub(super) fn is_prepared(&self, input: usize) -> bool {
        let Some(usage) = self.usage(input) else { return false };
        let Some(prepared) = self.prepared.get(input) else { return usage.is_plain() };
        (usage.preprocess().is_none() || prepared.preprocess.done().is_some())
            && (usage.slow_digest().is_none() || prepared.slow.done().is_some())
    }

    pub(super) fn rare(&mut self) -> &mut RareNode {
        self.rare.get_or_insert_default()
    }

    pub(super) fn times(&mut self) -> &mut Times {
        self.times.get_or_insert_default()
    }
}
