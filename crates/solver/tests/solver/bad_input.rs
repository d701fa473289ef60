//! Graphs, ops and stores that are not as they should be: a typed error at the right vertex, and the solver goes on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lazyblob_solver::testing::{FaultyKeys, Gate, Puppet, Script, Shelf, digest, memory_cache};
use lazyblob_solver::{
    CacheIndex, Dep, Edge, Error, Graph, JobOptions, LoadCx, LoadError, MemoryKeys, OpCx, OpError, ResultId,
    ResultStore, Settings, Solver, Stage, StoreError, StoredResult, Vertex,
};

use crate::hand::{ask, build, checked, execs, graph, job, settle, solver, vertices};

/// A vertex of this name over the first outputs of others.
fn over(name: &str, inputs: &[String]) -> Vertex<i64> {
    let mut vertex = Script::new(name, 0).vertex();
    vertex.inputs = inputs.iter().map(|input| Edge::first(digest(&format!("vertex {input}")))).collect();
    vertex
}

/// After whatever has happened: another job works.
async fn still_works(solver: &Solver<i64>) {
    let fresh = Script::new("fresh", 1);
    let top = Script::new("top of fresh", 1).input(&fresh);
    let open = job(solver, graph(&[&fresh, &top])).await;
    assert_eq!(build(&open, &top).await.unwrap(), 2);
}

/// BuildKit row 59: a cycle is refused with its path, which begins and ends with the same vertex.
#[test]
fn a_cycle_is_named() {
    for length in [1, 2, 100_000] {
        let name = |at: usize| format!("v{}", at % length);
        let ring = (0..length).map(|at| over(&name(at), &["tail".to_owned(), name(at + 1)]));
        let tail = [over("tail", &["end".to_owned()]), over("end", &[]), over("top", &[name(0)])];
        let Err(Error::Cycle { path }) = Graph::new(tail.into_iter().chain(ring)) else { panic!("no cycle") };
        assert_eq!(path.len(), length + 1);
        assert_eq!(path[0], path[length]);
        // Each vertex has the next as input, and what is beside the cycle is not in it.
        let first: usize = path[0].name[1..].parse().unwrap();
        for (at, vertex) in path.iter().enumerate() {
            assert_eq!(*vertex.name, *name(first + at));
        }
    }
}

/// BuildKit row 59: so is an input that is not there, and a digest that stands for two vertices.
#[test]
fn what_does_not_fit_together_is_refused() {
    let error = Graph::new([over("top", &["there".to_owned(), "nowhere".to_owned()]), over("there", &[])]);
    let Err(Error::MissingInput { vertex, input: 1, missing }) = error else { panic!("{error:?}") };
    assert_eq!((&*vertex.name, missing), ("top", Script::new("nowhere", 0).edge()));

    let error = Graph::new([over("base", &[]), over("one", &[]), over("one", &["base".to_owned()])]);
    let Err(Error::Invalid { vertex, .. }) = error else { panic!("{error:?}") };
    assert!(vertex.starts_with("one ("));
    let error = Graph::new([over("one", &[]), over("one", &[]).ignoring_cache()]);
    assert!(matches!(error, Err(Error::Invalid { .. })), "{error:?}");
    // The same vertex twice is one vertex.
    assert_eq!(Graph::new([over("one", &[]), over("one", &[])]).unwrap().len(), 1);
}

