//! What must hold of whatever the machine does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use oci_spec::image::Digest;
use petgraph::stable_graph::NodeIndex;

use super::life::Setting;
use super::store::Cache;
use super::world::World;
use crate::error::{Error, Stage};
use crate::key::{KeyId, Link, Selector};
use crate::machine::edge::{EdgeId, EdgeState, Level, Origin, Phase};
use crate::machine::node::{Node, Progress};
use crate::machine::tickets::Task;
use crate::machine::{ANY, Failure, LOCAL, Machine, SourceIx, TicketId};
use crate::store::{MemoryKeys, ResultId};

/// How often a vertex ran, as long as it is active.
#[derive(Default)]
struct Runs {
    running: bool,
    ended: u32,
    /// How often it may run again since something was lost.
    grants: u32,
}

/// What happened that laws refer to.
pub(super) struct Laws {
    /// What the cache held before this machine.
    before: Arc<MemoryKeys>,
    runs: HashMap<u64, Runs>,
    maps: HashSet<(u64, usize)>,
    prepared: HashMap<(u64, usize), u32>,
    /// What was made to fail.
    pub(super) failed: HashSet<(Digest, Stage)>,
    /// Classes of vertices whose results were said to be lost.
    lost: HashSet<i64>,
    /// Results that could not be loaded, or were lost.
    pub(super) spoiled: HashSet<ResultId>,
    /// The solver's own cache failed.
    pub(super) broken: bool,
    pub(super) last_lost: usize,
    /// Something was asked for that was never answered before.
    pub(super) news: bool,
    pub(super) answered: HashSet<(usize, u32)>,
    /// Which of those vertices that are the same have run, with the moment from which on the cache has what came of it.
    ran: HashMap<usize, Option<u64>>,
    /// When the cache was first asked for a vertex.
    asked: HashMap<u64, u64>,
    /// How much has begun.
    pub(super) now: u64,
}

impl Laws {
    pub(super) fn new(setting: &Setting<'_>) -> Self {
        Self {
            before: Arc::new(setting.local.keys.copied()),
            runs: HashMap::new(),
            maps: HashSet::new(),
            prepared: HashMap::new(),
            failed: HashSet::new(),
            lost: HashSet::new(),
            spoiled: HashSet::new(),
            broken: false,
            last_lost: 0,
            news: false,
            answered: HashSet::new(),
            ran: HashMap::new(),
            asked: HashMap::new(),
            now: 0,
        }
    }

    /// An op may run once more.
    pub(super) fn grant(&mut self, serial: u64) {
        self.runs.entry(serial).or_default().grants += 1;
    }

    /// A result is said to be gone.
    pub(super) fn lost(&mut self, machine: &Machine<i64>, world: &World, edge: EdgeId) {
        let state = &machine.edges[edge.at()];
        let node = &machine.graph[state.node];
        self.grant(node.serial);
        self.lost.insert(world.specs[world.at(&node.name.digest)].class);
        if let Some(finished) = &state.finished {
            if let Origin::Loaded(candidate) = &finished.origin {
                self.spoiled.insert(candidate.record.result.id.clone());
            }
            self.spoiled.extend(finished.saved.iter().map(|saved| saved.id.clone()));
        }
    }

    /// What nobody holds any more may begin anew if somebody comes.
    pub(super) fn forsaken(&mut self, machine: &Machine<i64>) {
        for node in machine.graph.iter().filter(|node| node.holders.is_empty()) {
            self.grant(node.serial);
        }
    }

    /// Each cache map is answered once.
    pub(super) fn mapped(&mut self, serial: u64, index: usize, answered: bool) {
        assert!(!answered || self.maps.insert((serial, index)), "cache map {index} was asked for twice");
    }

    pub(super) fn prepared(&mut self, serial: u64, input: usize, generation: u32, done: bool) {
        if done {
            self.prepared.insert((serial, input), generation);
        }
    }

    /// An op returned.
    pub(super) fn ran(
        &mut self,
        serial: u64,
        same: usize,
        outcome: &Result<Vec<i64>, Failure>,
        cancelled: bool,
    ) {
        let runs = self.runs.entry(serial).or_default();
        runs.running = false;
        let excused = cancelled && outcome.is_err();
        runs.ended += u32::from(!excused);
        if excused {
            self.ran.remove(&same);
        }
    }

