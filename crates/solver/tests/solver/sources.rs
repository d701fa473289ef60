//! Caches that a job brings.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lazyblob_solver::testing::{Gate, Import, Ledger, Script, Shelf, digest, memory_cache};
use lazyblob_solver::{CacheIndex, CacheSource, Error, JobOptions, KeyId, Solver, What};
use tokio::time::Instant;

use crate::support::{asked, checked, job, job_with, noted, once, soon, warnings};

fn importing(sources: &[&Arc<Import>]) -> JobOptions<i64> {
    let sources = sources.iter().map(|source| Arc::clone(source) as Arc<dyn CacheSource<i64>>).collect();
    JobOptions { sources, ..JobOptions::default() }
}

/// A cache of this name in which these ops were built.
async fn filled(name: &str, ops: &[&Script]) -> (Arc<CacheIndex<i64>>, Arc<Shelf>) {
    let (cache, shelf) = memory_cache(name);
    let solver = Solver::new(Arc::clone(&cache), checked());
    once(&solver, ops).await;
    solver.close().await;
    (cache, shelf)
}

fn chain(top: i64) -> [Script; 3] {
    let bottom = Script::new("bottom", 1);
    let middle = Script::new("middle", 10).input(&bottom);
    let top = Script::new(&format!("top {top}"), top).input(&middle);
    [bottom, middle, top]
}

/// BuildKit row 78: a hit in a source that a job brings is a hit, and is the solver's own from then on (BuildKit:
/// TestMultipleCacheSources).
#[tokio::test(start_paused = true)]
async fn a_hit_in_an_import_is_copied() {
    let ops = chain(100);
    let (away, there) = filled("away", &ops.each_ref()).await;
    let (empty, _) = memory_cache("empty");
    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let (first, second) = (Arc::new(Import::of(&empty)), Arc::new(Import::of(&away)));

    let ops = chain(100);
    let job = job_with(&solver, importing(&[&first, &second]), &ops.each_ref()).await;
    let built = soon(job.build(&ops[2].edge())).await.unwrap();
    assert_eq!((built.result, built.cached), (111, true));
    assert_eq!(asked(ops.each_ref()), [(1, 0); 3]);
    assert_eq!((first.loads(), second.loads(), there.loads()), (0, 1, 1));
    assert_eq!((shelf.len(), shelf.loads()), (1, 0), "the top alone is copied");
    assert!(warnings(&job).is_empty());
    drop(job);

    // Now it is here, and nobody else is needed.
    let asked_before = second.lookups();
    let ops = chain(100);
    assert_eq!(once(&solver, &ops.each_ref()).await, (111, true));
    assert_eq!(asked(ops.each_ref()), [(1, 0); 3]);
    assert_eq!((shelf.loads(), second.loads(), second.lookups()), (1, 1, asked_before));

    // Another top: what is below it is in the import alone, and that is loaded, no more.
    let ops = chain(200);
    let job = job_with(&solver, importing(&[&second]), &ops.each_ref()).await;
    let built = soon(job.build(&ops[2].edge())).await.unwrap();
    assert_eq!((built.result, built.cached), (211, false));
    assert_eq!(asked(ops.each_ref()), [(1, 0), (1, 0), (1, 1)]);
    assert_eq!((shelf.loads(), second.loads(), shelf.len()), (1, 2, 3));
    drop(job);
    solver.close().await;
}