/// BuildKit rows 71, 74: a panic is an error of the vertex whose op it was, at that stage.
#[tokio::test]
async fn a_panic_is_told_where_it_was() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    for stage in [Stage::CacheMap, Stage::Exec, Stage::SlowDigest, Stage::Preprocess] {
        let base = Script::new(&format!("base {stage}"), 1);
        let mut script = Script::new(&format!("op {stage}"), 1).input(&base).by_content().preparing();
        if stage == Stage::Exec {
            script = script.running(|_, _, _| async { panic!("at {}", "once") });
        }
        let mut puppet = Puppet::of(&script);
        puppet = match stage {
            Stage::CacheMap => puppet.mapping(|_, _, _| async { panic!("at {}", "once") }),
            Stage::SlowDigest => puppet.digesting(|_, _, _| async { panic!("at {}", "once") }),
            Stage::Preprocess => puppet.preparing(|_, _, _| async { panic!("at {}", "once") }),
            _ => puppet,
        };
        let top = Script::new(&format!("top {stage}"), 1).input(&script);
        let open = job(&solver, vertices([base.vertex(), puppet.vertex(), top.vertex()])).await;
        let error = build(&open, &top).await.unwrap_err();
        let Error::Panicked { vertex, stage: at, message } = error else { panic!("{stage}: {error}") };
        assert_eq!((at, message.as_str()), (stage, "at once"));
        // A preparation is work of the vertex whose output is prepared.
        let blamed = if stage == Stage::Preprocess { &base } else { &script };
        assert_eq!(vertex.digest, blamed.digest(), "{stage}");
        assert_eq!(execs([&script, &top]), [usize::from(stage == Stage::Exec), 0], "{stage}");
        assert_eq!(build(&open, &base).await.unwrap(), 1);
        still_works(&solver).await;
    }
    solver.close().await;
}

/// BuildKit row 71: work that hangs is told to stop at its deadline; if it does not, it is given up on after a while.
#[tokio::test(start_paused = true)]
async fn an_op_that_hangs_is_given_up_on() {
    for heeds in [true, false] {
        for maps in [true, false] {
            let (cache, _) = memory_cache("local");
            let mut settings = checked();
            settings.deadline = Some(Duration::from_secs(60));
            settings.cancel_grace = Duration::from_secs(5);
            let solver = Solver::new(cache, settings);
            let gate = Gate::closed();
            let hang = {
                let gate = gate.clone();
                move |cx: OpCx<i64>| {
                    let gate = gate.clone();
                    async move {
                        let stop =
                            async { if heeds { cx.cancelled().await } else { std::future::pending().await } };
                        tokio::select! { () = gate.pass() => {}, () = stop => {} }
                    }
                }
            };
            let script = Script::new("hangs", 1);
            let vertex = if maps {
                let puppet = Puppet::of(&script).mapping(move |cx, map, _| {
                    let hang = hang(cx);
                    async move {
                        hang.await;
                        Ok(map)
                    }
                });
                puppet.vertex()
            } else {
                let running = script.clone().running(move |cx, _, _| {
                    let hang = hang(cx);
                    async move {
                        hang.await;
                        Ok(vec![1])
                    }
                });
                running.vertex()
            };
            let top = Script::new("top", 1).input(&script);
            let open = job(&solver, vertices([vertex, top.vertex()])).await;
            let began = tokio::time::Instant::now();
            let error = build(&open, &top).await.unwrap_err();
            let Error::TimedOut { vertex, stage, after } = error else { panic!("{error}") };
            assert_eq!((vertex.digest, after), (script.digest(), Duration::from_secs(60)));
            assert_eq!(stage, if maps { Stage::CacheMap } else { Stage::Exec });
            assert_eq!(began.elapsed().as_secs(), if heeds { 60 } else { 65 });
            assert_eq!(top.counts().execs(), 0);
            still_works(&solver).await;
            drop(open);
            // What was given up on is still waited for in the end.
            let mut closing = Box::pin(solver.close());
            if !heeds {
                assert!(tokio::time::timeout(Duration::from_secs(3600), &mut closing).await.is_err());
                gate.open();
            }
            closing.await;
        }
    }
}

/// BuildKit row 71: what a vertex says of its deadline counts more than the settings.
#[tokio::test(start_paused = true)]
async fn a_vertex_has_a_deadline_of_its_own() {
    let (cache, _) = memory_cache("local");
    let mut settings = checked();
    settings.deadline = Some(Duration::from_secs(60));
    let solver = Solver::new(cache, settings);
    let waits = Script::new("waits", 1).running(|_, _, _| async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        Ok(vec![1])
    });
    let mut vertex = waits.vertex();
    vertex.options.deadline = Some(Duration::from_secs(3600));
    let open = job(&solver, vertices([vertex])).await;
    assert_eq!(build(&open, &waits).await.unwrap(), 1);
    assert_eq!(waits.counts().execs(), 1);
    solver.close().await;
}

