//! What fails, for whom, and for how long.

use std::sync::Arc;

use lazyblob_solver::testing::{Gate, Ledger, Script, Shelf};
use lazyblob_solver::{CacheIndex, Error, Solver, Stage};

use crate::support::{asked, build, checked, job, noted, once, solver, soon, warnings};

/// BuildKit rows 71, 74: a failure is told with its vertex and stage, is remembered for all who share the vertex, and is
/// forgotten with the vertex (BuildKit: TestErrorReturns).
#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_as_long_as_its_vertex() {
    for stage in [Stage::CacheMap, Stage::Exec] {
        let (solver, shelf) = solver();
        let below = Script::new("below", 1);
        let op = Script::new("op", 10).input(&below);
        let op = if stage == Stage::CacheMap { op.failing_maps(1) } else { op.failing_runs(1) };
        let above = Script::new("above", 100).input(&op);
        let bystander = Script::new("bystander", 5);
        let ops = [&below, &op, &above, &bystander];
        let failed = |outcome: Result<_, Error>| match outcome {
            Err(Error::Op { vertex, stage: at, cause }) => {
                assert_eq!((&*vertex.name, at, cause.to_string().as_str()), ("op", stage, "failure 0"));
            }
            Err(other) => panic!("{other}"),
            Ok(()) => panic!("it fails"),
        };
        let first = job(&solver, &ops).await;
        failed(soon(first.build(&above.edge())).await.map(|_| ()));
        let after = asked([&below, &op, &above]);
        assert_eq!(after[2].1, 0, "it has no input to run with");
        assert_eq!(after[1], if stage == Stage::CacheMap { (1, 0) } else { (1, 1) });

        // Remembered: asked again by the same job, for itself, and by another job.
        failed(soon(first.build(&above.edge())).await.map(|_| ()));
        failed(soon(first.build(&op.edge())).await.map(|_| ()));
        let second = job(&solver, &ops).await;
        failed(soon(second.build(&above.edge())).await.map(|_| ()));
        assert_eq!(asked([&below, &op, &above]), after);

        // Whatever does not need it is not concerned.
        assert_eq!(soon(second.build(&bystander.edge())).await.unwrap().result, 5);
        assert_eq!(soon(second.build(&below.edge())).await.unwrap().result, 1);

        // As long as anybody has it.
        first.discard();
        failed(soon(second.build(&above.edge())).await.map(|_| ()));
        second.discard();
        let (third, built) = build(&solver, &[&below, &op, &above]).await;
        assert_eq!(built.result, 111);
        assert_eq!((below.counts().execs(), above.counts().execs()), (1, 1));
        assert_eq!(op.counts().execs(), if stage == Stage::CacheMap { 1 } else { 2 });
        assert_eq!(shelf.loads(), 1, "`below` alone is known");
        drop(third);
        solver.close().await;
    }
}

/// BuildKit rows 67, 71: an op that failed keeps nobody from its keys: what is above it and known is found by them.
#[tokio::test(start_paused = true)]
async fn what_is_above_a_failure_is_found_all_the_same() {
    let (solver, shelf) = solver();
    let bottom = Script::new("bottom", 1);
    let middle = Script::new("middle", 10).input(&bottom);
    let top = Script::new("top", 100).input(&middle);
    once(&solver, &[&bottom, &middle, &top]).await;
    shelf.lose(11);
    let fails = Script::new("middle", 10).input(&bottom).failing_runs(9);
    let holder = job(&solver, &[&bottom, &fails]).await;
    assert!(soon(holder.build(&fails.edge())).await.is_err());
    let loads = shelf.loads();

    let again = Script::new("top", 100).input(&middle);
    assert_eq!(once(&solver, &[&bottom, &middle, &again]).await, (111, true));
    assert_eq!((again.counts().execs(), shelf.loads()), (0, loads + 1));
    // What is not known fails with what is below it.
    let other = Script::new("other", 200).input(&middle);
    let needs = job(&solver, &[&bottom, &middle, &other]).await;
    let error = soon(needs.build(&other.edge())).await.err();
    assert!(matches!(error, Some(Error::Op { vertex, stage: Stage::Exec, .. }) if &*vertex.name == "middle"));
    assert_eq!((fails.counts().execs(), middle.counts().execs(), other.counts().execs()), (1, 1, 0));
    drop((holder, needs));
    solver.close().await;
}