/// BuildKit rows 78, 80: of records of one age the solver's own is loaded; a newer one is, wherever it is.
#[tokio::test(start_paused = true)]
async fn on_a_tie_the_own_cache_comes_first() {
    let op = Script::new("op", 1);
    // The results on a shelf are dated by their number: the first of each is of the same age.
    let (same, _) = filled("same", &[&op.clone()]).await;
    let (newer, _) =
        filled("newer", &[&Script::new("other", 0), &Script::new("op", 2).ignoring_cache()]).await;
    let (cache, shelf) = filled("local", &[&op]).await;
    let solver = Solver::new(cache, checked());
    let (same, newer) = (Arc::new(Import::of(&same)), Arc::new(Import::of(&newer)));

    let job = job_with(&solver, importing(&[&same]), &[&op]).await;
    assert!(soon(job.build(&op.edge())).await.unwrap().cached);
    assert_eq!((shelf.loads(), same.loads()), (1, 0));
    job.discard();

    // `newer` has built its op as its only vertex that was asked for: of the same age as well.
    let job = job_with(&solver, importing(&[&newer]), &[&op]).await;
    assert_eq!(soon(job.build(&op.edge())).await.unwrap().result, 1);
    assert_eq!((shelf.loads(), newer.loads()), (2, 0));
    job.discard();
    let refreshed = Solver::new(Arc::clone(newer.cache()), checked());
    once(&refreshed, &[&Script::new("op", 3).ignoring_cache()]).await;
    refreshed.close().await;
    let job = job_with(&solver, importing(&[&same, &newer]), &[&op]).await;
    assert_eq!(soon(job.build(&op.edge())).await.unwrap().result, 3);
    assert_eq!((shelf.loads(), same.loads(), newer.loads()), (2, 0, 1));
    job.discard();
    solver.close().await;
}

/// BuildKit rows 78, 80: what was copied from an import is as old as it was there, so that what is newer elsewhere comes
/// first still.
#[tokio::test(start_paused = true)]
async fn a_copy_is_as_old_as_what_it_was_copied_from() {
    let op = Script::new("op", 1);
    let [one, two] = ["one", "two"].map(|name| Script::new(name, 0));
    let (old, _) = filled("old", &[&op]).await;
    let (newer, _) = filled("newer", &[&one]).await;
    let solver = Solver::new(Arc::clone(&newer), checked());
    once(&solver, &[&Script::new("op", 2)]).await;
    solver.close().await;
    // Whatever is computed here now is newer than both.
    let (cache, shelf) = filled("local", &[&one]).await;
    let solver = Solver::new(Arc::clone(&cache), checked());
    once(&solver, &[&two]).await;
    let (old, newer) = (Arc::new(Import::of(&old)), Arc::new(Import::of(&newer)));

    let job = job_with(&solver, importing(&[&old]), &[&op]).await;
    assert_eq!(soon(job.build(&op.edge())).await.unwrap().result, 1);
    job.discard();
    let key = KeyId::of_output(&digest("key of op"), 0);
    let date = |cache: &Arc<CacheIndex<i64>>| {
        let keys = Arc::clone(cache.keys());
        async move { keys.results(key).await.unwrap().into_iter().map(|record| record.created_at).max() }
    };
    assert_eq!(date(&cache).await, date(old.cache()).await);
    assert!(date(newer.cache()).await > date(&cache).await);

    let job = job_with(&solver, importing(&[&old, &newer]), &[&op]).await;
    assert_eq!(soon(job.build(&op.edge())).await.unwrap().result, 2);
    assert_eq!(
        (shelf.loads(), old.loads(), newer.loads()),
        (0, 1, 1),
        "the copy is not taken for the newest"
    );
    job.discard();
    assert_eq!(op.counts().execs(), 1, "only in the cache that was imported");
    solver.close().await;
}

/// BuildKit row 78: nothing is loaded from an import while the solver's own cache has not answered.
#[tokio::test(start_paused = true)]
async fn the_own_cache_is_waited_for() {
    let op = Script::new("op", 1);
    let (away, _) = filled("away", &[&op]).await;
    let gate = Gate::closed();
    let (keys, shelf) = (Arc::new(Ledger::new().waiting_at(&gate)), Arc::new(Shelf::new("local")));
    let cache = Arc::new(CacheIndex::new("local", Arc::clone(&keys) as _, Arc::clone(&shelf) as _));
    let solver = Solver::new(cache, checked());
    // The first build does not look at the own cache.
    once(&solver, &[&op.clone().ignoring_cache()]).await;
    let import = Arc::new(Import::of(&away));
    let job = job_with(&solver, importing(&[&import]), &[&op]).await;
    let edge = op.edge();
    let driver = async {
        gate.reached(1).await;
        while import.lookups() == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert_eq!(import.loads(), 0, "the own cache may have it");
        gate.open();
    };
    let (built, ()) = soon(async { tokio::join!(job.build(&edge), driver) }).await;
    assert!(built.unwrap().cached);
    assert_eq!((shelf.loads(), import.loads()), (1, 0));
    drop(job);
    solver.close().await;
}