/// BuildKit row 59: an op that does not keep to its word fails at its own vertex.
#[tokio::test]
async fn an_op_that_lies_is_told_so() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let base = Script::new("base", 1);
    let top =
        |script: &Script| Script::new(&format!("top of {script:?}", script = script.edge()), 1).input(script);

    let few = Script::new("few", 1).input(&base).running(|_, _, _| async { Ok(Vec::new()) });
    let above = top(&few);
    let open = job(&solver, graph(&[&base, &few, &above])).await;
    let error = build(&open, &above).await.unwrap_err();
    assert!(
        matches!(&error, Error::Contract { vertex, stage: Stage::Exec, .. } if vertex.digest == few.digest()),
        "{error}"
    );
    assert_eq!(execs([&few, &above]), [1, 0]);

    for (name, deps, more) in [("many", 2, false), ("none", 0, false), ("more", 1, true)] {
        let lies = Script::new(name, 1).input(&base);
        let puppet = Puppet::of(&lies).mapping(move |_, mut map, _| async move {
            map.deps = (0..deps).map(|_| Dep::default()).collect();
            map.more = more;
            Ok(map)
        });
        let above = top(&lies);
        let open = job(&solver, vertices([base.vertex(), puppet.vertex(), above.vertex()])).await;
        let error = build(&open, &above).await.unwrap_err();
        assert!(
            matches!(&error, Error::Contract { vertex, stage: Stage::CacheMap, .. } if vertex.digest == lies.digest()),
            "{error}"
        );
        assert_eq!(execs([&lies, &above]), [0, 0]);
        assert_eq!(lies.counts().maps(), 1);
    }
    still_works(&solver).await;
    solver.close().await;
}

/// An output that does not exist fails whoever asks for it, and nobody who asks for one that does.
#[tokio::test]
async fn an_output_that_does_not_exist_fails_alone() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let pair = Script::new("pair", 1).outputs(2);
    let fine = Script::new("fine", 10).input_at(&pair, 1);
    let wrong = Script::new("wrong", 10).input_at(&pair, 2);
    let absurd = Script::new("absurd", 10).input_at(&pair, u32::MAX);
    let open = job(&solver, graph(&[&pair, &fine, &wrong, &absurd])).await;
    let built = futures::join!(build(&open, &fine), build(&open, &wrong), build(&open, &absurd));
    assert_eq!(built.0.unwrap(), 12);
    for error in [built.1.unwrap_err(), built.2.unwrap_err()] {
        assert!(
            matches!(&error, Error::Contract { vertex, stage: Stage::Exec, .. } if vertex.digest == pair.digest()),
            "{error}"
        );
    }
    assert_eq!(execs([&pair, &fine, &wrong, &absurd]), [1, 1, 0, 0]);
    // Whoever comes later is told the same, and others are not held to it.
    let late = job(&solver, graph(&[&pair])).await;
    let edge = |output| Edge { vertex: pair.digest(), output };
    assert!(matches!(late.build(&edge(7)).await, Err(Error::Contract { .. })));
    assert_eq!(late.build(&edge(0)).await.unwrap().result, 1);
    // Not loaded at all.
    let stranger = Script::new("stranger", 1);
    assert!(matches!(build(&late, &stranger).await, Err(Error::Invalid { .. })));
    assert_eq!((pair.counts().execs(), stranger.counts().maps()), (1, 0));
    solver.close().await;
}

/// Two chains over one source that meet, with every kind of key: enough to ask a store for everything.
fn meeting() -> (Vec<Script>, Script) {
    let source = Script::new("source", 1);
    let left = Script::new("left", 10).input(&source).by_content();
    let right = Script::new("right", 100).input(&source).selecting("part").preparing();
    let lossy = Script::new("lossy", 0).input(&right).running(|_, inputs, before| async move {
        if before == 0 { Err(OpError::lost(0, "no bytes")) } else { Ok(vec![inputs[0]]) }
    });
    let top = Script::new("top", 1000).input(&left).input(&lossy);
    (vec![source, left, right, lossy, top.clone()], top)
}

