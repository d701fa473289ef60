//! Who gets the next slot. A pure state machine: it awaits nothing and tells the time from nowhere.
//!
//! Those who need the same seats stand in one line, ordered by [`Rank`]. A free slot goes to the best of those at the
//! heads of lines whose seats are free; one slot in [`FAIR`] goes to whoever has waited longest of those. Where the
//! longest waiting of all does not find its seats free, they are kept for it after so many slots. So nobody starves: not
//! the speculative behind the urgent, not the copy that needs two hosts behind downloads that need one. What takes none
//! of its seats goes on meanwhile: a manifest does not wait because a blob does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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

impl Rank {
    /// The rank of what two want: the higher priority, the lower height, wanted by all who want either.
    pub(super) fn together(self, other: Self) -> Self {
        Self {
            priority: self.priority.max(other.priority),
            height: self.height.min(other.height),
            shared: self.shared.saturating_add(other.shared),
        }
    }
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
    /// Slots given since one went to the longest waiting of those who could have it.
    since_fair: u32,
    /// Slots given while the longest waiting of all stood in line.
    passed: u32,
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
        Self { limits, lines, places, active: Active::default(), since_fair: 0, passed: 0 }
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
        // The longest waiting of those lines that `may` have a slot.
        let oldest = |may: &dyn Fn(&Need) -> bool| {
            let heads = self.lines.iter().filter(|(need, _)| open(need) && may(need));
            heads.filter_map(|(need, line)| Some((*line.by_age.first()?, need))).min_by_key(|(age, _)| *age)
        };
        let first = oldest(&|_| true);
        let due = first.filter(|_| self.passed >= FAIR);
        let kept = due.filter(|(_, need)| !self.fits(need)).map(|(_, need)| need);
        let free = |need: &Need| self.fits(need) && kept.is_none_or(|kept| !self.compete(need, kept));
        let best = || {
            let heads =
                self.lines.iter().filter_map(|(need, line)| Some((*line.waiting.first_key_value()?.0, need)));
            heads.filter(|(_, need)| open(need) && free(need)).min_by_key(|(order, _)| *order)
        };
        let longest = oldest(&free)?;
        let (order, need) =
            match due.filter(|_| kept.is_none()).or((self.since_fair >= FAIR).then_some(longest)) {
                Some((age, need)) => (self.places.get(&age)?.1, need),
                None => best()?,
            };
        let (was_longest, was_first) =
            (order.age == longest.0, first.is_some_and(|(age, _)| age == order.age));
        let need = Arc::clone(need);
        self.since_fair = if was_longest { 0 } else { self.since_fair.saturating_add(1) };
        self.passed = if was_first { 0 } else { self.passed.saturating_add(1) };
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

