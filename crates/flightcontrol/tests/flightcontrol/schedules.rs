//! Seeded random schedules of joining, leaving and ending, against a model that says who must hear what.
//!
//! The runtime has one thread, so a seed is a schedule. To run one again: `LAZYBLOB_SEED=n`.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use futures::FutureExt;
use lazyblob_flightcontrol::{Context, Error, Failure};
use tokio::sync::oneshot;

use crate::support::*;

type Id = u32;
type Key = &'static str;

const KEYS: [Key; 3] = ["a", "b", "c"];

/// What a caller was told, with errors as the run that made them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Value(Id),
    Failed(Id),
    Personal(Id),
    Panicked(Id),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Value,
    Failed,
    Personal,
    Panic,
    /// What polite work says when it saw its token.
    Cancelled,
}

/// An error that says whose closure made it.
type Group = lazyblob_flightcontrol::Group<Key, Id, (Id, End)>;
type Answer = Result<Id, Error<(Id, End)>>;

fn told(answer: Answer) -> Told {
    match answer {
        Ok(id) => Told::Value(id),
        Err(Error::Failed(error)) => {
            assert_eq!(error.1, End::Failed, "somebody inherits a cancellation");
            Told::Failed(error.0)
        }
        Err(Error::Personal((id, _))) => Told::Personal(id),
        Err(Error::Panicked(id)) => Told::Panicked(id.parse().unwrap()),
        Err(other) => panic!("{other:?}"),
    }
}

/// A run under way, as the works themselves see it.
struct Run {
    id: Id,
    context: Context,
    end: oneshot::Sender<End>,
}

/// The runs under way by key.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<HashMap<Key, Run>>>);

impl Runs {
    /// Work that ends as told, or, if it is polite, when its token says so.
    async fn work(self, key: Key, id: Id, polite: bool, context: Context) -> Result<Id, Failure<(Id, End)>> {
        let (end, ended) = oneshot::channel();
        let run = Run { id, context: context.clone(), end };
        let overlapping = self.0.lock().unwrap().insert(key, run);
        assert!(overlapping.is_none(), "two runs of {key} overlap");
        let end = tokio::select! {
            end = ended => end.unwrap(),
            () = context.cancelled(), if polite => End::Cancelled,
        };
        self.0.lock().unwrap().remove(key);
        match end {
            End::Value => Ok(id),
            End::Failed | End::Cancelled => Err(Failure::Shared((id, end))),
            End::Personal => Err(Failure::Personal((id, end))),
            // Unlike `panic!`, this does not call the hook, which would print thousands of lines.
            End::Panic => std::panic::resume_unwind(Box::new(id.to_string())),
        }
    }

    fn ids(&self) -> BTreeMap<Key, (Id, bool)> {
        let runs = self.0.lock().unwrap();
        runs.iter().map(|(key, run)| (*key, (run.id, run.context.is_cancelled()))).collect()
    }

    fn end(&self, key: Key, end: End) {
        // Removed here already, so that nobody ends it twice before it has run again.
        let run = self.0.lock().unwrap().remove(key).unwrap();
        run.end.send(end).unwrap();
    }
}

/// What must be, told in a few lines.
#[derive(Default)]
struct Model {
    slots: BTreeMap<Key, Slot>,
    polite: HashMap<Id, bool>,
    told: BTreeMap<Id, Told>,
}

#[derive(Default)]
struct Slot {
    runner: Id,
    present: Vec<Id>,
    queue: Vec<Id>,
}

impl Model {
    fn join(&mut self, key: Key, id: Id, polite: bool) {
        self.polite.insert(id, polite);
        let slot =
            self.slots.entry(key).or_insert_with(|| Slot { runner: id, present: vec![id], queue: vec![] });
        if slot.runner != id {
            if slot.present.is_empty() { slot.queue.push(id) } else { slot.present.push(id) }
        }
    }

    fn leave(&mut self, key: Key, id: Id) {
        let slot = self.slots.get_mut(key).unwrap();
        let was_wanted = !slot.present.is_empty();
        slot.present.retain(|other| *other != id);
        slot.queue.retain(|other| *other != id);
        if was_wanted && slot.present.is_empty() && self.polite[&slot.runner] {
            self.end(key, End::Cancelled);
        }
    }

    fn end(&mut self, key: Key, end: End) {
        let mut slot = self.slots.remove(key).unwrap();
        let run = slot.runner;
        if end == End::Personal {
            if slot.present.contains(&run) {
                self.told.insert(run, Told::Personal(run));
            }
            slot.present.retain(|id| *id != run);
        } else {
            for id in slot.present.drain(..) {
                let told = match end {
                    End::Value => Told::Value(run),
                    End::Panic => Told::Panicked(run),
                    End::Failed => Told::Failed(run),
                    End::Cancelled | End::Personal => panic!("nobody is told of it"),
                };
                self.told.insert(id, told);
            }
        }
        if slot.present.is_empty() {
            slot.present = std::mem::take(&mut slot.queue);
        }
        if let Some(next) = slot.present.first() {
            slot.runner = *next;
            self.slots.insert(key, slot);
        }
    }

    fn runs(&self) -> BTreeMap<Key, (Id, bool)> {
        self.slots.iter().map(|(key, slot)| (*key, (slot.runner, slot.present.is_empty()))).collect()
    }
}

struct Waiting<'a> {
    key: Key,
    run: Pin<Box<dyn Future<Output = Answer> + 'a>>,
}

