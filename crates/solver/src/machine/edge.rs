//! An output of a node, and what is known of it.

use smallvec::SmallVec;

use crate::error::{Error, Tried};
use crate::key::KeyId;
use crate::machine::doing::Doing;
use crate::machine::keys::Keys;
use crate::machine::merge::Identity;
use crate::machine::reached::Reached;
use crate::machine::{LOCAL, SourceIx};
use crate::store::{Record, StoredResult};
use petgraph::stable_graph::NodeIndex;
use std::collections::BTreeSet;

/// An edge by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EdgeId(pub(super) u32);

impl EdgeId {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

/// How much of an edge is known, and how much somebody wants to know. Each costs more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing.
    #[default]
    None,
    /// The keys that follow from definitions.
    Fast,
    /// The keys that follow from the contents of inputs.
    Slow,
    /// The result.
    Complete,
}

/// A key of an edge that leads somewhere in the source it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) source: SourceIx,
    pub(super) id: KeyId,
}

/// What an edge does about its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody wants it.
    #[default]
    Idle,
    /// The fast keys of all inputs.
    Fast,
    /// Slow keys of the inputs that no key matches yet.
    SlowUnmatched,
    /// Slow keys of all inputs: each is matched, but not all by the same key.
    SlowAll,
    /// Results of all inputs: the op has to run.
    Run,
}

/// Where a result came from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Executed,
    Loaded(Box<Candidate>),
}

/// A result of an edge.
#[derive(Clone)]
pub(super) struct Finished<R> {
    pub(super) result: R,
    pub(super) origin: Origin,
    /// What the solver's own cache knows it as, if it was saved there by this run.
    pub(super) saved: Option<StoredResult>,
}

/// A record that may be loaded.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) source: SourceIx,
    pub(super) record: Record,
}

impl Candidate {
    /// Whether both are the same result of the same source.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.source == other.source && self.record.result.id == other.record.result.id
    }
}

/// How an edge stands to one of its inputs.
#[derive(Clone, Debug)]
pub(super) struct DepState {
    /// The input, or what it was merged into.
    pub(super) edge: EdgeId,
    /// How many of its keys were asked about.
    pub(super) keys_seen: u32,
    /// How many answers are outstanding.
    pub(super) probing: u32,
    /// What this edge wants of it.
    pub(super) wanted: Level,
    /// Whether any key of it leads to a key of this edge.
    pub(super) matched: bool,
    /// Whether its content key was asked about.
    pub(super) slow_probed: bool,
    /// Whether it stands in `changed`.
    pub(super) changed: bool,
    pub(super) flags: Flags,
}

impl DepState {
    pub(super) fn of(edge: EdgeId) -> Self {
        Self {
            edge,
            keys_seen: 0,
            probing: 0,
            wanted: Level::None,
            matched: false,
            slow_probed: false,
            changed: false,
            flags: Flags::default(),
        }
    }
}

/// What holds of an input; summed over all of them, what an edge decides by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// All its fast keys were asked about.
    pub(super) fast: bool,
    /// All its keys were asked about, but for that of its content.
    pub(super) slow: bool,
    /// So was that of its content, if there is to be one.
    pub(super) exhausted: bool,
    /// Some key of it matches.
    pub(super) matched: bool,
    /// It has a result, prepared for use, with its content key.
    pub(super) ready: bool,
}

/// How many inputs have each flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) fast: u32,
    pub(super) slow: u32,
    pub(super) exhausted: u32,
    pub(super) matched: u32,
    /// Those that no key will ever match.
    pub(super) dead: u32,
    pub(super) ready: u32,
}

impl Sums {
    pub(super) fn add(&mut self, flags: Flags) {
        self.fast += u32::from(flags.fast);
        self.slow += u32::from(flags.slow);
        self.exhausted += u32::from(flags.exhausted);
        self.matched += u32::from(flags.matched);
        self.dead += u32::from(flags.exhausted && !flags.matched);
        self.ready += u32::from(flags.ready);
    }

    pub(super) fn take(&mut self, flags: Flags) {
        self.fast -= u32::from(flags.fast);
        self.slow -= u32::from(flags.slow);
        self.exhausted -= u32::from(flags.exhausted);
        self.matched -= u32::from(flags.matched);
        self.dead -= u32::from(flags.exhausted && !flags.matched);
        self.ready -= u32::from(flags.ready);
    }
}

/// What is rarely there, kept apart to keep edges small.
#[derive(Default)]
pub(super) struct Rare {
    /// Results, by source, that turned out to be gone or not to be had: not to be used again.
    pub(super) refused: Vec<(SourceIx, crate::store::ResultId)>,
    /// What it was tried to have its result from, in vain.
    pub(super) tried: Vec<Tried>,
    /// Edges that were merged into this one.
    pub(super) absorbed: BTreeSet<EdgeId>,
    /// What it failed with, for those who want at least this level.
    pub(super) error: Option<(Level, Error)>,
    /// How often it was computed anew because the result was gone.
    pub(super) recomputed: u32,
}

