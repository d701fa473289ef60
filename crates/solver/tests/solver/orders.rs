//! Two jobs that want the same, in every order of beginning and ending.

use lazyblob_solver::testing::{Gate, Script};
use lazyblob_solver::{Built, Edge, Error, Job, Solver};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::support::{build, job, noted, solver, soon};

/// How a job of two ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Its build is dropped, the job stays.
    Withdrawn,
    /// The job is discarded while it builds.
    Discarded,
    /// It gets its result.
    Finished,
}

/// A job, and what it came to if it was not stopped before.
type Outcome = (Job<i64>, Option<Result<Built<i64>, Error>>);

/// One of two jobs.
struct Side {
    stop: Option<oneshot::Sender<()>>,
    task: JoinSet<Outcome>,
    job: Option<Job<i64>>,
}

impl Side {
    async fn begin(solver: &Solver<i64>, ops: &[&Script], edge: Edge) -> Self {
        let job = job(solver, ops).await;
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let built = tokio::select! {
                built = job.build(&edge) => Some(built),
                _ = stopped => None,
            };
            (job, built)
        });
        Self { stop: Some(stop), task, job: None }
    }

    async fn end(&mut self, end: End, gate: &Gate) {
        match end {
            End::Finished => gate.open(),
            End::Withdrawn | End::Discarded => drop(self.stop.take()),
        }
        let (job, built) = soon(self.task.join_next()).await.unwrap().unwrap();
        match built {
            Some(built) => assert_eq!(built.unwrap().result, 1121),
            None => assert_ne!(end, End::Finished),
        }
        if end != End::Discarded {
            self.job = Some(job);
        }
    }
}

/// A diamond, one of whose parts waits at a gate. The right side is known by its content, too. Those of other owners have
/// vertices of their own and the same keys.
fn diamond(owner: &str, stage: usize, gate: &Gate) -> [Script; 4] {
    let op = |name: &str, value| Script::new(&format!("{owner} {name}"), value).key(name);
    let base = op("base", 10);
    let base = match stage {
        0 => base.mapping_at(gate),
        1 => base.running_at(gate),
        _ => base,
    };
    let left = op("left", 1).input(&base);
    let left = if stage == 2 { left.running_at(gate) } else { left };
    let right = op("right", 100).input(&base).by_content();
    let right = if stage == 3 { right.digesting_at(gate) } else { right };
    let top = op("top", 1000).input(&left).input(&right);
    let top = if stage == 4 { top.running_at(gate) } else { top };
    [base, left, right, top]
}

/// BuildKit rows 54, 55, 71, 73: two jobs that share a diamond begin and end in every order, each in every way, while every
/// part of the diamond in turn is at work. Whoever stays gets the result; nothing runs twice to an end; nothing is cancelled
/// that somebody wants; and nothing is left over.
#[tokio::test(start_paused = true)]
async fn two_jobs_that_share_may_end_in_every_order() {
    every_order(["both", "both"]).await;
}

/// BuildKit rows 54, 55, 70, 73: the same for two diamonds of different vertices and the same keys, which are merged.
#[tokio::test(start_paused = true)]
async fn two_jobs_that_are_merged_may_end_in_every_order() {
    every_order(["left", "right"]).await;
}

async fn every_order(owners: [&str; 2]) {
    let orders = ["AABB", "ABAB", "ABBA", "BBAA", "BABA", "BAAB"];
    let ends = [End::Withdrawn, End::Discarded, End::Finished];
    for stage in 0..5 {
        for order in orders {
            for how in ends.iter().flat_map(|a| ends.iter().map(|b| [*a, *b])) {
                two_jobs(owners, stage, order, how).await;
            }
        }
    }
}

async fn two_jobs(owners: [&str; 2], stage: usize, order: &str, how: [End; 2]) {
    let case = format!("{owners:?}, stage {stage}, {order}, {how:?}");
    let (solver, shelf) = solver();
    let gate = Gate::closed();
    let merged = owners[0] != owners[1];
    let first = diamond(owners[0], stage, &gate);
    let second = if merged { diamond(owners[1], stage, &gate) } else { first.clone() };
    let sets = [first.each_ref(), second.each_ref()];
    // Of each op of the diamond, whoever's it is.
    let summed = |count: fn(&Script) -> usize| -> [usize; 4] {
        std::array::from_fn(|at| count(sets[0][at]) + if merged { count(sets[1][at]) } else { 0 })
    };
    let execs = || summed(|op| op.counts().execs());
    let cancelled = || summed(|op| op.counts().cancelled());
    let mut sides: [Option<Side>; 2] = [None, None];
    let (mut waiting, mut finished, mut forgotten) = (0, false, 0);
    for turn in order.bytes() {
        let at = usize::from(turn == b'B');
        match &mut sides[at] {
            None => {
                let came = gate.came();
                sides[at] = Some(Side::begin(&solver, &sets[at], sets[at][3].edge()).await);
                if waiting == 0 && !finished {
                    soon(gate.reached(came + 1)).await;
                }
                // Everything that can be merged with what is at work has been when it has told its cache maps.
                for _ in 0..20 {
                    noted(&solver).await;
                }
                waiting += 1;
            }
            Some(side) => {
                let before = cancelled();
                side.end(how[at], &gate).await;
                finished |= how[at] == End::Finished;
                waiting -= 1;
                // What ends well after everybody has gone is not kept.
                let kept = sides.iter().flatten().any(|side| side.job.is_some());
                forgotten += usize::from(waiting == 0 && !kept);
                noted(&solver).await;
                // A cache map that has not been told is not merged: everybody waits for its own.
                let own = merged && stage == 0;
                assert!(
                    waiting == 0 || own || before == cancelled(),
                    "{case}: cancelled what somebody wants"
                );
            }
        }
    }
    gate.open();
    let ran = execs();
    // The jobs that are still there hold what they hold.
    let (last, built) = build(&solver, &sets[0]).await;
    assert_eq!(built.result, 1121, "{case}");
    assert!(!finished || execs() == ran, "{case}: {ran:?}, and then {:?}", execs());
    for (op, (execs, cancelled)) in execs().into_iter().zip(cancelled()).enumerate() {
        let broken_off = if stage == 0 || stage == 3 { 0 } else { cancelled };
        assert!(execs <= 1 + broken_off + forgotten, "{case}: op {op} ran to its end twice");
    }
    assert_eq!(shelf.len(), 4, "{case}");
    drop((last, sides));
    soon(solver.close()).await;
}