    /// An op begins to run.
    pub(super) fn runs(
        &mut self,
        machine: &Machine<i64>,
        setting: &Setting<'_>,
        node: NodeIndex,
        vertex: usize,
        inputs: &[i64],
        ticket: TicketId,
    ) {
        let spec = &setting.world.specs[vertex];
        let values: Vec<_> = spec
            .inputs
            .iter()
            .map(|used| setting.world.specs[used.vertex].values[used.output as usize])
            .collect();
        assert_eq!(inputs, values, "v{vertex} runs with other inputs than it should");
        let state = &machine.graph[node];
        let runs = self.runs.entry(state.serial).or_default();
        assert!(!std::mem::replace(&mut runs.running, true), "v{vertex} runs twice at once");
        assert!(runs.ended <= runs.grants, "v{vertex} runs again for nothing");
        for (input, used) in spec.inputs.iter().enumerate().filter(|(_, used)| used.prepared) {
            let below = machine.standing_for(state.inputs[input]);
            let known = self.prepared.get(&(state.serial, input));
            let now = machine.edges[below.at()].generation;
            assert_eq!(known, Some(&now), "v{vertex} runs with v{} unprepared", used.vertex);
        }
        if machine.tickets[&ticket].cancelled {
            return;
        }
        let wanted: Vec<_> = state
            .edges
            .iter()
            .copied()
            .filter(|edge| {
                let edge = &machine.edges[edge.at()];
                edge.wanted() == Level::Complete && edge.finished.is_none() && edge.error().is_none()
            })
            .collect();
        assert!(!wanted.is_empty(), "v{vertex} runs and nobody wants it");
        if self.broken || state.options.ignore_cache {
            return;
        }
        let cached = |edge: &EdgeId| self.is_cached(machine, setting, *edge);
        assert!(!wanted.iter().all(cached), "v{vertex} runs though it is cached");
        // What was made of a source is remembered under the keys it had then, not under those that it shares with another
        // later.
        let by_other_key = setting.shape.maps > 0.0;
        let calm = setting.shape.is_calm() && !setting.answered.is_empty() && !by_other_key;
        assert!(!calm || self.news, "v{vertex} runs though all that was asked for was answered before");
        wanted.into_iter().for_each(|edge| self.needs(machine, setting, edge));
        // Outputs of two vertices may stand for each other one way only, so not all that is the same is found to be.
        let mut below = setting.world.specs.iter().filter(|below| spec.needs.contains(&below.class));
        let single = below.all(|below| below.outputs == 1);
        let alone = setting.shape.is_calm() && setting.shape.subs == 0.0 && single;
        if !alone {
            return;
        }
        // What it asked before the other was remembered was answered with nothing; that may have gone since.
        let asked = self.asked.get(&state.serial).copied().unwrap_or(self.now);
        let remembered = self.ran.insert(spec.same, None).is_some_and(|at| at.is_some_and(|at| at < asked));
        let is_like = |other: &Node<i64>| {
            let like = setting.world.at(&other.name.digest);
            let works = matches!(other.exec, Progress::Running(..));
            let has = |edge: &EdgeId| works || machine.edges[edge.at()].finished.is_some();
            like != vertex && setting.world.specs[like].same == spec.same && other.edges.iter().any(has)
        };
        let like = remembered || machine.graph.iter().any(is_like);
        assert!(!like, "v{vertex} runs though its like has run");
    }

    /// The cache is asked for a vertex.
    pub(super) fn asks(&mut self, serial: u64) {
        self.asked.entry(serial).or_insert(self.now);
    }

    /// The cache has what a vertex, or its like, has come to.
    pub(super) fn remembered(&mut self, same: usize) {
        let now = self.now;
        self.ran.entry(same).and_modify(|at| *at = Some(now));
    }

    /// What begins is wanted.
    pub(super) fn wants(&self, machine: &Machine<i64>, node: NodeIndex, task: &Task) {
        let level = match task {
            Task::CacheMap => Level::Fast,
            Task::Preprocess { .. } | Task::SlowDigest { .. } => Level::Slow,
            Task::Exec { .. } => Level::Complete,
            _ => return,
        };
        let node = &machine.graph[node];
        let wanted = node.edges.iter().map(|edge| &machine.edges[edge.at()]);
        let wanted = wanted.filter(|edge| edge.finished.is_none()).map(EdgeState::wanted).max();
        assert!(wanted >= Some(level), "{}: {task:?} begins and nobody wants it", node.name.name);
    }

