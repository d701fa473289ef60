//! Results that turn out to be gone.

use std::sync::Arc;

use lazyblob_solver::testing::{Gate, Puppet, Script, digest, memory_cache};
use lazyblob_solver::{CacheIndex, Cause, Edge, Error, Graph, JobOptions, OpError, ResultId, Stage, Tried};

use crate::hand::{ask, build, execs, graph, job, of, settle, solver, told, vertices};

/// Adds one to its input, which it finds lost the first so many times.
fn losing(name: &str, input: &Script, times: usize) -> Script {
    Script::new(name, 1).input(input).running(move |_, inputs, before| async move {
        if before < times {
            Err(OpError::lost(0, format!("run {before}: no bytes")))
        } else {
            Ok(vec![inputs[0] + 1])
        }
    })
}

fn cause() -> Cause {
    Arc::new(std::io::Error::other("gone"))
}

/// Has a graph built, in a job and a solver of its own, so that the cache knows it.
async fn remember(cache: &Arc<CacheIndex<i64>>, graph: Graph<i64>, top: &Script) -> i64 {
    let solver = solver(Arc::clone(cache));
    let job = job(&solver, graph).await;
    let value = build(&job, top).await.unwrap();
    solver.close().await;
    value
}

async fn results(cache: &CacheIndex<i64>) -> Vec<ResultId> {
    cache.keys().all_results().await.unwrap()
}

/// Two results under one key: of the first run 10, of the second, which is newer, 20.
async fn two_records(cache: &Arc<CacheIndex<i64>>) -> Vec<ResultId> {
    for run in [1, 2] {
        let base = Script::new("base", 10 * run).ignoring_cache();
        remember(cache, graph(&[&base]), &base).await;
    }
    results(cache).await
}

/// BuildKit row 68: a record that cannot be loaded is dropped; another is, and only then the op run
/// (BuildKit: TestCacheErrNotFound, TestCacheLoadError).
#[tokio::test]
async fn another_record_is_loaded_before_the_op_runs() {
    let (cache, shelf) = memory_cache("local");
    let before = two_records(&cache).await;
    assert_eq!(shelf.lose(20), 1);
    let base = Script::new("base", 30);
    assert_eq!(remember(&cache, graph(&[&base]), &base).await, 10);
    assert_eq!((base.counts().execs(), shelf.loads()), (0, 2));
    assert_eq!(results(&cache).await, before[..1]);
    shelf.lose_all();
    assert_eq!(remember(&cache, graph(&[&base]), &base).await, 30);
    assert_eq!((base.counts().execs(), shelf.loads()), (1, 3));
    assert!(!results(&cache).await.contains(&before[0]));
}

/// BuildKit row 68: a cached input whose bytes are gone is made again, its record dropped, the consumer run again.
#[tokio::test]
async fn a_lost_input_is_made_again() {
    let (cache, shelf) = memory_cache("local");
    let base = Script::new("base", 1);
    remember(&cache, graph(&[&base]), &base).await;
    let before = results(&cache).await;
    let top = losing("top", &base, 1);
    let solver = solver(Arc::clone(&cache));
    let open = job(&solver, graph(&[&base, &top])).await;
    assert_eq!(build(&open, &top).await.unwrap(), 2);
    assert_eq!((execs([&base, &top]), shelf.loads()), ([2, 2], 1));
    let events = told(open).await;
    assert_eq!(of(&events, &base), ["cached", "lost", "started", "completed"]);
    solver.close().await;
    let after = results(&cache).await;
    assert!(before.iter().all(|gone| !after.contains(gone)));
    assert_eq!(after.len(), 2);
    // What was made again is found from now on, and nothing is run.
    let again = losing("top", &base, 1);
    assert_eq!(remember(&cache, graph(&[&base, &again]), &again).await, 2);
    assert_eq!(execs([&base, &again]), [2, 0]);
}