/// BuildKit rows 78, 79: a source that never answers is dropped when its time is up, with a warning; a job without it is not
/// held up at all, and neither is a hit in the solver's own cache.
#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_is_dropped_in_time() {
    let (away, _) = memory_cache("away");
    let (cache, _) = memory_cache("local");
    let mut settings = checked();
    settings.source_deadline = Duration::from_secs(7);
    let solver = Solver::new(cache, settings);
    let known = Script::new("known", 5);
    once(&solver, &[&known]).await;
    let import = Arc::new(Import::of(&away).waiting_at(&Gate::closed()));

    let begun = Instant::now();
    let ops = chain(100);
    let own = Script::new("own", 1000);
    let over = Script::new("over", 0).input(&ops[2]).input(&own);
    let slow = [&known, &ops[0], &ops[1], &ops[2], &own, &over];
    let slow = job_with(&solver, importing(&[&import]), &slow).await;
    // What both have is not held up, either.
    let other = chain(200);
    let free = job(&solver, &other.each_ref()).await;
    let edges = [over.edge(), other[2].edge(), known.edge()];
    let hindered = async {
        let built = slow.build(&edges[0]).await.unwrap();
        (built.result, begun.elapsed())
    };
    let others = async {
        // It is under way before the others begin.
        while import.lookups() == 0 {
            tokio::task::yield_now().await;
        }
        let built = free.build(&edges[1]).await.unwrap();
        assert_eq!((built.result, begun.elapsed()), (211, Duration::ZERO));
        assert!(warnings(&slow).is_empty());
        let hit = slow.build(&edges[2]).await.unwrap();
        assert_eq!((hit.result, hit.cached, begun.elapsed()), (5, true, Duration::ZERO));
        import.lookups()
    };
    let ((result, took), lookups) = soon(async { tokio::join!(hindered, others) }).await;
    // Its time is up once, not for each question.
    assert_eq!((result, took), (1111, Duration::from_secs(7)));
    let warned = warnings(&slow);
    assert!(matches!(&warned[..], [only] if only.contains("away") && only.contains("7s")), "{warned:?}");
    assert!(warnings(&free).is_empty());
    assert_eq!(import.lookups(), lookups, "it is asked no more");
    drop((slow, free));
    solver.close().await;
}

/// BuildKit row 79: a source that fails is a miss, with a warning for each job that brought it: also for one that comes when
/// it has failed already.
#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_a_miss() {
    let (away, _) = filled("away", &chain(100).each_ref()).await;
    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let import = Arc::new(Import::of(&away));
    import.set_broken(true);

    let ops = chain(100);
    let first = job_with(&solver, importing(&[&import]), &ops.each_ref()).await;
    let built = soon(first.build(&ops[2].edge())).await.unwrap();
    assert_eq!((built.result, built.cached), (111, false));
    assert_eq!(asked(ops.each_ref()), [(1, 1); 3]);
    assert_eq!((import.lookups(), import.loads(), shelf.loads()), (1, 0, 0));
    let warned = warnings(&first);
    assert!(matches!(&warned[..], [only] if only.contains("away") && only.contains("broken")), "{warned:?}");

    let late = job_with(&solver, importing(&[&import]), &ops.each_ref()).await;
    assert_eq!(warnings(&late), warned);
    assert_eq!(import.lookups(), 1);

    // When nobody has it any more, it may be tried again.
    drop((first, late));
    import.set_broken(false);
    let ops = chain(100);
    let top = Script::new("beside", 7).input(&ops[0]);
    let again = job_with(&solver, importing(&[&import]), &[&ops[0], &top]).await;
    assert_eq!(soon(again.build(&top.edge())).await.unwrap().result, 8);
    assert!(warnings(&again).is_empty());
    assert!(import.lookups() > 1);
    drop(again);
    solver.close().await;
}

