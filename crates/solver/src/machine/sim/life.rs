//! A machine from its first job to its last, with everything that happens to it chosen by the seed.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use fastrand::Rng;
use petgraph::stable_graph::NodeIndex;

use super::jobs::SimJob;
use super::laws::Laws;
use super::shape::Shape;
use super::store::Cache;
use super::trace::Trace;
use super::world::World;
use crate::machine::tickets::Task;
use crate::machine::{Action, Done, Machine, RequestId, TicketId, Work};
use crate::ops::Site;
use crate::settings::Settings;

/// More steps than any life takes.
const ENOUGH: u32 = 100_000;

/// What a machine is given.
pub(super) struct Setting<'a> {
    pub(super) world: &'a World,
    pub(super) shape: &'a Shape,
    pub(super) local: &'a Cache,
    pub(super) import: Option<&'a Cache>,
    /// What was answered by machines before this one.
    pub(super) answered: &'a HashSet<(usize, u32)>,
}

/// Work that has not ended.
pub(super) struct Out {
    pub(super) ticket: TicketId,
    pub(super) site: Site,
    /// Which vertex it is for.
    pub(super) vertex: usize,
    pub(super) task: Task,
    pub(super) work: Work<i64>,
    pub(super) cancelled: bool,
    /// What came of it, where that is settled before it ends.
    pub(super) early: Option<Done<i64>>,
    pub(super) sub: Option<Sub>,
}

/// A build within a running op.
pub(super) struct Sub {
    pub(super) target: usize,
    pub(super) request: Option<RequestId>,
    /// Whether it was answered, and with a result.
    pub(super) answer: Option<bool>,
}

/// A machine and all around it.
pub(super) struct Life<'a> {
    pub(super) setting: Setting<'a>,
    pub(super) rng: Rng,
    pub(super) trace: &'a mut Trace,
    pub(super) machine: Machine<i64>,
    pub(super) out: Vec<Out>,
    pub(super) jobs: Vec<SimJob>,
    pub(super) laws: Laws,
    pub(super) requests: u64,
    pub(super) asked: BTreeSet<(usize, u32)>,
}

impl<'a> Life<'a> {
    pub(super) fn new(setting: Setting<'a>, rng: Rng, trace: &'a mut Trace) -> Self {
        let mut settings = Settings { check: true, ..Settings::default() };
        if setting.shape.limited {
            settings.parallelism = [("even".to_owned(), 1), ("odd".to_owned(), 2)].into();
            settings.cache_maps = 2;
        }
        let laws = Laws::new(&setting);
        let machine = Machine::new(Arc::clone(&setting.local.index) as _, &settings);
        let (out, jobs, asked) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { setting, rng, trace, machine, out, jobs, laws, requests: 0, asked }
    }