/// BuildKit row 75: whichever call of the key store fails or panics, the build succeeds or fails at one of its vertices with
/// what the store said, and the next build is as if nothing had been.
#[tokio::test]
async fn a_key_store_may_fail_at_any_call() {
    for panics in [false, true] {
        for warm in [false, true] {
            let (mut call, mut failed) = (0, 0);
            loop {
                let keys = Arc::new(FaultyKeys::new());
                let cache =
                    Arc::new(CacheIndex::new("local", Arc::clone(&keys) as _, Arc::new(Shelf::new("local"))));
                let solver = solver(cache);
                if warm {
                    let (scripts, _) = meeting();
                    let open = job(&solver, graph(&scripts[..3].iter().collect::<Vec<_>>())).await;
                    for script in &scripts[1..3] {
                        build(&open, script).await.unwrap();
                    }
                    drop(open);
                    settle().await;
                }
                keys.fail_at(call, panics);
                let (scripts, top) = meeting();
                let open = job(&solver, graph(&scripts.iter().collect::<Vec<_>>())).await;
                let built = tokio::time::timeout(Duration::from_secs(60), build(&open, &top)).await;
                match built.expect("it hangs") {
                    Ok(value) => assert_eq!(value, 1112),
                    Err(Error::Store { vertex, stage, store, cause }) => {
                        failed += 1;
                        assert!(scripts.iter().any(|script| script.digest() == vertex.digest));
                        assert!(matches!(stage, Stage::Lookup | Stage::Save), "{stage}");
                        let words = if panics { "panics" } else { "fails" };
                        assert!(cause.to_string().contains(&format!("call {call} {words}")), "{cause}");
                        assert_eq!(&*store, "local");
                        assert_eq!(
                            top.counts().execs(),
                            usize::from(stage == Stage::Save && vertex.digest == top.digest())
                        );
                    }
                    Err(error) => panic!("{error}"),
                }
                let over = !keys.has_failed();
                keys.mend();
                drop(open);
                let (scripts, top) = meeting();
                let open = job(&solver, graph(&scripts.iter().collect::<Vec<_>>())).await;
                assert_eq!(build(&open, &top).await.unwrap(), 1112, "after call {call}");
                solver.close().await;
                if over {
                    break;
                }
                call += 1;
            }
            assert!(call > 10 && failed > 5, "{call} calls, {failed} failures");
        }
    }
}

/// Results that can be neither kept nor loaded without a panic.
struct Panics {
    shelf: Shelf,
    saves: bool,
}

#[async_trait]
impl ResultStore<i64> for Panics {
    async fn save(&self, result: &i64, created_at: Option<SystemTime>) -> Result<StoredResult, StoreError> {
        assert!(!self.saves, "no space");
        self.shelf.save(result, created_at).await
    }

    async fn load(&self, _: &LoadCx, _: &ResultId) -> Result<i64, LoadError> {
        panic!("no disk")
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        self.shelf.exists(id).await
    }

    async fn remotes(&self, cx: &LoadCx, id: &ResultId, make: bool) -> Result<Vec<i64>, LoadError> {
        self.shelf.remotes(cx, id, make).await
    }
}

/// BuildKit row 68: a result store that panics at a load has not loaded; one that panics at a save has failed.
#[tokio::test]
async fn a_result_store_may_panic() {
    for saves in [false, true] {
        let results = Panics { shelf: Shelf::new("local"), saves };
        let solver =
            solver(Arc::new(CacheIndex::new("local", Arc::new(MemoryKeys::new()), Arc::new(results))));
        let base = Script::new("base", 1);
        let top = Script::new("top", 1).input(&base);
        for round in 1..3 {
            let open = job(&solver, graph(&[&base, &top])).await;
            match build(&open, &top).await {
                Ok(value) => assert_eq!((value, saves), (2, false)),
                Err(Error::Store { vertex, stage: Stage::Save, cause, .. }) => {
                    assert_eq!((vertex.digest, saves), (base.digest(), true));
                    assert_eq!(cause.to_string(), "panicked: no space");
                }
                Err(error) => panic!("{error}"),
            }
            // The record of neither could be loaded, so both ran again; what could not be saved went no further.
            assert_eq!(execs([&base, &top]), [round, if saves { 0 } else { round }]);
        }
        solver.close().await;
    }
}

