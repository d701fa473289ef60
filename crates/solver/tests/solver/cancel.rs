//! Work that nobody wants any more.

use std::sync::Arc;

use lazyblob_solver::testing::{Gate, Script};
use lazyblob_solver::{Built, Edge, Error, Job, OpError, Solver};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::support::{asked, build, job, noted, solver, soon};

/// BuildKit rows 54, 55, 71: a cache map that nobody waits for is cancelled, and asked for anew by who comes next
/// (BuildKit: TestSingleCancelCache).
#[tokio::test(start_paused = true)]
async fn a_cancelled_cache_map_is_not_remembered() {
    let (solver, shelf) = solver();
    let gate = Gate::closed();
    let op = Script::new("op", 1).mapping_at(&gate);
    let job = job(&solver, &[&op]).await;
    let edge = op.edge();
    tokio::select! {
        built = job.build(&edge) => panic!("nobody let it on: {}", built.is_ok()),
        () = gate.reached(1) => {}
    }
    noted(&solver).await;
    gate.open();
    assert_eq!(soon(job.build(&edge)).await.unwrap().result, 1);
    assert_eq!(asked([&op]), [(2, 1)]);
    assert_eq!((op.counts().cancelled(), shelf.loads()), (1, 0));
    drop(job);
    solver.close().await;
}

/// BuildKit rows 54, 55, 71: the same for an op that runs; its cache map is kept (BuildKit: TestSingleCancelExec).
#[tokio::test(start_paused = true)]
async fn a_cancelled_run_is_not_remembered() {
    let (solver, shelf) = solver();
    let gate = Gate::closed();
    let op = Script::new("op", 1).running_at(&gate);
    let job = job(&solver, &[&op]).await;
    let edge = op.edge();
    tokio::select! {
        built = job.build(&edge) => panic!("nobody let it on: {}", built.is_ok()),
        () = gate.reached(1) => {}
    }
    noted(&solver).await;
    assert!(shelf.is_empty());
    gate.open();
    assert_eq!(soon(job.build(&edge)).await.unwrap().result, 1);
    assert_eq!(asked([&op]), [(1, 2)]);
    assert_eq!((op.counts().cancelled(), shelf.len()), (1, 1));
    drop(job);
    solver.close().await;
}

/// BuildKit row 54: work goes on as long as one of several still waits for it (BuildKit: TestSingleCancelParallel).
#[tokio::test(start_paused = true)]
async fn work_goes_on_for_who_is_left() {
    for discards in [false, true] {
        let (solver, _) = solver();
        let gate = Gate::closed();
        let op = Script::new("op", 1).running_at(&gate);
        let (leaver, stayer) = (job(&solver, &[&op]).await, job(&solver, &[&op]).await);
        let edge = op.edge();
        let leaves = async {
            tokio::select! {
                _ = leaver.build(&edge) => panic!("nobody let it on"),
                () = gate.reached(1) => {}
            }
            if discards {
                leaver.discard();
            }
            noted(&solver).await;
            gate.open();
        };
        let (built, ()) = soon(async { tokio::join!(stayer.build(&edge), leaves) }).await;
        assert_eq!(built.unwrap().result, 1);
        assert_eq!((asked([&op]), op.counts().cancelled()), ([(1, 1)], 0));
        drop(stayer);
        solver.close().await;
    }
}

/// BuildKit row 55: whoever comes when work was cancelled and has not returned waits for its end, and gets a clean run.
#[tokio::test(start_paused = true)]
async fn a_newcomer_waits_for_the_end_of_what_was_cancelled() {
    let (solver, _) = solver();
    let (running, returning) = (Gate::closed(), Gate::closed());
    let (at, back) = (running.clone(), returning.clone());
    let op = Script::new("op", 1).running(move |cx, _, before| {
        let (at, back) = (at.clone(), back.clone());
        async move {
            if before > 0 {
                return Ok(vec![2]);
            }
            tokio::select! {
                () = at.pass() => Ok(vec![1]),
                () = cx.cancelled() => {
                    back.pass().await;
                    Err(OpError::Cancelled)
                }
            }
        }
    });
    let (first, second) = (job(&solver, &[&op]).await, job(&solver, &[&op]).await);
    let edge = op.edge();
    tokio::select! {
        _ = first.build(&edge) => panic!("nobody let it on"),
        () = running.reached(1) => {}
    }
    first.discard();
    returning.reached(1).await;
    let driver = async {
        noted(&solver).await;
        assert_eq!(op.counts().execs(), 1, "nothing of an op runs beside what was cancelled");
        returning.open();
    };
    let (built, ()) = soon(async { tokio::join!(second.build(&edge), driver) }).await;
    assert_eq!((built.unwrap().result, op.counts().execs()), (2, 2));
    drop(second);
    solver.close().await;
}

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