/// BuildKit row 68: the record of the lost input is not the only one: another serves, and nothing is run for it.
#[tokio::test]
async fn another_record_serves_for_a_lost_input() {
    let (cache, shelf) = memory_cache("local");
    let before = two_records(&cache).await;
    let base = Script::new("base", 30);
    let top = losing("top", &base, 1);
    assert_eq!(remember(&cache, graph(&[&base, &top]), &top).await, 11);
    assert_eq!((execs([&base, &top]), shelf.loads()), ([0, 2], 2));
    let after = results(&cache).await;
    assert!(after.contains(&before[0]) && !after.contains(&before[1]));
}

/// BuildKit row 68: what is run again may find its own input lost.
#[tokio::test]
async fn losses_are_stacked() {
    let (cache, shelf) = memory_cache("local");
    let base = Script::new("base", 1);
    let middle = losing("middle", &base, 0);
    let beside = Script::new("beside", 5);
    let known = Script::new("known", 0).input(&middle).input(&beside);
    remember(&cache, graph(&[&base, &middle, &beside, &known]), &known).await;
    let before = results(&cache).await;
    let middle = losing("middle", &base, 1);
    let top = losing("top", &middle, 1);
    assert_eq!(remember(&cache, graph(&[&base, &middle, &top]), &top).await, 3);
    assert_eq!(execs([&base, &middle, &top, &beside]), [2, 2, 2, 1]);
    assert_eq!(shelf.loads(), 2);
    let after = results(&cache).await;
    assert_eq!(before.iter().filter(|old| after.contains(old)).count(), 2, "those of what was not lost stay");
}

/// BuildKit rows 66, 68: a preparation and a slow digest find out as well; content keys are found anew.
#[tokio::test]
async fn a_preparation_or_a_slow_digest_finds_an_input_lost() {
    for by_digest in [false, true] {
        let (cache, _) = memory_cache("local");
        let base = Script::new("base", 1);
        remember(&cache, graph(&[&base]), &base).await;
        let before = results(&cache).await;
        let top = Script::new("top", 10).input(&base).by_content().preparing();
        let lost = |before| if before == 0 { Err(OpError::lost(7, "no bytes")) } else { Ok(()) };
        let puppet = if by_digest {
            Puppet::of(&top).digesting(move |_, input, before| async move {
                lost(before).map(|()| digest(&format!("content {input}")))
            })
        } else {
            Puppet::of(&top).preparing(move |_, _, before| async move { lost(before) })
        };
        let solver = solver(Arc::clone(&cache));
        let open = job(&solver, vertices([base.vertex(), puppet.vertex()])).await;
        assert_eq!(build(&open, &top).await.unwrap(), 11);
        assert_eq!(execs([&base, &top]), [2, 1]);
        let times = (top.counts().preprocesses(), top.counts().digests());
        assert_eq!(times, if by_digest { (2, 2) } else { (2, 1) });
        solver.close().await;
        let after = results(&cache).await;
        assert!(before.iter().all(|gone| !after.contains(gone)));
    }
}

/// BuildKit row 68: when the op finds its input lost, the content of what is made instead is looked at anew.
#[tokio::test]
async fn content_keys_are_found_anew() {
    let (cache, _) = memory_cache("local");
    let base = Script::new("base", 1);
    remember(&cache, graph(&[&base]), &base).await;
    // It is something else when it is made again.
    let base = Script::new("base", 2);
    let top = losing("top", &base, 1).by_content().preparing();
    assert_eq!(remember(&cache, graph(&[&base, &top]), &top).await, 3);
    assert_eq!((top.counts().digests(), top.counts().preprocesses()), (2, 2));
    // So its key is that of the new content.
    let other = Script::new("other", 2);
    let again = losing("again", &other, 0).key("key of top").by_content();
    assert_eq!(remember(&cache, graph(&[&other, &again]), &again).await, 3);
    assert_eq!(execs([&base, &top, &other, &again]), [1, 2, 1, 0]);
}