/// BuildKit rows 71, 73: a job may be discarded, or the solver closed, whatever runs: all work returns, nothing is answered
/// twice or not at all, and the next job works.
#[tokio::test]
async fn a_job_may_end_in_any_phase() {
    for stage in [Stage::CacheMap, Stage::Exec, Stage::SlowDigest, Stage::Preprocess] {
        for closes in [false, true] {
            for heeds in [false, true] {
                let (cache, _) = memory_cache("local");
                let solver = solver(cache);
                let gate = Gate::closed();
                let hold = {
                    let gate = gate.clone();
                    move |cx: LoadCx| {
                        let gate = gate.clone();
                        async move {
                            let stop = async {
                                if heeds { cx.cancelled().await } else { std::future::pending().await }
                            };
                            tokio::select! {
                                () = gate.pass() => Ok(()),
                                () = stop => Err(OpError::Cancelled),
                            }
                        }
                    }
                };
                let base = Script::new("base", 1);
                let mut script = Script::new("op", 1).input(&base).by_content().preparing();
                if stage == Stage::Exec {
                    let hold = hold.clone();
                    script = script.running(move |cx, _, _| {
                        let held = hold((*cx).clone());
                        async move { held.await.map(|()| vec![2]) }
                    });
                }
                let puppet = Puppet::of(&script);
                let puppet = match stage {
                    Stage::CacheMap => puppet.mapping(move |cx, map, _| {
                        let held = hold((*cx).clone());
                        async move { held.await.map(|()| map) }
                    }),
                    Stage::SlowDigest => puppet.digesting(move |cx, _, _| {
                        let held = hold(cx);
                        async move { held.await.map(|()| digest("content")) }
                    }),
                    Stage::Preprocess => puppet.preparing(move |cx, _, _| hold(cx)),
                    _ => puppet,
                };
                let all = || vertices([base.vertex(), puppet.vertex()]);
                let open = solver.job(JobOptions::default()).await.unwrap();
                open.load(all()).await.unwrap();
                let open = Arc::new(open);
                let asked = ask(&open, script.edge()).await;
                assert_eq!(gate.came(), 1, "{stage}");
                if closes {
                    let mut closing = Box::pin(solver.close());
                    assert!(futures::poll!(&mut closing).is_pending());
                    let error = asked.await.map(|built| built.result).unwrap_err();
                    assert!(matches!(error, Error::Cancelled { .. }), "{stage}: {error}");
                    settle().await;
                    // It ends when the work has returned, which is when it is told to stop, or when it is done.
                    assert_eq!(futures::poll!(&mut closing).is_ready(), heeds, "{stage}");
                    if !heeds {
                        gate.open();
                        closing.await;
                    }
                    assert!(matches!(solver.job(JobOptions::default()).await, Err(Error::Closed)));
                } else {
                    drop((asked, open));
                    settle().await;
                    // The next that wants it waits until the last has returned, and does it anew if that was cancelled.
                    let next = Arc::new(job(&solver, all()).await);
                    let asked = ask(&next, script.edge()).await;
                    assert_eq!(gate.came(), if heeds { 2 } else { 1 }, "{stage}");
                    gate.open();
                    assert_eq!(asked.await.unwrap().result, 2, "{stage}");
                    still_works(&solver).await;
                    solver.close().await;
                }
            }
        }
    }
}

/// A job that is discarded while its graph is loaded, or before it is asked anything, leaves nothing.
#[tokio::test]
async fn a_job_may_end_while_it_loads() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, Settings::default());
    let mut chain = vec![Script::new("0", 1)];
    for at in 1..40_000 {
        chain.push(Script::new(&at.to_string(), 1).input(&chain[at - 1]));
    }
    let open = solver.job(JobOptions::default()).await.unwrap();
    {
        let mut loading = Box::pin(open.load(vertices(chain.iter().map(Script::vertex))));
        assert!(futures::poll!(&mut loading).is_pending());
        tokio::task::yield_now().await;
        assert!(futures::poll!(&mut loading).is_pending());
    }
    open.discard();
    still_works(&solver).await;
    assert!(chain.iter().all(|script| script.counts().maps() == 0));
    solver.close().await;
}