/// BuildKit row 68: a record whose result is gone is dropped, and the op runs (BuildKit: TestCacheErrNotFound).
#[tokio::test(start_paused = true)]
async fn a_result_that_is_gone_is_computed_again() {
    let (solver, shelf) = solver();
    let op = Script::new("op", 1);
    assert_eq!(once(&solver, &[&op]).await, (1, false));
    shelf.lose_all();
    let (job, built) = build(&solver, &[&op]).await;
    assert_eq!((built.result, built.cached), (1, false));
    assert_eq!((asked([&op]), shelf.loads()), ([(2, 2)], 1));
    let warnings = warnings(&job);
    assert!(matches!(&warnings[..], [only] if only.contains("local-0")), "{warnings:?}");
    drop(job);

    // Only the new record is left to be tried.
    assert_eq!(once(&solver, &[&op]).await, (1, true));
    assert_eq!((asked([&op]), shelf.loads()), ([(3, 2)], 2));
    solver.close().await;
}

/// BuildKit rows 68, 80: a record that fails to load is passed over for the next, the newest first; where there is none left,
/// the op runs (BuildKit: TestCacheLoadError).
#[tokio::test(start_paused = true)]
async fn the_next_record_is_tried_before_the_op() {
    let (solver, shelf) = solver();
    let input = Script::new("input", 0);
    let version = |value| Script::new("op", value).key("op").input(&input);
    // Three results of one key, each younger than the one before.
    for value in [1, 2, 3] {
        let op = version(value).ignoring_cache();
        assert_eq!(once(&solver, &[&input, &op]).await, (value, false));
    }
    let loads = shelf.loads();
    let op = version(9);
    assert_eq!(once(&solver, &[&input, &op]).await, (3, true));
    assert_eq!(shelf.loads(), loads + 1);
    shelf.lose(3);
    assert_eq!(once(&solver, &[&input, &op]).await, (2, true));
    assert_eq!(shelf.loads(), loads + 3, "the newest is gone, the next is there");
    shelf.lose(2);
    shelf.lose(1);
    assert_eq!(once(&solver, &[&input, &op]).await, (9, false));
    // Two that are gone, one is not there any more, and the input for the run.
    assert_eq!(shelf.loads(), loads + 6);
    assert_eq!(op.counts().execs(), 1);
    assert_eq!(input.counts().execs(), 1);
    solver.close().await;
}

/// BuildKit row 68: where nothing can be loaded everything runs once, after one try each; and nothing is forgotten that only
/// could not be had at the time. (BuildKit's TestCacheLoadError sees six tries for five ops: it tries one record twice.)
#[tokio::test(start_paused = true)]
async fn what_cannot_be_loaded_now_may_be_later() {
    let (solver, shelf) = solver();
    let bottom = Script::new("bottom", 1);
    let [left, right] = [10, 100].map(|value| Script::new(&format!("{value}"), value).input(&bottom));
    let middle = Script::new("middle", 1000).input(&left).input(&right).by_content();
    let top = Script::new("top", 10_000).input(&middle);
    let ops = [&bottom, &left, &right, &middle, &top];
    assert_eq!(once(&solver, &ops).await, (11_112, false));

    shelf.set_jammed(true);
    let (job, built) = build(&solver, &ops).await;
    assert_eq!((built.result, built.cached), (11_112, false));
    assert_eq!((asked(ops), shelf.loads(), shelf.len()), ([(2, 2); 5], 5, 10));
    assert_eq!(warnings(&job).len(), 5);
    drop(job);

    // Both records of each are there still.
    shelf.set_jammed(false);
    assert_eq!(once(&solver, &ops).await, (11_112, true));
    assert_eq!((asked(ops), shelf.loads()), ([(3, 2); 5], 6));
    solver.close().await;
}

