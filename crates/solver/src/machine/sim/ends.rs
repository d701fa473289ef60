//! How work ends: as it should, or as the seed has it.

use std::time::Duration;

use super::life::{Life, Out};
use super::store::ready;
use crate::error::{LoadError, OpError, Stage, StoreError};
use crate::machine::tickets::Task;
use crate::machine::{Done, Failure, LOCAL, Work};
use crate::ops::{LoadCx, OpCx};

impl Life<'_> {
    /// Does what stores are asked to do, at this moment.
    pub(super) fn settle(&self, out: &Out) -> Option<Done<i64>> {
        Some(match &out.work {
            Work::Probe { source, from, link, .. } => Done::Probe(ready(source.targets(from, link))),
            Work::Records { source, keys, .. } => {
                let records: Result<Vec<_>, _> = keys.iter().map(|key| ready(source.records(*key))).collect();
                Done::Records(records.map(|records| records.concat()))
            }
            Work::Load { source, record } => Done::Load(ready(source.load(&LoadCx::detached(), record))),
            Work::Save { links, keys, result, created_at } => {
                let index = &self.setting.local.index;
                let save = index.save(links.clone(), keys, result.as_ref(), *created_at);
                Done::Save(ready(save))
            }
            Work::Forget { source, results } => Done::Forget(ready(source.forget(results))),
            _ => return None,
        })
    }

    fn chance(&mut self, chance: f64) -> bool {
        self.rng.f64() < chance
    }

    /// What the machine is told of work that ends now.
    pub(super) fn ending(&mut self, mut out: Out) -> Done<i64> {
        let early = out.early.take();
        let done = match &out.work {
            Work::CacheMap { op, index, .. } => {
                let outcome = ready(op.cache_map(&OpCx::detached(), *index)).map_err(Failure::Said);
                let outcome = self.spoil(&out, Stage::CacheMap, outcome);
                self.laws.mapped(out.site.serial, *index, outcome.is_ok());
                Done::CacheMap(outcome)
            }
            Work::Exec { op, inputs, .. } => {
                let outcome = ready(op.exec(&OpCx::detached(), inputs.clone())).map_err(Failure::Said);
                let refused = out.sub.as_ref().is_some_and(|sub| sub.answer == Some(false));
                let outcome = if refused && !out.cancelled {
                    self.fail(&out, Stage::Exec);
                    Err(Failure::Said(OpError::failed("the build within it failed")))
                } else {
                    self.spoil(&out, Stage::Exec, outcome)
                };
                let same = self.setting.world.specs[out.vertex].same;
                self.laws.ran(out.site.serial, same, &outcome, out.cancelled);
                Done::Exec(outcome)
            }
            Work::Preprocess { what, input, .. } => {
                let outcome = ready(what.preprocess(&LoadCx::detached(), input)).map_err(Failure::Said);
                let outcome = self.spoil(&out, Stage::Preprocess, outcome);
                if let Task::Preprocess { input, generation, .. } = out.task {
                    self.laws.prepared(out.site.serial, input, generation, outcome.is_ok());
                }
                Done::Preprocess(outcome)
            }
            Work::SlowDigest { what, input, .. } => {
                let outcome = ready(what.slow_digest(&LoadCx::detached(), input)).map_err(Failure::Said);
                Done::SlowDigest(self.spoil(&out, Stage::SlowDigest, outcome))
            }
            _ => self.stored(&out, early),
        };
        let said = match &done {
            Done::CacheMap(outcome) => told(outcome),
            Done::Exec(outcome) => told(outcome),
            Done::Preprocess(outcome) => told(outcome),
            Done::SlowDigest(outcome) => told(outcome),
            Done::Probe(outcome) => format!("{outcome:?}"),
            Done::Records(outcome) => format!("{outcome:?}"),
            Done::Load(outcome) => format!("{outcome:?}"),
            Done::Save(outcome) => format!("{outcome:?}"),
            Done::Forget(outcome) => format!("{outcome:?}"),
        };
        self.trace.say(format!("end {} v{}: {said}", out.ticket.0, out.vertex));
        done
    }

    /// What a store says, if it does not fail.
    fn stored(&mut self, out: &Out, early: Option<Done<i64>>) -> Done<i64> {
        let shape = self.setting.shape;
        let broken = |local: bool| if local { shape.broken_store } else { shape.deaf_imports };
        let error = || StoreError::new("broken");
        let done = early.map_or_else(|| self.settle(out), Some).unwrap();
        match (&out.work, done) {
            (Work::Probe { local, .. }, _) if self.chance(broken(*local)) => {
                self.laws.broken |= *local;
                Done::Probe(Err(error()))
            }
            (Work::Records { local, .. }, _) if self.chance(broken(*local)) => {
                self.laws.broken |= *local;
                Done::Records(Err(error()))
            }
            (Work::Save { .. }, _) if self.chance(shape.broken_store) => {
                self.laws.broken = true;
                Done::Save(Err(error()))
            }
            (Work::Load { .. }, Done::Load(Ok(_))) if out.cancelled && self.chance(0.7) => {
                Done::Load(Err(LoadError::failed("told to stop")))
            }
            (Work::Load { record, .. }, Done::Load(Ok(_))) if self.chance(shape.gone) => {
                let local = matches!(&out.task, Task::Load { candidate, .. } if candidate.source == LOCAL);
                let cache = if local { self.setting.local } else { self.setting.import.unwrap() };
                cache.shelf.lose(&record.result.id);
                self.laws.spoiled.insert(record.result.id.clone());
                Done::Load(Err(LoadError::gone("lost")))
            }
            (Work::Load { record, .. }, Done::Load(Ok(_))) if self.chance(shape.unloadable) => {
                self.laws.spoiled.insert(record.result.id.clone());
                Done::Load(Err(LoadError::failed("not now")))
            }
            (Work::Load { record, .. }, Done::Load(Err(cause))) => {
                self.laws.spoiled.insert(record.result.id.clone());
                Done::Load(Err(cause))
            }
            (Work::Save { result: Some(_), .. }, done) => {
                self.laws.remembered(self.setting.world.specs[out.vertex].same);
                done
            }
            (_, done) => done,
        }
    }

    /// What an op says: what it should, that it was cancelled, or what goes wrong.
    fn spoil<T>(&mut self, out: &Out, stage: Stage, outcome: Result<T, Failure>) -> Result<T, Failure> {
        let shape = self.setting.shape;
        if out.cancelled {
            return match self.rng.u8(..4) {
                0 => outcome,
                1 => Err(Failure::Said(OpError::failed("told to stop"))),
                2 => Err(Failure::Panicked("told to stop".to_owned())),
                _ => Err(Failure::Said(OpError::Cancelled)),
            };
        }
        if stage != Stage::CacheMap && self.chance(shape.losses) && self.lose_input(out) {
            let input = match out.task {
                Task::Exec { .. } => self.laws.last_lost,
                _ => 0,
            };
            return Err(Failure::Said(OpError::lost(input, "bytes are gone")));
        }
        if self.chance(shape.fails) {
            self.fail(out, stage);
            return Err(match self.rng.u8(..4) {
                0 => Failure::Said(OpError::Cancelled),
                1 => Failure::Panicked("as told".to_owned()),
                2 => Failure::TimedOut(Duration::from_secs(1)),
                _ => Failure::Said(OpError::failed("as told")),
            });
        }
        outcome
    }

    /// Takes note that a vertex fails.
    fn fail(&mut self, out: &Out, stage: Stage) {
        let machine = &self.machine;
        let node = match out.task {
            Task::Preprocess { input, .. } => {
                let below = machine.standing_for(machine.graph[out.site.node].inputs[input]);
                machine.edges[below.at()].node
            }
            _ => out.site.node,
        };
        self.laws.failed.insert((machine.graph[node].name.digest.clone(), stage));
    }

    /// Takes note of an input whose bytes are gone. False if there is none.
    fn lose_input(&mut self, out: &Out) -> bool {
        let machine = &self.machine;
        let node = &machine.graph[out.site.node];
        if node.inputs.is_empty() {
            return false;
        }
        let input = match out.task {
            Task::Preprocess { input, .. } | Task::SlowDigest { input, .. } => input,
            _ => self.rng.usize(..node.inputs.len()),
        };
        let below = machine.standing_for(node.inputs[input]);
        self.laws.last_lost = input;
        self.laws.grant(out.site.serial);
        self.laws.lost(machine, self.setting.world, below);
        true
    }
}

fn told<T>(outcome: &Result<T, Failure>) -> String {
    match outcome {
        Ok(_) => "done".to_owned(),
        Err(Failure::Said(said)) => said.to_string(),
        Err(Failure::Panicked(message)) => format!("panicked: {message}"),
        Err(Failure::TimedOut(_)) => "timed out".to_owned(),
    }
}
