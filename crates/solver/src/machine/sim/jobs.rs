//! What jobs do: they come, ask, lose patience or a result, and go, in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::life::Life;
use crate::error::{Cause, Error, Result};
use crate::ids::JobId;
use crate::machine::{Answer, RequestId};
use crate::status::Journal;

/// A job.
pub(super) struct SimJob {
    pub(super) id: JobId,
    members: Vec<usize>,
    loading: BTreeSet<RequestId>,
    open: BTreeMap<RequestId, (usize, u32)>,
    built: Vec<(usize, u32, u32)>,
    pub(super) gone: bool,
}

impl Life<'_> {
    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn choose(&mut self, fits: impl Fn(&SimJob) -> bool) -> Option<usize> {
        let fitting: Vec<_> = (0..self.jobs.len()).filter(|at| fits(&self.jobs[*at])).collect();
        if fitting.is_empty() { None } else { Some(fitting[self.rng.usize(..fitting.len())]) }
    }

    /// Has a job do something. False if nothing came of it.
    pub(super) fn make_a_move(&mut self) -> bool {
        let hasty = self.rng.f64() < self.setting.shape.hasty;
        match self.rng.u8(..8) {
            0 | 1 => self.arrive(),
            2 | 3 | 4 => self.ask(),
            5 => hasty && self.withdraw(),
            6 => self.rng.f64() < self.setting.shape.losses && self.lose(),
            _ => self.depart(hasty),
        }
    }

    fn arrive(&mut self) -> bool {
        if self.jobs.iter().filter(|job| !job.gone).count() >= self.setting.shape.jobs {
            return false;
        }
        let sources = match self.setting.import.filter(|_| self.rng.f64() < self.setting.shape.imports) {
            Some(import) => vec![Arc::clone(&import.index) as _],
            None => Vec::new(),
        };
        let id = self.machine.open(None, sources, self.rng.bool(), Arc::new(Journal::new(0)));
        let (members, loading) = (Vec::new(), BTreeSet::new());
        let job = SimJob { id, members, loading, open: BTreeMap::new(), built: Vec::new(), gone: false };
        self.jobs.push(job);
        self.load(self.jobs.len() - 1);
        true
    }

    fn load(&mut self, at: usize) {
        let count = self.setting.world.specs.len();
        let tops: Vec<_> = (0..self.rng.usize(1..=2)).map(|_| self.rng.usize(count / 2..count)).collect();
        let ignoring = (0..count).filter(|_| self.rng.f64() < self.setting.shape.ignoring / 3.0).collect();
        let (graph, members) = self.setting.world.graph(&tops, &ignoring);
        let request = self.request();
        let job = &mut self.jobs[at];
        self.trace.say(format!("{} loads {tops:?} ignoring {ignoring:?} ({})", job.id, request.0));
        job.members.extend(members);
        job.loading.insert(request);
        self.machine.load(job.id, graph, request);
    }

    fn ask(&mut self) -> bool {
        let Some(at) = self.choose(|job| !job.gone && job.loading.is_empty()) else { return false };
        if self.rng.u8(..10) == 0 {
            self.load(at);
            return true;
        }
        let request = self.request();
        let members = &self.jobs[at].members;
        let last = members.len() - 1;
        let vertex = members[if self.rng.bool() { last } else { self.rng.usize(..=last) }];
        let outputs = self.setting.world.specs[vertex].outputs;
        let absurd = self.rng.f64() < self.setting.shape.fails;
        let output = if absurd { outputs } else { self.rng.u32(..outputs) };
        let edge = self.setting.world.edge(vertex, output);
        self.asked.insert((vertex, output));
        self.laws.news |= !self.setting.answered.contains(&(vertex, output));
        let job = &mut self.jobs[at];
        job.open.insert(request, (vertex, output));
        self.trace.say(format!("{} asks for v{vertex}[{output}] ({})", job.id, request.0));
        self.machine.build(job.id, &edge, request);
        true
    }

    fn withdraw(&mut self) -> bool {
        let Some(at) = self.choose(|job| !job.open.is_empty()) else { return false };
        let open: Vec<_> = self.jobs[at].open.keys().copied().collect();
        let request = open[self.rng.usize(..open.len())];
        self.jobs[at].open.remove(&request);
        self.trace.say(format!("withdraw ({})", request.0));
        self.machine.withdraw(request, None);
        true
    }

    fn lose(&mut self) -> bool {
        let Some(at) = self.choose(|job| !job.gone && !job.built.is_empty()) else { return false };
        let built = self.rng.usize(..self.jobs[at].built.len());
        let (vertex, output, generation) = self.jobs[at].built.swap_remove(built);
        let (id, edge) = (self.jobs[at].id, self.setting.world.edge(vertex, output));
        let node = self.machine.held_by(id, &edge.vertex).unwrap();
        let standing = self.machine.edge(node, output);
        let standing = self.machine.standing_for(standing);
        self.trace.say(format!("{id} lost v{vertex}[{output}] of {generation}"));
        self.laws.lost(&self.machine, self.setting.world, standing);
        let cause = Cause::from(Box::<dyn std::error::Error + Send + Sync>::from("bytes are gone"));
        let outcome = self.machine.lost(id, &edge, generation, &cause);
        if let Err(error) = outcome {
            self.laws.excuse(self.setting.world, vertex, &error);
        }
        true
    }

    fn depart(&mut self, hasty: bool) -> bool {
        let fits = |job: &SimJob| !job.gone && (hasty || job.open.is_empty() && job.loading.is_empty());
        let Some(at) = self.choose(fits) else { return false };
        let job = &mut self.jobs[at];
        job.gone = true;
        let id = job.id;
        self.trace.say(format!("{id} goes"));
        self.machine.discard(id);
        self.laws.forsaken(&self.machine);
        true
    }

    /// Has a job go that has got all it asked for. False if all have gone.
    pub(super) fn leave(&mut self) -> bool {
        self.depart(false)
    }

    /// Whether an answer is as it should be.
    pub(super) fn take_answer(&mut self, request: RequestId, answer: Result<Answer<i64>>) {
        let said = match &answer {
            Ok(Answer::Loaded) => "loaded".to_owned(),
            Ok(Answer::Built { result, vertex, generation, .. }) => {
                format!("{result} of {} ({generation})", vertex.name)
            }
            Err(error) => error.to_string(),
        };
        self.trace.say(format!("  answer ({}): {said}", request.0));
        let subs = self.out.iter_mut().filter_map(|out| Some((out.site, out.sub.as_mut()?)));
        for (site, sub) in subs {
            if sub.request == Some(request) {
                let of = sub.target;
                sub.answer = Some(answer.is_ok());
                match &answer {
                    Ok(Answer::Built { result, .. }) => {
                        assert_eq!(*result, self.setting.world.specs[of].values[0], "v{of} within");
                    }
                    Ok(Answer::Loaded) => panic!("a build is not a load"),
                    Err(Error::Cancelled { .. } | Error::Closed) => {
                        assert!(!self.machine.builds(site.node), "cancelled for nothing");
                    }
                    Err(error) => self.laws.excuse(self.setting.world, of, error),
                }
                return;
            }
        }
        let Some(job) = self
            .jobs
            .iter_mut()
            .find(|job| job.loading.contains(&request) || job.open.contains_key(&request))
        else {
            panic!("an answer that nobody waits for: {}", request.0);
        };
        if job.loading.remove(&request) {
            assert!(matches!(answer, Ok(Answer::Loaded)) || job.gone, "not loaded: {said}");
            return;
        }
        let (vertex, output) = job.open.remove(&request).unwrap();
        match answer {
            Ok(Answer::Built { result, generation, .. }) => {
                assert!(!job.gone, "a result for a job that has gone");
                assert_eq!(result, self.setting.world.specs[vertex].values[output as usize], "v{vertex}");
                job.built.push((vertex, output, generation));
                self.laws.answered.insert((vertex, output));
            }
            Ok(Answer::Loaded) => panic!("a build is not a load"),
            Err(Error::Contract { .. }) if output == self.setting.world.specs[vertex].outputs => {}
            Err(Error::Cancelled { job: id }) => assert!(job.gone && job.id == id, "cancelled for nothing"),
            Err(error) => self.laws.excuse(self.setting.world, vertex, &error),
        }
    }
}