/// BuildKit rows 68, 79: a record of an import that cannot be loaded is passed over like any other: the op runs, and the
/// job is told.
#[tokio::test(start_paused = true)]
async fn a_record_of_an_import_may_be_gone() {
    let (away, there) = filled("away", &chain(100).each_ref()).await;
    there.lose(111);
    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let import = Arc::new(Import::of(&away));
    let ops = chain(100);
    let job = job_with(&solver, importing(&[&import]), &ops.each_ref()).await;
    let mut status = job.status();
    assert_eq!(soon(job.build(&ops[2].edge())).await.unwrap().result, 111);
    // The top is gone there; what is below it is loaded for the run.
    assert_eq!(asked(ops.each_ref()), [(1, 0), (1, 0), (1, 1)]);
    assert_eq!((import.loads(), shelf.len()), (2, 2));
    job.discard();
    let mut told = Vec::new();
    while let Some(event) = status.next().await {
        if let What::Warning(warning) = event.what {
            told.push(warning);
        }
    }
    assert!(matches!(&told[..], [only] if only.contains("away-2")), "{told:?}");
    solver.close().await;
}

/// BuildKit row 79: a solver that closes does not wait for a source that never answers.
#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_a_source() {
    let (away, _) = memory_cache("away");
    let solver = Solver::new(memory_cache("local").0, checked());
    let gate = Gate::closed();
    let import = Arc::new(Import::of(&away).waiting_at(&gate));
    let ops = chain(100);
    let job = job_with(&solver, importing(&[&import]), &ops.each_ref()).await;
    let begun = Instant::now();
    let edge = ops[2].edge();
    let closes = async {
        gate.reached(1).await;
        solver.close().await;
    };
    let (built, ()) = soon(async { tokio::join!(job.build(&edge), closes) }).await;
    assert!(matches!(built, Err(Error::Cancelled { .. })));
    assert_eq!((begun.elapsed(), ops[2].counts().execs()), (Duration::ZERO, 0));
}

/// BuildKit row 67: what an import has a key for by its definition is not looked into for the sake of the solver's own
/// cache, which has none: looking would have a source run.
#[tokio::test(start_paused = true)]
async fn a_key_of_an_import_is_enough_not_to_look_into_inputs() {
    let ops = || {
        let source = Script::new("source", 1);
        let middle = Script::new("middle", 10).input(&source).by_content();
        let top = Script::new("top", 100).input(&middle);
        [source, middle, top]
    };
    let [source, middle, _] = ops();
    let (away, _) = filled("away", &[&source, &middle]).await;
    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let import = Arc::new(Import::of(&away));
    let ops = ops();
    let job = job_with(&solver, importing(&[&import]), &ops.each_ref()).await;
    let built = soon(job.build(&ops[2].edge())).await.unwrap();
    assert_eq!((built.result, built.cached), (111, false));
    assert_eq!(asked(ops.each_ref()), [(1, 0), (1, 0), (1, 1)]);
    assert_eq!((ops[1].counts().digests(), import.loads(), shelf.loads()), (0, 1, 0), "the middle alone");
    job.discard();
    solver.close().await;
}