/// BuildKit row 74: a job that is not there is named, and a solver that is not there is another error (BuildKit:
/// TestUnknownBuildID).
#[tokio::test(start_paused = true)]
async fn a_job_that_is_gone_is_named() {
    let (solver, _) = solver();
    let op = Script::new("op", 1);
    let job = job(&solver, &[&op]).await;
    let id = job.id();
    assert!(solver.status(id).await.is_ok());
    // What was not loaded is not there to be built.
    let stranger = Script::new("stranger", 1);
    assert!(matches!(soon(job.build(&stranger.edge())).await, Err(Error::Invalid { .. })));
    job.discard();
    noted(&solver).await;
    // What it told is kept for a while.
    assert!(solver.status(id).await.is_ok());
    tokio::time::sleep(checked().status_grace).await;
    noted(&solver).await;
    assert!(matches!(solver.status(id).await, Err(Error::UnknownJob { job }) if job == id));
    assert_eq!(asked([&op, &stranger]), [(0, 0); 2]);
    solver.close().await;
    assert!(matches!(solver.status(id).await, Err(Error::Closed)));
}

/// BuildKit row 69: inputs whose keys come in every mixture of definition and content, missing and found, by store at once or
/// late, never leave an edge waiting for nothing (BuildKit: TestInputRequestDeadlock).
#[tokio::test(start_paused = true)]
async fn no_mixture_of_inputs_leaves_anybody_waiting() {
    for case in 0..512u32 {
        let bit = |at: u32| case >> at & 1 == 1;
        let (gate, late) = (Gate::closed(), bit(8));
        if !late {
            gate.open();
        }
        let (keys, shelf) = (Arc::new(Ledger::new().waiting_at(&gate)), Arc::new(Shelf::new("local")));
        let cache = CacheIndex::new("local", keys, Arc::clone(&shelf) as _);
        let solver = Solver::new(Arc::new(cache), checked());
        let graph = |round: u32| {
            let version = |changes: bool| if changes { round } else { 0 };
            let below = Script::new(&format!("below {}", version(bit(0))), 1);
            let one = Script::new(&format!("one {} {round}", version(bit(1))), 2);
            let one = one.key(&format!("one {}", version(bit(1)))).input(&below);
            let one = if bit(2) { one.by_content() } else { one };
            let two = Script::new(&format!("two {}", version(bit(3))), 3 + i64::from(version(bit(4))))
                .input(&below);
            let top = Script::new(&format!("top {round}"), 100).key("top").input(&one);
            let top = if bit(5) { top.by_content() } else { top };
            let top = top.input(&two);
            let top = if bit(6) { top.by_content() } else { top };
            let top = top.input(&below);
            let top = if bit(7) { top.by_content() } else { top };
            [below, one, two, top]
        };
        for round in 0..3 {
            let ops = graph(round);
            let driver = async {
                // One answer of the store after the other, each when everything else has come to rest.
                if late {
                    loop {
                        for _ in 0..3 {
                            tokio::task::yield_now().await;
                        }
                        gate.admit(1);
                    }
                }
                std::future::pending::<()>().await;
            };
            let refs = ops.each_ref();
            let outcome = tokio::select! {
                outcome = once(&solver, &refs) => outcome,
                () = driver => unreachable!(),
            };
            // `one` may be found by the content of what it reads; and the top by that of whatever it looks into.
            let one = !bit(1) && (!bit(0) || bit(2)) || bit(5);
            let two = !bit(3) && !bit(0) || bit(6) && !bit(4);
            let below = !bit(0) || bit(7);
            let known = round > 0 && one && two && below;
            let newer = if bit(4) && (bit(3) || bit(0)) { i64::from(round) } else { 0 };
            assert_eq!(outcome, (108 + newer, known), "case {case:#b}, round {round}");
            assert_eq!(ops[3].counts().execs(), usize::from(!known), "case {case:#b}, round {round}");
            assert!(ops.iter().all(|op| op.counts().execs() <= 1), "case {case:#b}");
        }
        soon(solver.close()).await;
    }
}