    /// Lives, and says what was answered with a result.
    pub(super) fn run(mut self) -> HashSet<(usize, u32)> {
        let mut moves = self.setting.shape.moves;
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < ENOUGH, "it never ends");
            let idle = self.machine.dirty.is_empty();
            let ending = moves == 0;
            match self.rng.u8(..10) {
                0..4 => {
                    // One at a time: what begins is held against what is known when it begins.
                    self.machine.turn(1);
                }
                4..8 if !self.out.is_empty() => self.end_some(),
                _ if !ending => moves -= usize::from(self.make_a_move()),
                // In the end those leave that have all they asked for, whatever else still goes on.
                _ if self.leave() => {}
                _ if idle && self.out.is_empty() && self.jobs.iter().all(|job| job.gone) => break,
                _ => {}
            }
            self.perform();
            self.expect_progress();
        }
        self.expect_nothing_left();
        self.laws.answered
    }

    /// Takes up what the machine says.
    fn perform(&mut self) {
        for action in self.machine.actions() {
            match action {
                Action::Start { ticket, place, work } => {
                    let known = self.machine.tickets[&ticket].clone();
                    let site = place.map_or_else(|| self.machine.site(known.node), |place| place.site);
                    self.start(ticket, known.node, site, known.task, work);
                }
                Action::Cancel { ticket } => {
                    self.trace.say(format!("  cancel {}", ticket.0));
                    self.out
                        .iter_mut()
                        .filter(|out| out.ticket == ticket)
                        .for_each(|out| out.cancelled = true);
                }
                Action::Answer { request, answer } => self.take_answer(request, answer),
            }
        }
    }

    fn start(&mut self, ticket: TicketId, node: NodeIndex, site: Site, task: Task, work: Work<i64>) {
        let vertex = self.setting.world.at(&self.machine.graph[node].name.digest);
        self.trace.say(format!("  start {} v{vertex} {task:?}", ticket.0));
        let mut sub = None;
        if let Work::Exec { inputs, .. } = &work {
            self.laws.runs(&self.machine, &self.setting, node, vertex, inputs, ticket);
            self.expect_a_place(vertex);
            sub = self.choose_sub(vertex);
        }
        self.laws.now += 1;
        if let Task::Probe { .. } | Task::Records { .. } = &task {
            self.laws.asks(self.machine.graph[node].serial);
        }
        if let Task::Load { edge, .. } = &task {
            self.laws.needs(&self.machine, &self.setting, *edge);
        }
        if !self.machine.tickets[&ticket].cancelled {
            self.laws.wants(&self.machine, node, &task);
        }
        let site = if matches!(task, Task::Preprocess { .. }) { self.machine.site(node) } else { site };
        let mut out = Out { ticket, site, vertex, task, work, cancelled: false, early: None, sub };
        if self.rng.bool() {
            out.early = self.settle(&out);
        }
        self.out.push(out);
    }

    /// No more ops of a kind run at once than may; those that wait for a build within them do not count.
    fn expect_a_place(&self, vertex: usize) {
        let specs = &self.setting.world.specs;
        let even = |at: usize| specs[at].class % 2 == 0;
        let waits = |out: &Out| out.sub.as_ref().is_some_and(|sub| sub.request.is_some());
        let runs = |out: &&Out| {
            matches!(out.work, Work::Exec { .. }) && even(out.vertex) == even(vertex) && !waits(out)
        };
        let limit = if even(vertex) { 1 } else { 2 };
        assert!(
            !self.setting.shape.limited || self.out.iter().filter(runs).count() < limit,
            "v{vertex} has no place"
        );
    }

    /// A vertex whose class comes before, with all it needs: whatever is merged, no op then waits for itself.
    fn choose_sub(&mut self, vertex: usize) -> Option<Sub> {
        let specs = &self.setting.world.specs;
        let class = specs[vertex].class;
        if class >= 1000 || self.rng.f64() >= self.setting.shape.subs {
            return None;
        }
        let below = |at: &usize| specs[*at].needs.iter().all(|need| *need >= 1000 || *need < class);
        let targets: Vec<_> = (0..specs.len()).filter(below).collect();
        let target = targets[self.rng.usize(..targets.len())];
        Some(Sub { target, request: None, answer: None })
    }

    /// Has any piece of work come to its end, or an op begin the build within it.
    fn end_some(&mut self) {
        let at = self.rng.usize(..self.out.len());
        let heedless = self.rng.u8(..4) == 0;
        let out = &mut self.out[at];
        if let Some(sub) = &mut out.sub
            && (!out.cancelled || heedless && sub.request.is_none())
            && sub.answer.is_none()
        {
            if sub.request.is_none() {
                self.requests += 1;
                let request = RequestId(self.requests);
                sub.request = Some(request);
                let (graph, _) = self.setting.world.graph(&[sub.target], &BTreeSet::new());
                let edge = self.setting.world.edge(sub.target, 0);
                self.trace.say(format!("{} builds v{} within ({})", out.ticket.0, sub.target, request.0));
                self.machine.build_within(out.site, graph, &edge, request);
            }
            return;
        }
        let out = self.out.swap_remove(at);
        if let Some(Sub { request: Some(request), answer: None, .. }) = out.sub {
            self.machine.withdraw(request, None);
        }
        let ticket = out.ticket;
        let done = self.ending(out);
        self.machine.step(ticket, done);
    }

    /// Whoever waits, waits for something.
    fn expect_progress(&mut self) {
        let waits = |out: &Out| {
            !out.cancelled
                && out.sub.as_ref().is_some_and(|sub| sub.request.is_some() && sub.answer.is_none())
        };
        if !self.machine.dirty.is_empty() || !self.out.iter().all(waits) {
            return;
        }
        let open: Vec<_> = self.machine.requests.keys().copied().collect();
        if open.is_empty() {
            return;
        }
        let edges = self.machine.edges.iter().map(|(_, edge)| {
            format!(
                "{}[{}] wanted {:?} known {:?} {:?} merged {:?} error {}",
                self.machine.graph[edge.node].name.name,
                edge.output,
                edge.wanted(),
                edge.level,
                edge.phase,
                edge.merged_into,
                edge.error().is_some(),
            )
        });
        panic!("nothing is done, and {open:?} wait:\n{}", edges.collect::<Vec<_>>().join("\n"));
    }

    fn expect_nothing_left(&self) {
        let machine = &self.machine;
        assert!(machine.jobs.is_empty(), "jobs are left");
        assert!(machine.tickets.is_empty(), "work is left");
        assert!(machine.requests.is_empty(), "requests are left");
        let names: Vec<_> = machine.graph.iter().map(|node| node.name.to_string()).collect();
        assert!(names.is_empty(), "vertices are left: {names:?}");
        assert_eq!(machine.edges.iter().count(), 0, "edges are left");
        assert!(machine.by_digest.is_empty(), "digests are left");
        assert!(machine.identities.is_empty(), "identities are left");
        assert_eq!(machine.sources.len(), 1, "sources are left");
        assert!(machine.gates.is_idle(), "places are taken");
    }
}