/// An op that waits for its turn is not run if a cache that nobody waits for has it before that comes.
#[tokio::test(start_paused = true)]
async fn a_late_answer_counts_while_the_op_waits_for_its_turn() {
    let (away, _) = filled("away", &[&Script::new("op", 7)]).await;
    let (cache, shelf) = memory_cache("local");
    let mut settings = checked();
    settings.parallelism = [("script".to_owned(), 1)].into();
    let solver = Solver::new(cache, settings);
    let (answers, runs) = (Gate::closed(), Gate::closed());
    let import = Arc::new(Import::of(&away).waiting_at(&answers));
    let (before, op) = (Script::new("before", 1).running_at(&runs), Script::new("op", 7));
    let first = job(&solver, &[&before, &op]).await;
    let second = job_with(&solver, importing(&[&import]), &[&op]).await;
    let (before_edge, edge) = (before.edge(), op.edge());
    let driver = async {
        runs.reached(1).await;
        let late = async {
            answers.reached(1).await;
            answers.open();
            soon(second.build(&edge)).await.unwrap()
        };
        let built = tokio::join!(soon(first.build(&edge)), late);
        runs.open();
        built
    };
    let (ran, (built, late)) = tokio::join!(soon(first.build(&before_edge)), driver);
    assert_eq!((ran.unwrap().result, late.result), (1, 7));
    let built = built.unwrap();
    assert_eq!((built.result, built.cached), (7, true));
    assert_eq!((op.counts().execs(), import.loads(), shelf.loads()), (0, 1, 0));
    solver.close().await;
}

/// BuildKit row 78: a source goes with the job that brought it, though others have its vertices: it is not asked for them,
/// nor kept, but for what it has given.
#[tokio::test(start_paused = true)]
async fn a_source_goes_with_its_job() {
    let (solver, _) = crate::support::solver();
    let ops = chain(100);
    let (away, _) = filled("away", &ops.each_ref()).await;
    let import = Arc::new(Import::of(&away));
    let ops = chain(100);
    let one = job_with(&solver, importing(&[&import]), &ops.each_ref()).await;
    let two = job(&solver, &ops.each_ref()).await;
    // What it gave is used by the other.
    assert_eq!(soon(one.build(&ops[0].edge())).await.unwrap().result, 1);
    let (lookups, loads) = (import.lookups(), import.loads());
    drop(one);
    noted(&solver).await;
    assert_eq!(soon(two.build(&ops[2].edge())).await.unwrap().result, 111);
    assert_eq!((import.lookups(), import.loads()), (lookups, loads));
    assert_eq!(asked(ops.each_ref()), [(1, 0), (1, 1), (1, 1)]);
    // Others come and go, of which it has nothing.
    for _ in 0..3 {
        let (empty, _) = memory_cache("empty");
        let other = Arc::new(Import::of(&empty));
        let three = job_with(&solver, importing(&[&other]), &ops.each_ref()).await;
        assert_eq!(soon(three.build(&ops[2].edge())).await.unwrap().result, 111);
        drop(three);
        noted(&solver).await;
        assert_eq!((Arc::strong_count(&other), other.lookups()), (1, 0));
    }
    drop(two);
    noted(&solver).await;
    assert_eq!(Arc::strong_count(&import), 1);
    solver.close().await;
}

/// BuildKit row 78: what a source says when its job has gone counts for nothing, and it is kept no longer than it is asked.
#[tokio::test(start_paused = true)]
async fn what_a_source_says_after_its_job_has_gone_counts_for_nothing() {
    let (solver, _) = crate::support::solver();
    let op = Script::new("op", 1);
    let (away, there) = filled("away", &[&op.clone()]).await;
    let (gate, held) = (Gate::closed(), Gate::closed());
    let import = Arc::new(Import::of(&away).waiting_at(&gate));
    let op = Script::new("op", 1).running_at(&held);
    let one = job_with(&solver, importing(&[&import]), &[&op]).await;
    let two = job(&solver, &[&op]).await;
    let edge = op.edge();
    let built = two.build(&edge);
    let meanwhile = async {
        soon(gate.reached(1)).await;
        soon(held.reached(1)).await;
        drop(one);
        noted(&solver).await;
        gate.open();
        noted(&solver).await;
        held.open();
    };
    let (built, ()) = futures::join!(soon(built), meanwhile);
    assert_eq!((built.unwrap().cached, op.counts().execs()), (false, 1));
    assert_eq!((import.loads(), there.loads()), (0, 0));
    drop(two);
    noted(&solver).await;
    assert_eq!(Arc::strong_count(&import), 1);
    solver.close().await;
}
