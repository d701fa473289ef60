//! Who gets the next slot. A pure state machine: it awaits nothing and tells the time from nowhere.
//!
//! Those who need the same seats stand in one line, ordered by [`Rank`]. A free slot goes to the best of those at the
//! heads of lines whose seats are free; one slot in [`FAIR`] goes to whoever has waited longest, and if its seats are
//! taken they are kept for it. So nobody starves: not the speculative behind the urgent, not the copy that needs two
//! hosts behind downloads that need one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::limits::{Limits, Need, Operation};
use crate::access::Priority;

/// One slot in so many goes to whoever has waited longest.
const FAIR: u32 = 8;

/// How much a transfer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rank {
    /// What somebody waits for goes before what is speculative.
    pub priority: Priority,
    /// The layer's place in its image, zero at the bottom: a layer is of use when those below it are there.
    pub height: u32,
    /// How many want it: what serves more goes first.
    pub shared: u32,
}

/// A place in a line: what comes first in this order is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    class: Operation,
    priority: Reverse<Priority>,
    height: u32,
    shared: Reverse<u32>,
    age: Age,
}

/// Who came first: smaller is older. Names the waiting one, too.
pub(super) type Age = u64;

#[derive(Debug)]
struct Line<T> {
    waiting: BTreeMap<Order, T>,
    by_age: BTreeSet<Age>,
}

/// Lines, limits and what is under way.
#[derive(Debug)]
pub(super) struct Queue<T> {
    limits: Limits,
    lines: HashMap<Arc<Need>, Line<T>>,
    /// Where each of the waiting stands.
    places: HashMap<Age, (Arc<Need>, Order)>,
    active: Active,
    /// Slots given since the longest waiting one had its turn.
    since_fair: u32,
}

#[derive(Debug, Default)]
struct Active {
    total: usize,
    downloads: usize,
    uploads: usize,
    blobs_at: HashMap<Arc<str>, usize>,
    requests_at: HashMap<Arc<str>, usize>,
}