/// An output of a node.
pub(super) struct EdgeState<R> {
    pub(super) node: NodeIndex,
    pub(super) output: u32,
    /// How many want it at each level from `Fast` on.
    pub(super) wants: [u32; 3],
    /// What was wanted when it was last advanced.
    pub(super) asked: Level,
    pub(super) level: Level,
    pub(super) phase: Phase,
    /// Whether it stands in the queue.
    pub(super) queued: bool,
    /// Whether its identity has to be looked up.
    pub(super) unsigned: bool,
    /// How many of its node's cache maps were taken up.
    pub(super) maps_seen: u32,
    /// How many results it has had.
    pub(super) generation: u32,
    /// How many of its keys were asked for records.
    pub(super) keys_asked: u32,
    /// How many answers about records are outstanding.
    pub(super) asking: u32,
    /// How many answers of the solver's own cache are outstanding, about keys and records.
    pub(super) asking_here: u32,
    pub(super) sums: Sums,
    pub(super) keys: Keys,
    /// Keys that not all inputs lead to yet.
    pub(super) reached: Option<Box<Reached>>,
    pub(super) deps: Box<[DepState]>,
    pub(super) changed: SmallVec<[u32; 2]>,
    /// Edges that have it as input, with the position. Some may have gone or have another input there by now.
    pub(super) consumers: SmallVec<[(EdgeId, u32); 2]>,
    pub(super) finished: Option<Finished<R>>,
    pub(super) doing: Option<Box<Doing<R>>>,
    pub(super) identities: SmallVec<[Identity; 2]>,
    pub(super) merged_into: Option<EdgeId>,
    pub(super) rare: Option<Box<Rare>>,
}

impl<R> EdgeState<R> {
    pub(super) fn of(node: NodeIndex, output: u32) -> Self {
        Self {
            node,
            output,
            wants: [0; 3],
            asked: Level::None,
            level: Level::None,
            phase: Phase::Idle,
            queued: false,
            unsigned: false,
            maps_seen: 0,
            generation: 0,
            keys_asked: 0,
            asking: 0,
            asking_here: 0,
            sums: Sums::default(),
            keys: Keys::default(),
            reached: None,
            deps: Box::default(),
            changed: SmallVec::new(),
            consumers: SmallVec::new(),
            finished: None,
            doing: None,
            identities: SmallVec::new(),
            merged_into: None,
            rare: None,
        }
    }

    /// The most that anybody wants.
    pub(super) fn wanted(&self) -> Level {
        let [fast, slow, complete] = self.wants;
        if complete > 0 {
            Level::Complete
        } else if slow > 0 {
            Level::Slow
        } else if fast > 0 {
            Level::Fast
        } else {
            Level::None
        }
    }

    pub(super) fn want(&mut self, level: Level, change: i32) {
        let at = match level {
            Level::None => return,
            Level::Fast => 0,
            Level::Slow => 1,
            Level::Complete => 2,
        };
        self.wants[at] = self.wants[at].saturating_add_signed(change);
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn error(&self) -> Option<&(Level, Error)> {
        self.rare.as_ref()?.error.as_ref()
    }

    pub(super) fn refuses(&self, candidate: &Candidate) -> bool {
        let refused = self.rare.iter().flat_map(|rare| &rare.refused);
        refused
            .into_iter()
            .any(|(source, id)| *source == candidate.source && *id == candidate.record.result.id)
    }

    /// Whether anything it has was said by a source.
    pub(super) fn is_told_by(&self, source: SourceIx) -> bool {
        let loaded = self.finished.as_ref().map(|finished| &finished.origin);
        self.keys.iter().any(|key| key.source == source)
            || self.candidates().iter().any(|candidate| candidate.source == source)
            || self.reached.as_ref().is_some_and(|reached| reached.names(source))
            || self.rare.as_ref().is_some_and(|rare| rare.refused.iter().any(|(from, _)| *from == source))
            || matches!(loaded, Some(Origin::Loaded(candidate)) if candidate.source == source)
    }

    /// Its keys in the solver's own cache: those of its result or, as long as it has none, those it is found by.
    pub(super) fn names(&self) -> impl Iterator<Item = KeyId> + '_ {
        let found = self.keys_here().filter(|key| self.finished.is_none() && !self.keys.is_name(*key));
        self.keys.local().into_iter().chain(found)
    }

    /// The keys that the solver's own cache has given it.
    pub(super) fn keys_here(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.iter().filter(|key| key.source == LOCAL).map(|key| key.id)
    }
}
