//! Inputs that one job has completed and another finds as they are (BuildKit: TestCacheMissStaleCompleteSharedDep, whose cases
//! are these, as far as they can be told apart here).

use std::sync::Arc;

use lazyblob_solver::testing::{Import, Script, memory_cache};
use lazyblob_solver::{CacheSource, JobOptions, Solver};

use crate::support::{asked, build, checked, job_with, once, solver, soon};

/// The input that is shared, over one of its own, and what is above it.
fn parts() -> [Script; 3] {
    let source = Script::new("source", 1);
    let shared = Script::new("shared", 10).input(&source);
    let top = Script::new("top", 100).input(&shared);
    [source, shared, top]
}

/// BuildKit rows 67, 71: an input that ran is known by the key it was saved under: what another job made of it meanwhile is
/// found by it.
#[tokio::test(start_paused = true)]
async fn an_input_that_ran_is_known_by_what_it_was_saved_as() {
    let (solver, shelf) = solver();
    let [source, shared, top] = parts();
    let (holder, built) = build(&solver, &[&source, &shared]).await;
    assert!(!built.cached);
    assert_eq!(once(&solver, &[&source, &shared, &top]).await, (111, false));
    assert_eq!(once(&solver, &[&source, &shared, &top]).await, (111, true));
    assert_eq!(asked([&source, &shared, &top]), [(1, 1), (1, 1), (2, 1)]);
    assert_eq!(shelf.loads(), 1, "the top alone");
    drop(holder);
    solver.close().await;
}

/// BuildKit rows 67, 71: the same where it was loaded, and where it has no input of its own.
#[tokio::test(start_paused = true)]
async fn an_input_that_was_loaded_is_known_by_its_key() {
    let (solver, shelf) = solver();
    let [source, shared, top] = parts();
    once(&solver, &[&source, &shared, &top]).await;
    let (holder, built) = build(&solver, &[&source, &shared]).await;
    assert!(built.cached);
    assert_eq!(once(&solver, &[&source, &shared, &top]).await, (111, true));
    let above = Script::new("above", 1000).input(&source);
    assert_eq!(once(&solver, &[&source, &above]).await, (1001, false));
    assert_eq!(once(&solver, &[&source, &above]).await, (1001, true));
    assert_eq!(asked([&source, &shared, &top, &above]), [(2, 1), (2, 1), (2, 1), (2, 1)]);
    // The shared one, the top, the source for the run, and what is above that.
    assert_eq!(shelf.loads(), 4);
    drop(holder);
    solver.close().await;
}

/// BuildKit rows 67, 78: the same where it came from an import: it was copied, and is known by the key of the copy.
#[tokio::test(start_paused = true)]
async fn an_input_that_was_copied_is_known_by_the_key_of_the_copy() {
    let (away, _) = memory_cache("away");
    let [source, shared, top] = parts();
    let there = Solver::new(Arc::clone(&away), checked());
    once(&there, &[&source, &shared]).await;
    there.close().await;

    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let import = Arc::new(Import::of(&away));
    let mut options = JobOptions::default();
    options.sources.push(Arc::clone(&import) as Arc<dyn CacheSource<i64>>);
    let holder = job_with(&solver, options, &[&source, &shared]).await;
    assert!(soon(holder.build(&shared.edge())).await.unwrap().cached);
    assert_eq!(once(&solver, &[&source, &shared, &top]).await, (111, false));
    assert_eq!(once(&solver, &[&source, &shared, &top]).await, (111, true));
    assert_eq!(asked([&source, &shared, &top]), [(2, 1), (2, 1), (2, 1)]);
    assert_eq!((shelf.loads(), import.loads()), (1, 1));
    drop(holder);
    solver.close().await;
}

/// BuildKit rows 67, 70: one that was run whatever the cache has leads to nothing that was made of an older run.
#[tokio::test(start_paused = true)]
async fn an_input_that_ignored_the_cache_leads_to_nothing_by_definition() {
    let (solver, shelf) = solver();
    let [source, shared, top] = parts();
    once(&solver, &[&source, &shared, &top]).await;
    let ignoring = shared.clone().ignoring_cache();
    let (holder, _) = build(&solver, &[&source, &ignoring]).await;
    let loads = shelf.loads();
    // It joins the one that ignores the cache.
    assert_eq!(once(&solver, &[&source, &shared, &top]).await, (111, false));
    assert_eq!((shared.counts().execs(), top.counts().execs(), shelf.loads()), (2, 2, loads));
    drop(holder);
    solver.close().await;
}

/// BuildKit row 67: by content it does, and of two inputs only the one that needs it is looked into.
#[tokio::test(start_paused = true)]
async fn an_input_that_is_there_is_looked_into_without_being_loaded() {
    let (solver, shelf) = solver();
    let [source, shared, _] = parts();
    let other = Script::new("other", 5);
    let top = |shared: &Script| {
        let top = Script::new(&format!("top over {}", shared.edge()), 100).key("top");
        top.input(&other).input(shared).by_content()
    };
    let first = top(&shared);
    once(&solver, &[&source, &shared, &other, &first]).await;
    // Another op with the same result.
    let alike = Script::new("alike", 10).input(&source);
    let (holder, built) = build(&solver, &[&source, &alike]).await;
    assert_eq!((built.result, built.cached), (11, false));
    let loads = shelf.loads();
    let second = top(&alike);
    assert_eq!(once(&solver, &[&source, &alike, &other, &second]).await, (116, true));
    assert_eq!(asked([&source, &alike, &other, &second]), [(2, 1), (1, 1), (2, 1), (1, 0)]);
    assert_eq!((second.counts().digests(), shelf.loads()), (1, loads + 1));
    drop(holder);
    solver.close().await;
}