/// BuildKit row 68: an exporter that finds a result lost is given it again.
#[tokio::test]
async fn a_result_that_is_lost_at_export_is_made_again() {
    let (cache, shelf) = memory_cache("local");
    let base = Script::new("base", 1);
    let top = losing("top", &base, 0);
    remember(&cache, graph(&[&base, &top]), &top).await;
    let before = results(&cache).await;
    let solver = solver(Arc::clone(&cache));
    let open = job(&solver, graph(&[&base, &top])).await;
    let mut given = Vec::new();
    let exported = open
        .export(&top.edge(), |built| {
            given.push(built.cached);
            let lost = given.len() == 1;
            async move { if lost { Err(OpError::lost(0, "no bytes")) } else { Ok(built.result) } }
        })
        .await;
    assert_eq!((exported.unwrap(), given), (2, vec![true, false]));
    // What is below was not lost: it was loaded.
    assert_eq!((execs([&base, &top]), shelf.loads()), ([1, 2], 2));
    let first = open.build(&top.edge()).await.unwrap();
    solver.close().await;
    let after = results(&cache).await;
    assert_eq!(before.iter().filter(|old| after.contains(old)).count(), 1);
    assert_eq!((first.result, first.cached), (2, false));
}

/// BuildKit row 68: what was made again since is not lost with what it replaces; a failed export loses nothing.
#[tokio::test]
async fn what_was_made_again_is_left_alone() {
    let (cache, shelf) = memory_cache("local");
    let base = Script::new("base", 1);
    let top = losing("top", &base, 0);
    remember(&cache, graph(&[&base, &top]), &top).await;
    let solver = solver(Arc::clone(&cache));
    let open = job(&solver, graph(&[&base, &top])).await;
    let old = open.build(&top.edge()).await.unwrap();
    open.lost(&old, cause()).await.unwrap();
    assert_eq!(build(&open, &top).await.unwrap(), 2);
    open.lost(&old, cause()).await.unwrap();
    assert_eq!(build(&open, &top).await.unwrap(), 2);
    assert_eq!((execs([&base, &top]), shelf.loads()), ([1, 2], 2));
    let failed = open.export(&top.edge(), |_| async { Err::<(), _>(OpError::failed("disk full")) }).await;
    assert!(
        matches!(failed, Err(Error::Op { vertex, stage: Stage::Export, .. }) if vertex.digest == top.digest())
    );
    assert_eq!(execs([&base, &top]), [1, 2]);
    solver.close().await;
}

/// BuildKit rows 68, 78: a result that came from an import is forgotten there and where it was copied to.
#[tokio::test]
async fn what_was_imported_is_forgotten_in_both_places() {
    let (import, _) = memory_cache("import");
    let (cache, shelf) = memory_cache("local");
    let base = Script::new("base", 1);
    remember(&import, graph(&[&base]), &base).await;
    let solver = solver(Arc::clone(&cache));
    let top = losing("top", &base, 1);
    let options = JobOptions { sources: vec![Arc::clone(&import) as _], ..JobOptions::default() };
    let open = solver.job(options).await.unwrap();
    open.load(graph(&[&base, &top])).await.unwrap();
    assert_eq!(build(&open, &top).await.unwrap(), 2);
    assert_eq!((execs([&base, &top]), shelf.loads()), ([2, 2], 0));
    drop(open);
    solver.close().await;
    assert!(results(&import).await.is_empty());
    // The copy is gone, too: what is there was made again.
    let left = results(&cache).await;
    assert_eq!(left, ["local-1", "local-2"].map(ResultId::new));
}

/// BuildKit row 68: what a source lost that has just run does not come back: nothing else is tried, nor told to have been.
#[tokio::test]
async fn what_a_source_has_lost_itself_is_final() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let base = Script::new("base", 1);
    let top = Script::new("top", 1)
        .input(&base)
        .running(|_, _, _| async { Err(OpError::lost(0, "registry.example: 404")) });
    let above = Script::new("above", 1).input(&top);
    let open = job(&solver, graph(&[&base, &top, &above])).await;
    let error = build(&open, &above).await.unwrap_err();
    let Error::Lost { vertex, tried, .. } = &error else { panic!("{error}") };
    assert_eq!((&vertex.digest, tried.len()), (&base.digest(), 0));
    assert!(error.to_string().ends_with("bring it back: registry.example: 404"), "{error}");
    assert_eq!(execs([&base, &top, &above]), [1, 1, 0]);
    let events = told(open).await;
    assert_eq!(of(&events, &base), ["started", "completed", "lost", "failed"]);
    // The next job is not held to it.
    let fine = losing("fine", &base, 0);
    let open = job(&solver, graph(&[&base, &fine])).await;
    assert_eq!(build(&open, &fine).await.unwrap(), 2);
    solver.close().await;
}

