//! What is computed, and how much at once.

use std::collections::HashSet;
use std::sync::Arc;

use fastrand::Rng;
use lazyblob_solver::testing::{Gate, Ledger, Script, Shelf};
use lazyblob_solver::{CacheIndex, Solver};

use crate::support::{asked, build, checked, job, once, solver, soon};

/// BuildKit row 59: every op gets the outputs of its inputs, in order, whatever shares them (BuildKit:
/// TestMultiLevelCalculation).
#[tokio::test(start_paused = true)]
async fn every_op_gets_its_inputs_in_order() {
    let (solver, _) = solver();
    let [one, two, three] = [1, 2, 3].map(|value| Script::new(&format!("const {value}"), value));
    let sum = Script::new("sum", 0).input(&one).input(&two);
    let pair = Script::new("pair", 100).input(&sum).input(&three).outputs(2);
    // The same input twice, another output of it, and an input of inputs.
    let digits =
        Script::new("digits", 0).input(&pair).input_at(&pair, 1).input(&pair).input(&one).running(
            |_, inputs, _| async move { Ok(vec![inputs.iter().fold(0, |all, one| all * 1000 + one)]) },
        );
    let ops = [&one, &two, &three, &sum, &pair, &digits];
    let (job, built) = build(&solver, &ops).await;
    assert_eq!(built.result, 106_107_106_001);
    assert_eq!(asked(ops), [(1, 1); 6]);
    drop(job);
    assert_eq!(once(&solver, &ops).await, (106_107_106_001, true));
    assert_eq!(asked(ops), [(2, 1); 6]);
    solver.close().await;
}

/// BuildKit rows 59, 67: a thousand ops: each reachable one runs once; the second time one result is loaded (BuildKit:
/// TestHugeGraph). What nobody needs is not even asked for its cache map.
#[tokio::test(start_paused = true)]
async fn of_a_huge_graph_only_the_top_is_loaded_again() {
    const NODES: usize = 1000;
    for seed in 0..3 {
        let mut rng = Rng::with_seed(seed);
        let mut ops: Vec<Script> = Vec::with_capacity(NODES);
        let mut inputs: Vec<Vec<usize>> = Vec::with_capacity(NODES);
        for at in 0..NODES {
            let value = rng.i64(0..1000);
            let count = rng.usize(0..=5).min(at);
            let below: Vec<usize> = (0..count).map(|_| rng.usize(at.saturating_sub(40)..at)).collect();
            let op = Script::new(&format!("node {at}"), value).running(move |_, inputs, _| async move {
                Ok(vec![inputs.iter().fold(value, |all, one| (all * 31 + one) % 1_000_003)])
            });
            ops.push(below.iter().fold(op, |op, below| op.input(&ops[*below])));
            inputs.push(below);
        }
        let mut needed = HashSet::new();
        let mut stack = vec![NODES - 1];
        while let Some(at) = stack.pop() {
            if needed.insert(at) {
                stack.extend(&inputs[at]);
            }
        }
        let arrows: usize = needed.iter().map(|at| inputs[*at].len()).sum();

        let (keys, shelf) = (Arc::new(Ledger::new()), Arc::new(Shelf::new("local")));
        let cache = CacheIndex::new("local", Arc::clone(&keys) as _, Arc::clone(&shelf) as _);
        let mut settings = checked();
        // The checks look at everything after every step, and others have them on for less.
        settings.check = false;
        let solver = Solver::new(Arc::new(cache), settings);
        let ops: Vec<&Script> = ops.iter().collect();
        let (first, _) = once(&solver, &ops).await;
        let cold = keys.lookups();
        assert!(cold <= arrows + needed.len(), "{cold} look-ups for {arrows} arrows");
        assert_eq!((keys.commits(), shelf.len(), shelf.loads()), (needed.len(), needed.len(), 0));
        assert_eq!(once(&solver, &ops).await, (first, true));
        assert!(keys.lookups() - cold <= arrows + needed.len());
        assert_eq!((keys.commits(), shelf.loads()), (needed.len(), 1));
        for (at, op) in ops.iter().enumerate() {
            let asked = (op.counts().maps(), op.counts().execs());
            assert_eq!(asked, if needed.contains(&at) { (2, 1) } else { (0, 0) }, "node {at}");
        }
        solver.close().await;
    }
}

/// BuildKit row 59: inputs are asked for their cache maps, and run, at the same time (BuildKit: TestParallelInputs).
#[tokio::test(start_paused = true)]
async fn inputs_run_at_the_same_time() {
    let (solver, _) = solver();
    let (maps, runs) = (Gate::closed(), Gate::closed());
    let [one, two] = ["one", "two"].map(|name| Script::new(name, 1).mapping_at(&maps).running_at(&runs));
    let top = Script::new("top", 0).input(&one).input(&two);
    let job = job(&solver, &[&one, &two, &top]).await;
    let edge = top.edge();
    let driver = async {
        maps.reached(2).await;
        maps.open();
        runs.reached(2).await;
        assert_eq!(top.counts().execs(), 0, "it waits for its inputs");
        runs.open();
    };
    let (built, ()) = soon(async { tokio::join!(job.build(&edge), driver) }).await;
    assert_eq!(built.unwrap().result, 2);
    assert_eq!(asked([&one, &two, &top]), [(1, 1); 3]);
    drop(job);
    solver.close().await;
}
