//! Work that nobody wants any more.

use std::sync::Arc;

use lazyblob_solver::testing::{Gate, Script};
use lazyblob_solver::{Error, OpError};

use crate::support::{asked, build, job, noted, solver, soon, warnings};

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

/// BuildKit rows 54, 70: an op goes on for a job whose vertex was merged into that of the one that leaves.
#[tokio::test(start_paused = true)]
async fn work_goes_on_for_who_was_merged() {
    for stage in ["below", "op", "above"] {
        let (solver, shelf) = solver();
        let gate = Gate::closed();
        let graph = |side: &str| {
            let op = |name: &str| Script::new(&format!("{side} {name}"), 1).key(name);
            let here = |op: Script, name: &str| if name == stage { op.running_at(&gate) } else { op };
            let below = here(op("below"), "below");
            let middle = here(op("op").input(&below), "op");
            let above = here(op("above").input(&middle), "above");
            [below, middle, above]
        };
        let (left, right) = (graph("left"), graph("right"));
        let (leaver, stayer) = (job(&solver, &left.each_ref()).await, job(&solver, &right.each_ref()).await);
        let edges = [left[2].edge(), right[2].edge()];
        let leaves = async {
            tokio::select! {
                _ = leaver.build(&edges[0]) => panic!("nobody let it on"),
                () = async {
                    // The other comes while it works, and is merged.
                    while right.iter().any(|op| op.counts().maps() == 0) {
                        noted(&solver).await;
                    }
                    noted(&solver).await;
                } => {}
            }
            leaver.discard();
            noted(&solver).await;
            gate.open();
        };
        let stays = async {
            gate.reached(1).await;
            stayer.build(&edges[1]).await
        };
        let (built, ()) = soon(async { tokio::join!(stays, leaves) }).await;
        assert_eq!(built.unwrap().result, 3, "{stage}");
        for (one, other) in left.iter().zip(&right) {
            assert_eq!((one.counts().execs(), other.counts().execs()), (1, 0), "{stage}");
            assert_eq!((one.counts().cancelled(), other.counts().cancelled()), (0, 0), "{stage}");
        }
        assert_eq!((shelf.len(), shelf.loads()), (3, 0));
        drop(stayer);
        soon(solver.close()).await;
    }
}

/// BuildKit rows 54, 55, 68: a load that nobody waits for is cancelled, which says nothing about the record; it goes on for
/// who is left.
#[tokio::test(start_paused = true)]
async fn a_cancelled_load_says_nothing_about_the_record() {
    for stays in [false, true] {
        let (solver, shelf) = solver();
        let op = Script::new("op", 1);
        let (first, _) = build(&solver, &[&op]).await;
        first.discard();
        let gate = Gate::closed();
        shelf.load_at(&gate);
        let (leaver, stayer) = (job(&solver, &[&op]).await, job(&solver, &[&op]).await);
        let edge = op.edge();
        let leaves = async {
            tokio::select! {
                _ = leaver.build(&edge) => panic!("nobody let it on"),
                () = gate.reached(1) => {}
            }
            leaver.discard();
            noted(&solver).await;
            gate.open();
        };
        let built = if stays {
            soon(async { tokio::join!(stayer.build(&edge), leaves) }).await.0
        } else {
            soon(leaves).await;
            soon(stayer.build(&edge)).await
        };
        let built = built.unwrap();
        assert_eq!((built.result, built.cached), (1, true));
        assert_eq!((asked([&op]), shelf.loads()), ([(2, 1)], if stays { 1 } else { 2 }));
        assert_eq!(warnings(&stayer), Vec::<String>::new());
        drop(stayer);
        soon(solver.close()).await;
    }
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