/// BuildKit row 68: what was tried in vain is told in its order, each with its cause: a record that could not be loaded, one
/// whose result was lost, a run whose result was lost, and last the run after that.
#[tokio::test]
async fn the_error_lists_everything_that_was_tried() {
    let (cache, shelf) = memory_cache("local");
    let base = Script::new("base", 1);
    let other = Script::new("other", 2);
    // Two records under one key, of different values, the newer of which cannot be loaded.
    for value in [10, 20] {
        let middle = Script::new("middle", value).input(&base).ignoring_cache();
        remember(&cache, graph(&[&base, &middle]), &middle).await;
    }
    let beside = Script::new("beside", 1).input(&other);
    remember(&cache, graph(&[&other, &beside]), &beside).await;
    assert_eq!(shelf.lose(21), 1);
    let middle = Script::new("middle", 30).input(&base);
    let top = losing("top", &middle, usize::MAX).input(&beside);
    let solver = solver(Arc::clone(&cache));
    let open = job(&solver, graph(&[&base, &middle, &other, &beside, &top])).await;
    let error = build(&open, &top).await.unwrap_err();
    let Error::Lost { vertex, tried, cause } = &error else { panic!("{error}") };
    assert_eq!(vertex.digest, middle.digest());
    let [Tried::Record { cache: first, .. }, Tried::Record { cache: second, .. }, Tried::Exec { .. }] =
        &**tried
    else {
        panic!("{tried:?}")
    };
    assert_eq!((&**first, &**second), ("local", "local"));
    assert_eq!(cause.to_string(), "run 2: no bytes");
    let text = error.to_string();
    let told: Vec<_> = text.split("bring it back: ").nth(1).unwrap().split("; ").collect();
    assert_eq!(told.len(), 4, "{text}");
    assert!(told[0].starts_with("cache local: local-") && told[0].contains("no result local-"), "{text}");
    assert!(told[1].starts_with("cache local: local-") && told[1].ends_with("run 0: no bytes"), "{text}");
    assert_eq!(told[2..], ["exec: run 1: no bytes", "run 2: no bytes"], "{text}");
    // What is beside it was lost by nobody.
    assert_eq!(execs([&middle, &other, &beside, &top]), [2, 1, 1, 3]);
    solver.close().await;
}

/// BuildKit row 68: an op that always says that its input is lost comes to an end: by each record once, then by running the
/// producer, then by running it once more.
#[tokio::test]
async fn an_op_that_always_loses_its_input_comes_to_an_end() {
    let (cache, shelf) = memory_cache("local");
    let base = Script::new("base", 1);
    let middle = losing("middle", &base, 0);
    remember(&cache, graph(&[&base, &middle]), &middle).await;
    let top = losing("top", &middle, usize::MAX);
    let solver = solver(Arc::clone(&cache));
    let open = job(&solver, graph(&[&base, &middle, &top])).await;
    let error = build(&open, &top).await.unwrap_err();
    assert!(matches!(&error, Error::Lost { vertex, .. } if vertex.digest == middle.digest()), "{error}");
    // Once before, and twice here; with a record and two results there are three runs on top of them.
    assert_eq!((execs([&base, &middle, &top]), shelf.loads()), ([1, 3, 3], 2));
    // It stays so as long as the job does.
    assert!(matches!(build(&open, &top).await, Err(Error::Lost { .. })));
    assert_eq!(execs([&base, &middle, &top]), [1, 3, 3]);
    solver.close().await;
}