    /// Whether one of them takes what the other one needs at a host or of an operation. The limit of all blobs is not
    /// asked: what it has room for goes to whoever is due as soon as the seats are free.
    fn compete(&self, one: &Need, other: &Need) -> bool {
        let limited = |operation| match operation {
            Operation::Download => self.limits.downloads != 0,
            Operation::Upload => self.limits.uploads != 0,
            Operation::Manifest | Operation::Probe => false,
        };
        one.moves_blobs() == other.moves_blobs()
            && one.seats().any(|(host, operation)| {
                other.seats().any(|(at, doing)| host == at || operation == doing && limited(operation))
            })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const A: &str = "a.test";
    const B: &str = "b.test";

    fn queue(limits: Limits) -> Queue<Age> {
        Queue::new(limits)
    }

    fn next(queue: &mut Queue<Age>) -> Option<Age> {
        queue.next(|_| false).map(|(age, _)| age)
    }

    fn ranked(priority: Priority) -> Rank {
        Rank { priority, ..Rank::default() }
    }

    #[test]
    fn what_is_wanted_more_goes_first_and_then_what_is_lower_shared_and_older() {
        let mut queue = queue(Limits { total: 0, per_host: 0, requests: 0, ..Limits::default() });
        let blob = || Need::blob(Some(A), None);
        let ranks = [
            Rank { priority: Priority::Normal, height: 3, shared: 1 },
            Rank { priority: Priority::Normal, height: 1, shared: 1 },
            Rank { priority: Priority::Normal, height: 1, shared: 2 },
            Rank { priority: Priority::Normal, height: 1, shared: 1 },
            Rank { priority: Priority::Urgent, height: 9, shared: 1 },
        ];
        for (age, rank) in (0..).zip(ranks) {
            queue.enter(age, blob(), rank, age);
        }
        queue.enter(5, Need::probe(A), Rank::default(), 5);
        queue.enter(6, Need::manifest(A), ranked(Priority::Speculative), 6);
        let order: Vec<Age> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(order, [6, 5, 4, 2, 1, 3, 0]);
    }

    #[test]
    fn a_manifest_never_waits_for_the_end_of_a_blob() {
        let mut queue = queue(Limits { per_host: 1, ..Limits::default() });
        let copy = || Need::blob(Some(A), Some(B));
        queue.enter(0, copy(), Rank::default(), 0);
        assert_eq!(next(&mut queue), Some(0));
        // The next blob stands in line for as long as that one takes; it may be the longest waiting of all by far.
        queue.enter(1, copy(), Rank::default(), 1);
        for age in 2..50_u64 {
            let need = Need::manifest([A, B][usize::from(age.is_multiple_of(2))]);
            queue.enter(age, need.clone(), Rank::default(), age);
            assert_eq!(next(&mut queue), Some(age), "after {} others", age - 2);
            queue.release(&need);
        }
        queue.release(&copy());
        assert_eq!(next(&mut queue), Some(1));
    }

    /// Row 21: whoever needs two seats gets them, however many there are who need one.
    #[test]
    fn what_needs_both_operations_does_not_starve_behind_those_that_need_one() {
        let mut queue = queue(Limits { downloads: 1, uploads: 1, ..Limits::default() });
        let single = |age: Age| {
            if age.is_multiple_of(2) { Need::blob(Some("c"), None) } else { Need::blob(None, Some("d")) }
        };
        for age in [0, 1] {
            queue.enter(age, single(age), ranked(Priority::Urgent), age);
            assert_eq!(next(&mut queue), Some(age));
        }
        queue.enter(2, Need::blob(Some(A), Some(B)), ranked(Priority::Speculative), 2);
        // Downloads and uploads end in turn, and there is always another urgent one of their kind.
        for age in 3..100 {
            queue.enter(age + 1000, single(age + 1), ranked(Priority::Urgent), age + 1000);
            queue.release(&single(age + 1));
            match next(&mut queue) {
                Some(2) => return,
                None => {}
                Some(_) => assert_eq!(next(&mut queue), None),
            }
        }
        panic!("it has waited for 97 others");
    }

    /// Row 21: while the longest waiting of all waits for a host that is busy, others have their turns elsewhere.
    #[test]
    fn a_busy_host_takes_no_turns_away_from_the_others() {
        let mut queue = queue(Limits { per_host: 1, ..Limits::default() });
        let at = |host: &str| Need::blob(Some(host), None);
        queue.enter(0, at(A), Rank::default(), 0);
        assert_eq!(next(&mut queue), Some(0), "it never ends");
        queue.enter(1, at(A), ranked(Priority::Urgent), 1);
        queue.enter(2, at(B), ranked(Priority::Speculative), 2);
        for age in 3..100 {
            queue.enter(age, at(B), ranked(Priority::Urgent), age);
            match next(&mut queue) {
                Some(2) => return assert!(age <= 3 + Age::from(FAIR), "after {age}"),
                _ => queue.release(&at(B)),
            }
        }
        panic!("it has waited for all others");
    }

    /// Row 17: who leaves is nowhere any more.
    #[test]
    fn nothing_is_left_of_who_leaves() {
        let mut queue = queue(Limits::at_once(1));
        for age in 0..3 {
            queue.enter(age, Need::blob(Some(A), None), Rank::default(), age);
        }
        assert_eq!(next(&mut queue), Some(0));
        assert_eq!(queue.leave(1), Some(1));
        assert_eq!(queue.leave(1), None);
        assert_eq!(queue.leave(0), None, "it has its slot");
        assert_eq!((queue.waiting(), queue.active()), (1, 1));
        queue.release(&Need::blob(Some(A), None));
        assert_eq!(next(&mut queue), Some(2));
        queue.release(&Need::blob(Some(A), None));
        assert!(queue.lines.is_empty() && queue.places.is_empty());
        assert!(queue.active.blobs_at.is_empty());
    }

    #[test]
    fn nothing_begins_at_a_host_that_is_closed_and_its_seats_are_kept_for_nobody() {
        let mut queue = queue(Limits::at_once(1));
        queue.enter(0, Need::blob(Some(A), Some(B)), Rank::default(), 0);
        for age in 1..30 {
            queue.enter(age, Need::blob(Some(B), None), Rank::default(), age);
            assert_eq!(queue.next(|host| host == A).map(|(age, _)| age), Some(age));
            queue.release(&Need::blob(Some(B), None));
        }
        assert_eq!(queue.next(|host| host == B).map(|(age, _)| age), None);
        assert_eq!(next(&mut queue), Some(0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(Need, Rank),
        /// Of those waiting, the one at this place.
        Leave(prop::sample::Index),
        Move(prop::sample::Index, Rank),
        Release(prop::sample::Index),
        Limit(Limits),
    }

    fn needs() -> impl Strategy<Value = Need> {
        let host = || prop::sample::select(vec![A, B, "c.test"]);
        let end = || prop::option::weighted(0.7, host());
        prop_oneof![
            1 => host().prop_map(Need::manifest),
            1 => host().prop_map(Need::probe),
            4 => (end(), end()).prop_map(|(from, to)| Need::blob(from, to)),
        ]
    }

    fn ranks() -> impl Strategy<Value = Rank> {
        let priority = prop::sample::select(vec![Priority::Speculative, Priority::Normal, Priority::Urgent]);
        (priority, 0..4_u32, 1..3_u32).prop_map(|(priority, height, shared)| Rank {
            priority,
            height,
            shared,
        })
    }

    fn limits() -> impl Strategy<Value = Limits> {
        (0..5_usize, 0..3_usize, 0..3_usize, 0..3_usize, 0..3_usize, 0..4_usize).prop_map(
            |(total, per_host, downloads, uploads, requests, at_a)| Limits {
                total,
                per_host,
                hosts: HashMap::from([(A.to_owned(), at_a)]),
                downloads,
                uploads,
                requests,
            },
        )
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (needs(), ranks()).prop_map(|(need, rank)| Step::Enter(need, rank)),
            5 => any::<prop::sample::Index>().prop_map(Step::Release),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
            1 => (any::<prop::sample::Index>(), ranks()).prop_map(|(who, rank)| Step::Move(who, rank)),
            1 => limits().prop_map(Step::Limit),
        ]
    }

    /// What the queue should be, in the plainest words.
    struct Model {
        limits: Limits,
        waiting: BTreeMap<Age, Need>,
        held: Vec<Need>,
        /// Younger ones that took what the longest waiting one needs, since it is that.
        passed: (Option<Age>, u32),
    }

    impl Model {
        fn seats(&self, of: impl Fn(&str, Operation) -> bool) -> usize {
            self.held.iter().filter(|need| need.seats().any(|(host, operation)| of(host, operation))).count()
        }

        /// Whether a limit that concerns `need` would be passed by one more such.
        fn room_for(&self, need: &Need) -> bool {
            let below = |count: usize, limit: usize| limit == 0 || count < limit;
            let blobs = self.held.iter().filter(|need| need.moves_blobs()).count();
            (!need.moves_blobs() || below(blobs, self.limits.total))
                && need.seats().all(|(host, operation)| {
                    let here = self
                        .seats(|at, doing| at == &**host && doing.moves_blobs() == operation.moves_blobs());
                    let same = self.seats(|_, doing| doing == operation);
                    match operation {
                        Operation::Manifest | Operation::Probe => below(here, self.limits.requests),
                        Operation::Download => {
                            below(here, self.limits.at(host)) && below(same, self.limits.downloads)
                        }
                        Operation::Upload => {
                            below(here, self.limits.at(host)) && below(same, self.limits.uploads)
                        }
                    }
                })
        }

        fn given(&mut self, age: Age, need: &Need) {
            assert!(self.room_for(need), "{need:?} above {:?} beside {:?}", self.limits, self.held);
            let oldest = self.waiting.first_key_value().map(|(age, need)| (*age, need.clone()));
            assert!(self.waiting.remove(&age).is_some(), "{age} did not wait");
            let (oldest, wants) = oldest.expect("somebody waits");
            if self.passed.0 != Some(oldest) {
                self.passed = (Some(oldest), 0);
            }
            let takes = |(host, operation): (&Arc<str>, Operation)| {
                wants.seats().any(|(at, doing)| at == host && doing.moves_blobs() == operation.moves_blobs())
            };
            if age != oldest && need.seats().any(takes) {
                self.passed.1 += 1;
                assert!(self.passed.1 <= FAIR, "{oldest} was passed by {} others", self.passed.1);
            }
            self.held.push(need.clone());
        }
    }

    proptest! {
        /// Rows 13a, 18b, 20, 21: never above a limit, nobody is passed without end, no free slot is left lying while
        /// somebody may have it, and at rest nothing is counted.
        #[test]
        fn it_does_what_the_plainest_words_say(
            first in limits(),
            steps in prop::collection::vec(steps(), 1..200),
        ) {
            let mut queue = queue(first.clone());
            let mut model =
                Model { limits: first, waiting: BTreeMap::new(), held: Vec::new(), passed: (None, 0) };
            for (age, step) in (0..).zip(steps) {
                match step {
                    Step::Enter(need, rank) => {
                        model.waiting.insert(age, need.clone());
                        queue.enter(age, need, rank, age);
                    }
                    Step::Leave(who) if !model.waiting.is_empty() => {
                        let who = *who.get(&model.waiting.keys().copied().collect::<Vec<_>>());
                        model.waiting.remove(&who);
                        prop_assert_eq!(queue.leave(who), Some(who));
                    }
                    Step::Move(who, rank) if !model.waiting.is_empty() => {
                        queue.set_rank(*who.get(&model.waiting.keys().copied().collect::<Vec<_>>()), rank);
                    }
                    Step::Release(which) if !model.held.is_empty() => {
                        let need = model.held.swap_remove(which.index(model.held.len()));
                        queue.release(&need);
                    }
                    Step::Limit(limits) => {
                        model.limits = limits.clone();
                        queue.set_limits(limits);
                    }
                    _ => {}
                }
                while let Some((age, need)) = queue.next(|_| false) {
                    model.given(age, &need);
                }
                prop_assert_eq!((queue.waiting(), queue.active()), (model.waiting.len(), model.seats_held()));
                if queue.passed < FAIR {
                    let left = model.waiting.values().find(|need| model.room_for(need));
                    prop_assert!(left.is_none(), "{left:?} waits for nothing");
                }
            }
            for need in std::mem::take(&mut model.held) {
                queue.release(&need);
            }
            queue.set_limits(Limits { total: 0, per_host: 0, requests: 0, ..Limits::default() });
            while let Some((age, need)) = next_with_need(&mut queue) {
                prop_assert!(model.waiting.remove(&age).is_some());
                queue.release(&need);
            }
            prop_assert_eq!((queue.waiting(), queue.active()), (0, 0));
            prop_assert!(model.waiting.is_empty() && queue.lines.is_empty());
            prop_assert!(queue.active.blobs_at.is_empty() && queue.active.requests_at.is_empty());
        }
    }

    fn next_with_need(queue: &mut Queue<Age>) -> Option<(Age, Arc<Need>)> {
        queue.next(|_| false)
    }

    impl Model {
        /// What [`Queue::active`] counts: blobs once, requests once.
        fn seats_held(&self) -> usize {
            self.held.len()
        }
    }
}