    /// Whether the keys that are known of an edge's inputs lead to a record that can be loaded.
    fn is_cached(&self, machine: &Machine<i64>, setting: &Setting<'_>, edge: EdgeId) -> bool {
        let at = machine.edges[edge.at()].node;
        let node = &machine.graph[at];
        // What only some of those who have it have brought may answer too late.
        let waited_for = node.sources.iter().filter(|source| machine.is_waited_for(at, **source));
        waited_for.into_iter().any(|source| {
            if machine.sources.get(source.0 as usize).is_none_or(|known| known.dead.is_some()) {
                return false;
            }
            // Nobody waits for a cache that only another brought.
            let asks = |task: &Task| match task {
                Task::Probe { source: asked, .. } | Task::Records { source: asked, .. } => asked == source,
                _ => false,
            };
            let here = machine.edges[edge.at()].node;
            if machine
                .tickets
                .values()
                .any(|ticket| ticket.waived && ticket.node == here && asks(&ticket.task))
            {
                return false;
            }
            let local = *source == LOCAL;
            let cache = if local { setting.local } else { setting.import.unwrap() };
            let keys = if local { &self.before } else { &cache.keys };
            let found = keys_of(machine, edge, *source, keys);
            found.into_iter().any(|key| {
                let before = Cache::results(keys, key);
                let now = Cache::results(&cache.keys, key);
                let fits =
                    |id: &&ResultId| now.contains(id) && cache.shelf.has(id) && !self.spoiled.contains(id);
                before.iter().any(|id| fits(&id))
            })
        })
    }

    /// A record begins to be loaded, or an op to run: where all follows from definitions somebody has asked for this very
    /// result, or what is above has to run.
    pub(super) fn needs(&self, machine: &Machine<i64>, setting: &Setting<'_>, edge: EdgeId) {
        let state = &machine.edges[edge.at()];
        if setting.shape.by_content > 0.0 || !setting.shape.is_calm() || state.wanted() < Level::Complete {
            return;
        }
        let needed = state.consumers.iter().any(|(above, input)| {
            let Some(above) = machine.edges.get(above.at()) else { return false };
            above.deps.get(*input as usize).is_some_and(|dep| dep.edge == edge) && above.phase == Phase::Run
        });
        let name = &machine.graph[state.node].name.name;
        assert!(needed || state.requests().next().is_some(), "{name} is completed, and nobody asked for it");
    }

    /// Whether an answer that is an error is one that the seed brought about.
    pub(super) fn excuse(&self, world: &World, vertex: usize, error: &Error) {
        // What has the same content may stand for what it needs, whatever made it.
        let by_content = world.specs.iter().any(|spec| spec.inputs.iter().any(|used| used.by_content));
        let needs = |digest: &Digest| {
            let class = world.specs[world.at(digest)].class;
            by_content || world.specs[vertex].needs.contains(&class)
        };
        let excused = match error {
            Error::Op { vertex, stage, .. }
            | Error::Panicked { vertex, stage, .. }
            | Error::TimedOut { vertex, stage, .. } => {
                needs(&vertex.digest) && self.failed.contains(&(vertex.digest.clone(), *stage))
            }
            Error::Store { vertex, .. } => self.broken && needs(&vertex.digest),
            Error::Lost { vertex, .. } => {
                let class = world.specs[world.at(&vertex.digest)].class;
                needs(&vertex.digest) && self.lost.contains(&class)
            }
            _ => false,
        };
        assert!(excused, "v{vertex}: nothing excuses: {error}");
    }
}

/// The keys of an edge in a source, as far as they follow from what the machine knows of the edges below.
fn keys_of(machine: &Machine<i64>, edge: EdgeId, source: SourceIx, keys: &MemoryKeys) -> HashSet<KeyId> {
    let state = &machine.edges[edge.at()];
    let node = &machine.graph[state.node];
    let op = |at: usize| node.maps[at].digest.key(state.output);
    if node.is_root() {
        return (0..node.maps.len()).map(op).collect();
    }
    let ways = state.deps.iter().enumerate().map(|(at, dep)| {
        let below = machine.edges[dep.edge.at()].keys.iter();
        let from: Vec<_> =
            below.filter(|key| key.source == source || key.source == ANY).map(|key| key.id).collect();
        let input = u32::try_from(at).unwrap();
        let selector: Option<Selector> = node.usage(at).and_then(|usage| usage.selector().cloned());
        let mut found = Cache::targets(keys, &from, &Link { op: op(0), input, selector });
        if let Some(content) = node.content(at) {
            found.extend(Cache::targets(keys, &[content], &Link { op: op(0), input, selector: None }));
        }
        found
    });
    ways.reduce(|some, others| some.intersection(&others).copied().collect()).unwrap_or_default()
}