/// BuildKit row 68: who has used the old result, or is about to, keeps it.
#[tokio::test]
async fn others_who_have_the_old_result_are_left_alone() {
    let (cache, shelf) = memory_cache("local");
    let base = Script::new("base", 1);
    remember(&cache, graph(&[&base]), &base).await;
    let gate = Gate::closed();
    let waits = gate.clone();
    let running = Script::new("running", 1).input(&base).running(move |_, inputs, _| {
        let waits = waits.clone();
        async move {
            waits.pass().await;
            Ok(vec![inputs[0] + 1])
        }
    });
    let done = losing("done", &base, 0);
    let top = losing("top", &base, 1);
    let solver = solver(cache);
    let open = Arc::new(job(&solver, graph(&[&base, &done, &running, &top])).await);
    assert_eq!(build(&open, &done).await.unwrap(), 2);
    let asked = ask(&open, running.edge()).await;
    assert_eq!(gate.came(), 1);
    assert_eq!(build(&open, &top).await.unwrap(), 2);
    gate.open();
    assert_eq!(asked.await.unwrap().result, 2);
    assert_eq!(build(&open, &done).await.unwrap(), 2);
    assert_eq!(execs([&base, &done, &running, &top]), [2, 1, 1, 2]);
    assert_eq!(shelf.loads(), 1);
    solver.close().await;
}

/// BuildKit row 68: several who find the same result lost have it made again once.
#[tokio::test]
async fn a_result_that_several_find_lost_is_made_again_once() {
    let (cache, _) = memory_cache("local");
    let base = Script::new("base", 1);
    remember(&cache, graph(&[&base]), &base).await;
    let tops: Vec<_> = (0..10).map(|top| losing(&format!("top {top}"), &base, 1)).collect();
    let solver = solver(cache);
    let all = std::iter::once(&base).chain(&tops).map(Script::vertex);
    let open = job(&solver, vertices(all)).await;
    let built = futures::future::join_all(tops.iter().map(|top| build(&open, top))).await;
    assert!(built.into_iter().all(|built| built.unwrap() == 2));
    assert_eq!(base.counts().execs(), 2);
    assert!(tops.iter().all(|top| top.counts().execs() == 2));
    solver.close().await;
}

/// BuildKit row 68: two outputs of an op that are lost one after the other are made again together, and never by two runs
/// at a time.
#[tokio::test]
async fn outputs_that_are_lost_one_after_the_other_are_made_in_one_run() {
    let (cache, _) = memory_cache("local");
    let gate = Gate::closed();
    gate.admit(1);
    let base = Script::new("base", 1);
    let waits = gate.clone();
    let pair = Script::new("pair", 0).input(&base).outputs(2).running(move |_, inputs, _| {
        let waits = waits.clone();
        async move {
            waits.pass().await;
            Ok(vec![inputs[0], inputs[0] + 1])
        }
    });
    let solver = solver(cache);
    let open = Arc::new(job(&solver, graph(&[&base, &pair])).await);
    let edges = [0, 1].map(|output| Edge { vertex: pair.digest(), output });
    let mut built = Vec::new();
    for edge in &edges {
        built.push(open.build(edge).await.unwrap());
    }
    open.lost(&built[0], cause()).await.unwrap();
    let first = ask(&open, edges[0].clone()).await;
    assert_eq!(gate.came(), 2);
    open.lost(&built[1], cause()).await.unwrap();
    let second = ask(&open, edges[1].clone()).await;
    settle().await;
    assert_eq!(gate.came(), 2, "it runs twice at a time");
    gate.open();
    assert_eq!((first.await.unwrap().result, second.await.unwrap().result), (1, 2));
    assert_eq!(execs([&base, &pair]), [1, 2]);
    solver.close().await;
}

/// BuildKit rows 68, 70: what stands for the lost input is made again.
#[tokio::test]
async fn a_lost_input_that_was_merged_is_made_again() {
    let (cache, _) = memory_cache("local");
    let base = Script::new("base", 1).key("base");
    remember(&cache, graph(&[&base]), &base).await;
    let twin = Script::new("twin", 1).key("base");
    let top = losing("top", &twin, 1);
    let solver = solver(cache);
    let one = job(&solver, graph(&[&base])).await;
    assert_eq!(build(&one, &base).await.unwrap(), 1);
    let other = job(&solver, graph(&[&twin, &top])).await;
    assert_eq!(build(&other, &top).await.unwrap(), 2);
    assert_eq!(execs([&base, &twin, &top]), [2, 0, 2]);
    assert_eq!(of(&told(other).await, &twin), ["cached", "lost", "started", "completed"]);
    solver.close().await;
}

