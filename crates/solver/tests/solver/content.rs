//! Keys of what inputs contain.

use std::sync::Arc;

use lazyblob_solver::testing::{Census, Script, Shelf};
use lazyblob_solver::{CacheIndex, Error, Graph, JobOptions, MemoryKeys, Solver, Stage};

use crate::support::{asked, checked, once, solver, soon};

/// BuildKit row 67: an input of another definition and the same content leads to the same result (BuildKit: TestSlowCache).
#[tokio::test(start_paused = true)]
async fn the_same_content_leads_to_the_same_result() {
    let (solver, shelf) = solver();
    let [one, same, other] = [Script::new("one", 1), Script::new("same", 1), Script::new("other", 3)];
    let top = |input: &Script| {
        Script::new(&format!("top over {}", input.edge()), 100).key("top").input(input).by_content()
    };
    let tops = [&one, &same, &other].map(top);
    assert_eq!(once(&solver, &[&one, &tops[0]]).await, (101, false));
    assert_eq!(once(&solver, &[&same, &tops[1]]).await, (101, true));
    assert_eq!(shelf.loads(), 1);
    assert_eq!(once(&solver, &[&other, &tops[2]]).await, (103, false));
    assert_eq!(asked([&one, &same, &other]), [(1, 1); 3]);
    assert_eq!(
        tops.each_ref().map(|top| (top.counts().digests(), top.counts().execs())),
        [(1, 1), (1, 0), (1, 1)]
    );
    assert_eq!(shelf.loads(), 1);
    solver.close().await;
}

/// BuildKit rows 71, 74: an error while a content is looked at, or while the op runs, holds no result: when the job goes, all
/// clones of the input's are dropped though the error is still there (BuildKit: TestSlowCacheErrorResultCloneRelease).
#[tokio::test(start_paused = true)]
async fn an_error_keeps_no_result() {
    for stage in [Stage::SlowDigest, Stage::Exec] {
        let (census, shelf) = (Census::default(), Arc::new(Shelf::new("local")));
        let cache = CacheIndex::new("local", Arc::new(MemoryKeys::new()), census.shelf(&shelf));
        let solver = Solver::new(Arc::new(cache), checked());
        let input = Script::new("input", 1);
        let top = Script::new("top", 100).input(&input).by_content();
        let top = if stage == Stage::SlowDigest { top.failing_digests(9) } else { top.failing_runs(9) };
        let job = solver.job(JobOptions::default()).await.unwrap();
        let graph = Graph::new([&input, &top].map(|op| census.vertex(op))).unwrap();
        soon(job.load(graph)).await.unwrap();
        let error = soon(job.build(&top.edge())).await.err().unwrap();
        assert!(matches!(&error, Error::Op { vertex, stage: at, .. }
            if *at == stage && &*vertex.name == "top"));
        assert!(census.alive() > 0, "the job has the result of the input");
        assert_eq!(top.counts().execs(), usize::from(stage == Stage::Exec));
        assert_eq!((input.counts().execs(), shelf.loads(), shelf.len()), (1, 0, 1));

        job.discard();
        soon(solver.job(JobOptions::default())).await.unwrap().discard();
        assert_eq!(census.alive(), 0);
        drop(error);
        solver.close().await;
    }
}

/// BuildKit row 67: a content key has no selector in it: what part of the input was looked at is for the op to say (BuildKit:
/// TestCacheSlowWithSelector).
#[tokio::test(start_paused = true)]
async fn a_content_key_has_no_selector() {
    let (solver, shelf) = solver();
    let top = |input: &Script, part: &str| {
        let name = format!("top {} {part}", input.edge());
        Script::new(&name, 100).key("top").input(input).selecting(part).by_content()
    };
    let [one, two] = [Script::new("one", 1), Script::new("two", 1)];
    let first = top(&one, "/a");
    assert_eq!(once(&solver, &[&one, &first]).await, (101, false));

    // The same selector: the definition is enough.
    let second = top(&one, "/a");
    assert_eq!(once(&solver, &[&one, &second]).await, (101, true));
    assert_eq!((second.counts().digests(), shelf.loads()), (0, 1));

    // Another: the definition does not match, the content does. The input is loaded to see it.
    let third = top(&one, "/b");
    assert_eq!(once(&solver, &[&one, &third]).await, (101, true));
    assert_eq!((asked([&one, &third]), third.counts().digests()), ([(3, 1), (1, 0)], 1));
    assert_eq!(shelf.loads(), 3);

    // Another input as well.
    let fourth = top(&two, "/b");
    assert_eq!(once(&solver, &[&two, &fourth]).await, (101, true));
    assert_eq!((asked([&two, &fourth]), shelf.loads()), ([(1, 1), (1, 0)], 4));

    // Another content is another result, be the selector known or not.
    let five = Script::new("five", 5);
    let fifth = top(&five, "/a");
    assert_eq!(once(&solver, &[&five, &fifth]).await, (105, false));
    assert_eq!(asked([&five, &fifth]), [(1, 1), (1, 1)]);
    solver.close().await;
}

/// BuildKit rows 67, 70: an input that is run whatever the cache has, and turns out the same, leads back to the cache
/// (BuildKit: TestIgnoreCacheResumeFromSlowCache).
#[tokio::test(start_paused = true)]
async fn an_ignored_input_of_the_same_content_leads_back_to_the_cache() {
    let (solver, shelf) = solver();
    let input = Script::new("input", 1);
    let top = Script::new("top", 100).input(&input).by_content();
    let above = Script::new("above", 1000).input(&top);
    assert_eq!(once(&solver, &[&input, &top, &above]).await, (1101, false));

    let ignoring = input.clone().ignoring_cache();
    assert_eq!(once(&solver, &[&ignoring, &top, &above]).await, (1101, true));
    assert_eq!(asked([&input, &top, &above]), [(2, 2), (2, 1), (2, 1)]);
    assert_eq!((top.counts().digests(), shelf.loads()), (2, 1));

    // Where only the definition counts, there is no way back.
    let plain = Script::new("plain", 5).input(&input);
    assert_eq!(once(&solver, &[&input, &plain]).await, (6, false));
    let (before, loads) = (input.counts().execs(), shelf.loads());
    assert_eq!(once(&solver, &[&ignoring, &plain]).await, (6, false));
    assert_eq!((input.counts().execs(), plain.counts().execs(), shelf.loads()), (before + 1, 2, loads));
    solver.close().await;
}