impl<T> Queue<T> {
    pub(super) fn new(limits: Limits) -> Self {
        let (lines, places) = Default::default();
        Self { limits, lines, places, active: Active::default(), since_fair: 0 }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Sets other limits. What is under way goes on; nothing new begins above them.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Those waiting.
    pub(super) fn waiting(&self) -> usize {
        self.places.len()
    }

    /// Blobs and requests under way.
    pub(super) fn active(&self) -> usize {
        self.active.total + self.active.requests_at.values().sum::<usize>()
    }

    /// Stands in line. An age waits for one thing at a time.
    pub(super) fn enter(&mut self, age: Age, need: Need, rank: Rank, who: T) {
        let order = Order::of(age, &need, rank);
        let need =
            self.lines.get_key_value(&need).map_or_else(|| Arc::new(need), |(known, _)| Arc::clone(known));
        self.places.insert(age, (Arc::clone(&need), order));
        let line = self
            .lines
            .entry(need)
            .or_insert_with(|| Line { waiting: BTreeMap::new(), by_age: BTreeSet::new() });
        line.waiting.insert(order, who);
        line.by_age.insert(age);
    }

    /// Leaves the line at once. `None`: it does not wait (any more).
    pub(super) fn leave(&mut self, age: Age) -> Option<T> {
        let (need, order) = self.places.remove(&age)?;
        self.take_out(&need, order)
    }

    /// Moves one who waits to where `rank` belongs.
    pub(super) fn set_rank(&mut self, age: Age, rank: Rank) {
        let Some((need, order)) = self.places.get_mut(&age) else { return };
        let before = std::mem::replace(order, Order::of(age, need, rank));
        let after = *order;
        if let Some(line) = self.lines.get_mut(&**need)
            && let Some(who) = line.waiting.remove(&before)
        {
            line.waiting.insert(after, who);
        }
    }

    /// Gives the next free slot away, if there is one that anybody may have now. `closed` names hosts where nothing may
    /// begin.
    pub(super) fn next(&mut self, closed: impl Fn(&str) -> bool) -> Option<(T, Arc<Need>)> {
        let open = |need: &Need| !need.seats().any(|(host, _)| closed(host));
        let oldest = || {
            let heads = self.lines.iter().filter(|(need, _)| open(need));
            heads.filter_map(|(need, line)| Some((*line.by_age.first()?, need))).min_by_key(|(age, _)| *age)
        };
        let mut kept: HashSet<&str> = HashSet::new();
        let mut turn = None;
        if self.since_fair >= FAIR
            && let Some((age, need)) = oldest()
        {
            if self.fits(need) {
                turn = self.places.get(&age).map(|(_, order)| (*order, need));
            } else {
                kept = need.seats().map(|(host, _)| &**host).collect();
            }
        }
        let free = |need: &Need| !need.seats().any(|(host, _)| kept.contains(&**host));
        let best = || {
            let heads =
                self.lines.iter().filter_map(|(need, line)| Some((*line.waiting.first_key_value()?.0, need)));
            heads
                .filter(|(_, need)| open(need) && free(need) && self.fits(need))
                .min_by_key(|(order, _)| *order)
        };
        let (order, need) = turn.or_else(best)?;
        let need = Arc::clone(need);
        let was_oldest = oldest().is_none_or(|(age, _)| age == order.age);
        self.since_fair = if was_oldest { 0 } else { self.since_fair.saturating_add(1) };
        self.places.remove(&order.age);
        let who = self.take_out(&need, order)?;
        self.active.count(&need);
        Some((who, need))
    }

    /// Takes a slot back.
    pub(super) fn release(&mut self, need: &Need) {
        self.active.discount(need);
    }

    fn take_out(&mut self, need: &Arc<Need>, order: Order) -> Option<T> {
        let line = self.lines.get_mut(&**need)?;
        let who = line.waiting.remove(&order);
        line.by_age.remove(&order.age);
        if line.waiting.is_empty() {
            self.lines.remove(&**need);
        }
        who
    }

    fn fits(&self, need: &Need) -> bool {
        let below = |active: usize, limit: usize| limit == 0 || active < limit;
        let (limits, active) = (&self.limits, &self.active);
        (!need.moves_blobs() || below(active.total, limits.total))
            && need.seats().all(|(host, operation)| match operation {
                Operation::Manifest | Operation::Probe => {
                    below(at(&active.requests_at, host), limits.requests)
                }
                Operation::Download => {
                    below(active.downloads, limits.downloads)
                        && below(at(&active.blobs_at, host), limits.at(host))
                }
                Operation::Upload => {
                    below(active.uploads, limits.uploads)
                        && below(at(&active.blobs_at, host), limits.at(host))
                }
            })
    }
}

impl Order {
    fn of(age: Age, need: &Need, rank: Rank) -> Self {
        Self {
            class: need.class(),
            priority: Reverse(rank.priority),
            height: rank.height,
            shared: Reverse(rank.shared),
            age,
        }
    }
}

impl Active {
    fn count(&mut self, need: &Need) {
        self.total += usize::from(need.moves_blobs());
        for (host, operation) in need.seats() {
            *self.table(operation).entry(Arc::clone(host)).or_default() += 1;
            if let Some(count) = self.operation(operation) {
                *count += 1;
            }
        }
    }

    fn discount(&mut self, need: &Need) {
        self.total -= usize::from(need.moves_blobs());
        for (host, operation) in need.seats() {
            let table = self.table(operation);
            if let Some(count) = table.get_mut(host) {
                *count -= 1;
                if *count == 0 {
                    table.remove(host);
                }
            }
            if let Some(count) = self.operation(operation) {
                *count -= 1;
            }
        }
    }

    fn table(&mut self, operation: Operation) -> &mut HashMap<Arc<str>, usize> {
        if operation.moves_blobs() { &mut self.blobs_at } else { &mut self.requests_at }
    }

    fn operation(&mut self, operation: Operation) -> Option<&mut usize> {
        match operation {
            Operation::Download => Some(&mut self.downloads),
            Operation::Upload => Some(&mut self.uploads),
            Operation::Manifest | Operation::Probe => None,
        }
    }
}

fn at(table: &HashMap<Arc<str>, usize>, host: &Arc<str>) -> usize {
    table.get(host).copied().unwrap_or_default()
}