/// BuildKit rows 68, 70: what was merged by the content of an input is not, once that has become something else.
#[tokio::test]
async fn content_that_is_gone_merges_nothing() {
    let (cache, _) = memory_cache("local");
    let base = Script::new("base", 1);
    remember(&cache, graph(&[&base]), &base).await;
    let base = Script::new("base", 2);
    let top = losing("top", &base, 1).by_content();
    let solver = solver(cache);
    let one = job(&solver, graph(&[&base, &top])).await;
    assert_eq!(build(&one, &top).await.unwrap(), 3);
    // The content that the first run was about to use.
    let other = Script::new("other", 1);
    let same = losing("same", &other, 0).key("key of top").by_content();
    let second = job(&solver, graph(&[&other, &same])).await;
    assert_eq!(build(&second, &same).await.unwrap(), 2);
    // The content that there is now.
    let third = Script::new("third", 2);
    let now = losing("now", &third, 0).key("key of top").by_content();
    let last = job(&solver, graph(&[&third, &now])).await;
    assert_eq!(build(&last, &now).await.unwrap(), 3);
    assert_eq!(execs([&base, &top, &other, &same, &third, &now]), [1, 2, 1, 1, 1, 0]);
    solver.close().await;
}

/// BuildKit row 68: what runs with an old result is remembered by that, and not by the content of what replaced it.
#[tokio::test]
async fn the_old_result_is_not_taken_for_the_new() {
    let (cache, _) = memory_cache("local");
    let base = Script::new("base", 1);
    remember(&cache, graph(&[&base]), &base).await;
    let base = Script::new("base", 2);
    let gate = Gate::closed();
    let slow = losing("slow", &base, 0).by_content().running_at(&gate);
    let top = losing("top", &base, 1);
    let solver = solver(cache);
    let one = Arc::new(job(&solver, graph(&[&base, &slow, &top])).await);
    let asked = ask(&one, slow.edge()).await;
    assert_eq!(gate.came(), 1);
    assert_eq!(build(&one, &top).await.unwrap(), 3);
    settle().await;
    // Another that looks at the new content meanwhile does not wait for the one that runs with the old.
    let others = ["meanwhile", "later"].map(|name| {
        let source = Script::new(&format!("source of {name}"), 2);
        let above = losing(name, &source, 0).key("key of slow").by_content();
        (source, above)
    });
    let mut jobs = Vec::new();
    for (source, above) in &others {
        jobs.push(job(&solver, graph(&[source, above])).await);
    }
    assert_eq!(build(&jobs[0], &others[0].1).await.unwrap(), 3);
    gate.open();
    assert_eq!(asked.await.unwrap().result, 2);
    assert_eq!(build(&jobs[1], &others[1].1).await.unwrap(), 3);
    assert_eq!(execs([&base, &slow, &top, &others[0].1, &others[1].1]), [1, 1, 2, 1, 0]);
    solver.close().await;
}

/// BuildKit row 68: nor is it so in the next solver that has the same cache.
#[tokio::test]
async fn the_old_result_is_not_remembered_as_the_new() {
    let (cache, _) = memory_cache("local");
    let base = Script::new("base", 1);
    remember(&cache, graph(&[&base]), &base).await;
    let base = Script::new("base", 2);
    let gate = Gate::closed();
    let slow = losing("slow", &base, 0).by_content().running_at(&gate);
    let top = losing("top", &base, 1);
    let solver = solver(Arc::clone(&cache));
    let one = Arc::new(job(&solver, graph(&[&base, &slow, &top])).await);
    let asked = ask(&one, slow.edge()).await;
    assert_eq!(build(&one, &top).await.unwrap(), 3);
    settle().await;
    gate.open();
    assert_eq!(asked.await.unwrap().result, 2);
    drop(one);
    solver.close().await;
    let source = Script::new("source", 2);
    let above = losing("above", &source, 0).key("key of slow").by_content();
    assert_eq!(remember(&cache, graph(&[&source, &above]), &above).await, 3);
    assert_eq!(execs([&source, &above]), [1, 1]);
}