/// One of two jobs.
struct Side {
    stop: Option<oneshot::Sender<()>>,
    task: JoinSet<(Job<i64>, Option<Result<Built<i64>, Error>>)>,
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

/// A diamond, one of whose parts waits at a gate. The right side is known by its content, too.
fn diamond(stage: usize, gate: &Gate) -> [Script; 4] {
    let base = Script::new("base", 10);
    let base = match stage {
        0 => base.mapping_at(gate),
        1 => base.running_at(gate),
        _ => base,
    };
    let left = Script::new("left", 1).input(&base);
    let left = if stage == 2 { left.running_at(gate) } else { left };
    let right = Script::new("right", 100).input(&base).by_content();
    let right = if stage == 3 { right.digesting_at(gate) } else { right };
    let top = Script::new("top", 1000).input(&left).input(&right);
    let top = if stage == 4 { top.running_at(gate) } else { top };
    [base, left, right, top]
}

/// BuildKit rows 54, 55, 71, 73: two jobs that share a diamond begin and end in every order, each in every way, while every
/// part of the diamond in turn is at work. Whoever stays gets the result; nothing runs twice to an end; nothing is cancelled
/// that somebody wants; and nothing is left over.
#[tokio::test(start_paused = true)]
async fn two_jobs_may_end_in_every_order() {
    let orders = ["AABB", "ABAB", "ABBA", "BBAA", "BABA", "BAAB"];
    let ends = [End::Withdrawn, End::Discarded, End::Finished];
    for stage in 0..5 {
        for order in orders {
            for how in ends.iter().flat_map(|a| ends.iter().map(|b| [*a, *b])) {
                two_jobs(stage, order, how).await;
            }
        }
    }
}

async fn two_jobs(stage: usize, order: &str, how: [End; 2]) {
    let case = format!("stage {stage}, {order}, {how:?}");
    let (solver, shelf) = solver();
    let gate = Gate::closed();
    let ops = diamond(stage, &gate);
    let ops = ops.each_ref();
    let edge = ops[3].edge();
    let mut sides: [Option<Side>; 2] = [None, None];
    let (mut waiting, mut finished, mut forgotten) = (0, false, 0);
    for turn in order.bytes() {
        let at = usize::from(turn == b'B');
        match &mut sides[at] {
            None => {
                let came = gate.came();
                sides[at] = Some(Side::begin(&solver, &ops, edge.clone()).await);
                if waiting == 0 && !finished {
                    soon(gate.reached(came + 1)).await;
                }
                waiting += 1;
            }
            Some(side) => {
                let before: usize = ops.iter().map(|op| op.counts().cancelled()).sum();
                side.end(how[at], &gate).await;
                finished |= how[at] == End::Finished;
                waiting -= 1;
                // What ends well after everybody has gone is not kept.
                let kept = sides.iter().flatten().any(|side| side.job.is_some());
                forgotten += usize::from(waiting == 0 && !kept);
                noted(&solver).await;
                let after: usize = ops.iter().map(|op| op.counts().cancelled()).sum();
                assert!(waiting == 0 || before == after, "{case}: cancelled what somebody wants");
            }
        }
    }
    gate.open();
    let ran = ops.map(|op| op.counts().execs());
    // The jobs that are still there hold what they hold.
    let (last, built) = build(&solver, &ops).await;
    assert_eq!(built.result, 1121, "{case}");
    for (op, ran) in ops.iter().zip(ran) {
        let counts = op.counts();
        assert!(!finished || counts.execs() == ran, "{case}: {} ran again", op.edge());
        let broken_off = if stage == 0 || stage == 3 { 0 } else { counts.cancelled() };
        assert!(counts.execs() <= 1 + broken_off + forgotten, "{case}: {} ran to its end twice", op.edge());
    }
    assert_eq!(shelf.len(), 4, "{case}");
    drop((last, sides));
    soon(solver.close()).await;
}

/// A solver that is closed while it works cancels and waits: nothing runs afterwards.
#[tokio::test(start_paused = true)]
async fn closing_cancels_and_waits() {
    let (solver, _) = solver();
    let gate = Gate::closed();
    let op = Script::new("op", 1).running_at(&gate);
    let job = Arc::new(job(&solver, &[&op]).await);
    let edge = op.edge();
    let driver = async {
        gate.reached(1).await;
        solver.close().await;
        assert_eq!(op.counts().cancelled(), 1, "it has returned");
    };
    let (built, ()) = soon(async { tokio::join!(job.build(&edge), driver) }).await;
    assert!(matches!(built, Err(Error::Cancelled { job: id }) if id == job.id()));
    assert!(matches!(job.build(&edge).await, Err(Error::Closed)));
}