/// Callers as the schedule moves them.
struct Crowd<'a> {
    group: &'a Group,
    runs: Runs,
    waiting: BTreeMap<Id, Waiting<'a>>,
    last: Id,
}

impl Crowd<'_> {
    fn join(&mut self, key: Key, polite: bool) -> Id {
        self.last += 1;
        let (id, runs) = (self.last, self.runs.clone());
        let mut run = Box::pin(self.group.run(key, move |context| runs.work(key, id, polite, context)));
        assert!((&mut run).now_or_never().is_none(), "nothing runs within a caller's own task");
        self.waiting.insert(id, Waiting { key, run });
        id
    }

    fn someone(&self, random: &mut Rng) -> Option<Id> {
        let index = random.usize(..self.waiting.len().max(1));
        self.waiting.keys().nth(index).copied()
    }

    /// Takes the answers that are there.
    fn answers(&mut self) -> BTreeMap<Id, Told> {
        let mut answers = BTreeMap::new();
        for (id, waiting) in &mut self.waiting {
            answers.extend((&mut waiting.run).now_or_never().map(|answer| (*id, told(answer))));
        }
        self.waiting.retain(|id, _| !answers.contains_key(id));
        answers
    }
}

fn any_end(random: &mut Rng) -> End {
    match random.u32(..8) {
        0 => End::Failed,
        1 => End::Panic,
        2..5 => End::Personal,
        _ => End::Value,
    }
}

/// One step at a time, all of its consequences awaited: the model says exactly what must have happened.
async fn exact(random: &mut Rng) {
    let group = Group::new();
    let mut crowd = Crowd { group: &group, runs: Runs::default(), waiting: BTreeMap::new(), last: 0 };
    let mut model = Model::default();
    let steps = random.usize(5..60);
    let keys = &KEYS[..random.usize(1..=KEYS.len())];
    for step in 0.. {
        let ending = step >= steps;
        if ending && model.slots.is_empty() {
            break;
        }
        let key = *random.choice(keys).unwrap();
        match random.u32(..8) {
            0..4 if !ending => {
                let polite = random.bool();
                let id = crowd.join(key, polite);
                model.join(key, id, polite);
            }
            4..6 => {
                if let Some(id) = crowd.someone(random) {
                    let left = crowd.waiting.remove(&id).unwrap();
                    model.leave(left.key, id);
                }
            }
            _ if model.slots.contains_key(key) => {
                let end = any_end(random);
                crowd.runs.end(key, end);
                model.end(key, end);
            }
            _ => {}
        }
        settle().await;
        assert_eq!(crowd.runs.ids(), model.runs(), "step {step}");
        assert_eq!(crowd.answers(), std::mem::take(&mut model.told), "step {step}");
        assert_eq!(group.in_flight(), model.slots.len(), "step {step}");
    }
    assert!(crowd.waiting.is_empty(), "somebody has no answer");
}

/// Steps that fall into the middle of others: no model, but the promises that hold at any moment.
async fn interleaved(random: &mut Rng) {
    let group = Group::new();
    let mut crowd = Crowd { group: &group, runs: Runs::default(), waiting: BTreeMap::new(), last: 0 };
    let steps = random.usize(5..60);
    let keys = &KEYS[..random.usize(1..=KEYS.len())];
    for step in 0.. {
        let ending = step >= steps;
        if ending && crowd.waiting.is_empty() && group.in_flight() == 0 {
            break;
        }
        assert!(step < steps + 2_000, "somebody gets no answer: {:?}", crowd.runs.ids());
        let key = *random.choice(keys).unwrap();
        match random.u32(..8) {
            0..4 if !ending => {
                crowd.join(key, random.bool());
            }
            4..6 if !ending => {
                if let Some(id) = crowd.someone(random) {
                    crowd.waiting.remove(&id);
                }
            }
            _ => {
                let end = any_end(random);
                if crowd.runs.ids().contains_key(key) {
                    crowd.runs.end(key, end);
                }
            }
        }
        for _ in 0..random.u32(0..3) {
            tokio::task::yield_now().await;
        }
        for (id, told) in crowd.answers() {
            match told {
                Told::Personal(own) => assert_eq!(own, id, "an error is its own caller's"),
                Told::Value(run) | Told::Failed(run) | Told::Panicked(run) => assert!(run <= crowd.last),
            }
        }
    }
    group.close().await;
    assert_eq!(group.in_flight(), 0);
}

/// Prints the seed of the schedule that panics through it.
struct Named<'a>(&'a Cell<u64>);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("to run this schedule again: LAZYBLOB_SEED={}", self.0.get());
        }
    }
}

async fn schedules(count: usize, one: impl AsyncFn(&mut Rng)) {
    let given = std::env::var("LAZYBLOB_SEED").ok().map(|seed| seed.parse().unwrap());
    let first = given.unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    let count = if given.is_some() { 1 } else { count };
    let seed = Cell::new(first);
    let _named = Named(&seed);
    for number in 0..count as u64 {
        seed.set(first + number);
        one(&mut Rng::with_seed(seed.get())).await;
    }
}

#[tokio::test]
async fn one_step_at_a_time() {
    schedules(rounds(2_000, 100_000), exact).await;
}

#[tokio::test]
async fn steps_into_each_other() {
    schedules(rounds(4_000, 200_000), interleaved).await;
}
