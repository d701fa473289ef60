//! Vertices that are the same without having the same digest.

use std::sync::Arc;

use lazyblob_solver::testing::{Gate, Puppet, Script, digest, memory_cache, random};
use lazyblob_solver::{Batch, Edge, Error, JobOptions, KeyId, Link, OpError};

use crate::hand::{ask, build, execs, graph, job, of, settle, solver, told, vertices};
use crate::support::soon;

/// Two sources with the same key, of which the first waits at a gate when it runs.
fn twins(gate: &Gate) -> (Script, Script) {
    let waits = gate.clone();
    let first = Script::new("first", 1).key("twin").running(move |_, _, _| {
        let waits = waits.clone();
        async move {
            waits.pass().await;
            Ok(vec![1])
        }
    });
    (first, Script::new("second", 1).key("twin"))
}

/// BuildKit row 70: vertices that appear several times under different digests are computed once, in whatever order they
/// are found (BuildKit: TestMergedEdgesLookup).
#[tokio::test]
async fn what_appears_several_times_is_computed_once() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (cache, shelf) = memory_cache("local");
        let solver = solver(cache);
        let named = |name: &str, value, key: &str| Script::new(name, value).key(key);
        let two = [0, 1].map(|copy| named(&format!("two {copy}"), 2, "two"));
        let zero = named("zero", 0, "zero");
        let four = [0, 1].map(|copy| named(&format!("four {copy}"), 2, "plus 2").input(&two[copy]));
        let left = named("left", 0, "plus 0").input(&four[0]).input(&zero);
        let top = named("top", 3, "plus 3").input(&left).input(&four[1]);
        let all = [&two[0], &two[1], &zero, &four[0], &four[1], &left, &top];
        let mut given = all.map(Script::vertex);
        random.shuffle(&mut given);
        let open = job(&solver, vertices(given)).await;
        let mut asked = all.to_vec();
        random.shuffle(&mut asked);
        let wanted = |script: &Script| match script {
            script if two.iter().any(|two| two.digest() == script.digest()) => 2,
            script if four.iter().any(|four| four.digest() == script.digest()) => 4,
            script if script.digest() == zero.digest() => 0,
            script if script.digest() == left.digest() => 4,
            _ => 11,
        };
        let built = futures::future::join_all(asked.iter().map(|script| build(&open, script))).await;
        for (script, built) in asked.iter().zip(built) {
            assert_eq!(built.unwrap(), wanted(script), "seed {seed}");
        }
        let [two_a, two_b, zero, four_a, four_b, left, top] = execs(all);
        assert_eq!((two_a + two_b, zero, four_a + four_b, left, top), (1, 1, 1, 1, 1), "seed {seed}");
        assert_eq!(shelf.loads(), 0);
        solver.close().await;
    }
}

/// BuildKit row 70: two vertices whose outputs would be merged into each other's (BuildKit: TestMergedEdgesCycle).
#[tokio::test]
async fn outputs_are_not_merged_both_ways() {
    let (cache, shelf) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let (source, _) = twins(&gate);
    let made = |name: &str| Script::new(name, 10).key("both").input(&source).outputs(2);
    let (one, other) = (made("one"), made("other"));
    let output = |script: &Script, output| Edge { vertex: script.digest(), output };
    let open = Arc::new(job(&solver, graph(&[&source, &one, &other])).await);
    // Each is asked before the next, so that neither of the first two has anything to be merged into.
    let mut asked = Vec::new();
    for edge in [output(&one, 0), output(&other, 1), output(&one, 1), output(&other, 0)] {
        asked.push(ask(&open, edge).await);
    }
    gate.open();
    let built = futures::future::join_all(asked).await;
    let values: Vec<_> = built.into_iter().map(|built| built.unwrap().result).collect();
    assert_eq!(values, [11, 12, 12, 11]);
    let [a, b] = execs([&one, &other]);
    assert_eq!(a + b, 1);
    assert_eq!(shelf.loads(), 0);
    drop(open);
    // Nothing of it stayed active: it is loaded anew.
    let open = job(&solver, graph(&[&source, &one, &other])).await;
    let built = open.build(&output(&other, 1)).await.unwrap();
    assert_eq!((built.result, built.cached, shelf.loads()), (12, true, 1));
    solver.close().await;
}

/// BuildKit row 70: the same with several jobs, which end in whatever order (BuildKit: TestMergedEdgesCycleMultipleOwners).
#[tokio::test]
async fn outputs_are_not_merged_both_ways_over_several_jobs() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (cache, shelf) = memory_cache("local");
        let solver = solver(cache);
        let gate = Gate::closed();
        let (source, _) = twins(&gate);
        let made = |name: &str| Script::new(name, 10).key("both").input(&source).outputs(2);
        let (one, other) = (made("one"), made("other"));
        let output = |script: &Script, output| Edge { vertex: script.digest(), output };
        let edges = [output(&one, 0), output(&other, 1), output(&one, 1), output(&other, 0)];
        let mut jobs = Vec::new();
        for _ in 0..4 {
            jobs.push(Arc::new(job(&solver, graph(&[&source, &one, &other])).await));
        }
        random.shuffle(&mut jobs);
        let mut asked = Vec::new();
        for (job, edge) in jobs.iter().zip(&edges) {
            asked.push(ask(job, edge.clone()).await);
        }
        // Two of them leave, in whatever order.
        let mut leaving: Vec<_> = asked.drain(2..).zip(jobs.drain(2..)).collect();
        random.shuffle(&mut leaving);
        for left in leaving {
            drop(left);
            settle().await;
        }
        gate.open();
        let built = futures::future::join_all(asked).await;
        let values: Vec<_> = built.into_iter().map(|built| built.unwrap().result).collect();
        assert_eq!(values, [11, 12], "seed {seed}");
        let [a, b] = execs([&one, &other]);
        assert_eq!((a + b, shelf.loads()), (1, 0), "seed {seed}");
        drop(jobs);
        let last = job(&solver, graph(&[&source, &one, &other])).await;
        assert_eq!(last.build(&edges[0]).await.unwrap().result, 11);
        assert_eq!(shelf.loads(), 1, "seed {seed}: something stayed active");
        solver.close().await;
    }
}

/// BuildKit row 70: what a vertex was merged into belongs to its job, too (BuildKit: TestStaleEdgeMerge).
#[tokio::test]
async fn a_merged_vertex_keeps_what_stands_for_it() {
    let (cache, shelf) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let (first, second) = twins(&gate);
    let above = Script::new("above", 100).input(&second);
    let one = Arc::new(job(&solver, graph(&[&first])).await);
    let other = job(&solver, graph(&[&second, &above])).await;
    let gone = ask(&one, first.edge()).await;
    assert_eq!(gate.came(), 1);
    let result = {
        let kept = build(&other, &above);
        let leaving = async {
            settle().await;
            drop((gone, one));
            settle().await;
            gate.open();
        };
        futures::join!(kept, leaving).0
    };
    assert_eq!(result.unwrap(), 101);
    // It was not cancelled with its first job, and not done twice.
    assert_eq!(execs([&first, &second, &above]), [1, 0, 1]);
    assert_eq!(shelf.loads(), 0);
    solver.close().await;
}

/// BuildKit row 70: so it is for a job that comes when the merging is over.
#[tokio::test]
async fn a_job_that_comes_later_keeps_what_stands_for_its_vertex() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let (source, _) = twins(&gate);
    let [first, second] = ["one", "other"].map(|name| Script::new(name, 10).key("above").input(&source));
    let one = Arc::new(job(&solver, graph(&[&source, &first])).await);
    let other = Arc::new(job(&solver, graph(&[&source, &second])).await);
    let asked = [ask(&one, first.edge()).await, ask(&other, second.edge()).await];
    let late = Arc::new(job(&solver, graph(&[&source, &second])).await);
    let last = ask(&late, second.edge()).await;
    drop((asked, one, other));
    settle().await;
    gate.open();
    assert_eq!(last.await.unwrap().result, 11);
    assert_eq!(execs([&source, &first, &second]), [1, 1, 0]);
    solver.close().await;
}

/// BuildKit row 70: what was computed whatever the cache has stands for what need not be.
#[tokio::test]
async fn one_that_ignores_the_cache_stands_for_one_that_does_not() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let (first, second) = twins(&gate);
    let first = first.ignoring_cache();
    let one = job(&solver, graph(&[&first])).await;
    let other = job(&solver, graph(&[&second])).await;
    let opening = async {
        gate.reached(1).await;
        settle().await;
        gate.open();
    };
    let (a, b, ()) = futures::join!(build(&one, &first), build(&other, &second), opening);
    assert_eq!((a.unwrap(), b.unwrap()), (1, 1));
    assert_eq!(execs([&first, &second]), [1, 0]);
    solver.close().await;
}

/// BuildKit row 70: the other way round it must run itself.
#[tokio::test]
async fn one_that_does_not_ignore_the_cache_stands_for_none_that_does() {
    let (cache, shelf) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let (first, second) = twins(&gate);
    let second = second.ignoring_cache();
    let one = job(&solver, graph(&[&first])).await;
    let other = job(&solver, graph(&[&second])).await;
    let edge = first.edge();
    let mut waiting = Box::pin(one.build(&edge));
    assert!(futures::poll!(&mut waiting).is_pending());
    gate.reached(1).await;
    // It does not wait for the other, which runs.
    assert_eq!(build(&other, &second).await.unwrap(), 1);
    gate.open();
    assert_eq!(waiting.await.unwrap().result, 1);
    assert_eq!(execs([&first, &second]), [1, 1]);
    assert_eq!(shelf.loads(), 0);
    // Nor for one that has ended.
    let third = Script::new("third", 1).key("twin").ignoring_cache();
    let late = job(&solver, graph(&[&third])).await;
    assert_eq!(build(&late, &third).await.unwrap(), 1);
    assert_eq!((third.counts().execs(), shelf.loads()), (1, 0));
    solver.close().await;
}

/// BuildKit row 70: what happens to a merged vertex is told to each job under the name that it has there, to those that
/// come later, too, and nothing of vertices that a job does not have.
#[tokio::test]
async fn each_job_is_told_under_its_own_names() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let (first, second) = twins(&gate);
    let one = job(&solver, graph(&[&first])).await;
    let other = job(&solver, graph(&[&second])).await;
    let late = async {
        gate.reached(1).await;
        settle().await;
        let late = job(&solver, graph(&[&second])).await;
        settle().await;
        gate.open();
        assert_eq!(build(&late, &second).await.unwrap(), 1);
        late
    };
    let (a, b, late) = futures::join!(build(&one, &first), build(&other, &second), late);
    assert_eq!((a.unwrap(), b.unwrap()), (1, 1));
    let last = job(&solver, graph(&[&second])).await;
    assert_eq!(build(&last, &second).await.unwrap(), 1);
    for (job, has, lacks) in
        [(one, &first, &second), (other, &second, &first), (late, &second, &first), (last, &second, &first)]
    {
        let events = told(job).await;
        assert_eq!(of(&events, has), ["started", "completed"]);
        assert_eq!(of(&events, lacks), [""; 0]);
    }
    assert_eq!(execs([&first, &second]), [1, 0]);
    solver.close().await;
}

/// BuildKit row 70: a vertex that takes the place of one that has gone is not told about in its stead.
#[tokio::test]
async fn what_stands_for_a_vertex_that_has_gone_tells_nobody() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let (first, second) = twins(&gate);
    let one = Arc::new(job(&solver, graph(&[&first])).await);
    let other = Arc::new(job(&solver, graph(&[&second])).await);
    let asked = [ask(&one, first.edge()).await, ask(&other, second.edge()).await];
    let [kept, gone] = asked;
    drop((gone, other));
    settle().await;
    let bystander = Script::new("bystander", 5);
    let third = job(&solver, graph(&[&bystander])).await;
    settle().await;
    gate.open();
    assert_eq!(kept.await.unwrap().result, 1);
    let events = told(third).await;
    assert_eq!(of(&events, &bystander), [""; 0]);
    assert_eq!(execs([&first, &second, &bystander]), [1, 0, 0]);
    solver.close().await;
}

/// BuildKit row 70: what is complete stands for others; what failed does not.
#[tokio::test]
async fn a_complete_vertex_stands_for_others_and_a_failed_one_does_not() {
    let (cache, shelf) = memory_cache("local");
    let solver = solver(cache);
    let first = Script::new("first", 1).keys(vec![random("twin")]);
    let second = Script::new("second", 1).keys(vec![random("twin")]);
    let one = job(&solver, graph(&[&first])).await;
    assert_eq!(build(&one, &first).await.unwrap(), 1);
    let other = job(&solver, graph(&[&second])).await;
    let built = other.build(&second.edge()).await.unwrap();
    assert_eq!((built.result, built.vertex.digest == first.digest()), (1, true));
    assert_eq!((execs([&first, &second]), shelf.loads()), ([1, 0], 0));

    let fails = Script::new("fails", 2).key("other").running(|_, _, _| async { Err(OpError::failed("no")) });
    let works = Script::new("works", 2).key("other");
    let one = job(&solver, graph(&[&fails])).await;
    assert!(matches!(build(&one, &fails).await, Err(Error::Op { .. })));
    let other = job(&solver, graph(&[&works])).await;
    assert_eq!(build(&other, &works).await.unwrap(), 2);
    assert_eq!(execs([&fails, &works]), [1, 1]);
    solver.close().await;
}

/// BuildKit row 70: a vertex that failed with the one that stands for it has failed under its own name.
#[tokio::test]
async fn a_failure_is_told_to_all_that_it_stands_for() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let waits = gate.clone();
    let first = Script::new("first", 1).key("twin").running(move |_, _, _| {
        let waits = waits.clone();
        async move {
            waits.pass().await;
            Err(OpError::failed("no"))
        }
    });
    let second = Script::new("second", 1).key("twin");
    let one = job(&solver, graph(&[&first])).await;
    let other = job(&solver, graph(&[&second])).await;
    let opening = async {
        gate.reached(1).await;
        settle().await;
        gate.open();
    };
    let (a, b, ()) = futures::join!(build(&one, &first), build(&other, &second), opening);
    assert!(matches!(a, Err(Error::Op { .. })) && matches!(b, Err(Error::Op { .. })));
    assert_eq!(of(&told(one).await, &first), ["started", "failed"]);
    assert_eq!(of(&told(other).await, &second), ["started", "failed"]);
    assert_eq!(execs([&first, &second]), [1, 0]);
    solver.close().await;
}

/// BuildKit row 70: a key that is learned from a second cache map, or from the content of an input, merges as well.
#[tokio::test]
async fn a_key_that_is_learned_late_merges() {
    let (cache, shelf) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let (first, second) = twins(&gate);
    let keys = |own: &str| [own, "shared"].map(digest).to_vec();
    let (first, second) = (first.keys(keys("a")), second.keys(keys("b")));
    let one = job(&solver, graph(&[&first])).await;
    let other = job(&solver, graph(&[&second])).await;
    let opening = async {
        gate.reached(1).await;
        settle().await;
        gate.open();
    };
    let (a, b, ()) = futures::join!(build(&one, &first), build(&other, &second), opening);
    assert_eq!((a.unwrap(), b.unwrap()), (1, 1));
    assert_eq!((execs([&first, &second]), shelf.loads()), ([1, 0], 0));
    assert_eq!((first.counts().maps(), second.counts().maps()), (2, 2));
    drop((one, other));

    let gate = Gate::closed();
    let below = [0, 1].map(|copy| Script::new(&format!("below {copy}"), 7));
    let above = [0, 1].map(|copy| {
        let waits = gate.clone();
        let script = Script::new(&format!("above {copy}"), 1).key("above").input(&below[copy]).by_content();
        script.running(move |_, inputs, _| {
            let waits = waits.clone();
            async move {
                waits.pass().await;
                Ok(vec![inputs[0] + 1])
            }
        })
    });
    let one = job(&solver, graph(&[&below[0], &above[0]])).await;
    let other = job(&solver, graph(&[&below[1], &above[1]])).await;
    let opening = async {
        gate.reached(1).await;
        settle().await;
        gate.open();
    };
    let (a, b, ()) = futures::join!(build(&one, &above[0]), build(&other, &above[1]), opening);
    assert_eq!((a.unwrap(), b.unwrap()), (8, 8));
    let [a, b] = execs([&above[0], &above[1]]);
    assert_eq!((a + b, shelf.loads()), (1, 0));
    assert_eq!(execs([&below[0], &below[1]]), [1, 1]);
    solver.close().await;
}

/// BuildKit row 70: whatever keys ops choose, no vertex comes to wait for itself.
#[tokio::test]
async fn no_choice_of_keys_makes_a_cycle() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    // All say that they are the same op, and that what is below each is the same.
    let mut chain = vec![Script::new("0", 0).key("liar")];
    for at in 1..50 {
        let above = Script::new(&at.to_string(), 0).key("liar").input(&chain[at - 1]).by_content();
        chain.push(above);
    }
    let lies =
        chain.iter().map(|script| Puppet::of(script).digesting(|_, _, _| async { Ok(digest("same")) }));
    let lies: Vec<_> = lies.collect();
    for seed in 0..20 {
        let open = job(&solver, vertices(lies.iter().map(Puppet::vertex))).await;
        let mut asked: Vec<_> = chain.iter().collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut asked);
        let built = futures::future::join_all(asked.iter().map(|script| build(&open, script))).await;
        assert!(built.into_iter().all(|built| built.unwrap() == 0), "seed {seed}");
    }
    // None ran twice but the one that a lost chance to merge may have let run beside another.
    assert!(chain.iter().all(|script| script.counts().execs() <= 1));
    solver.close().await;
}

/// BuildKit row 70: those that have a merged vertex as input are given what stands for it, and their key is that of both.
#[tokio::test]
async fn what_is_above_merges_in_its_turn() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let chains = [0, 1].map(|copy| {
        let mut chain = vec![Script::new(&format!("{copy} 0"), 1).key("0")];
        for at in 1..20 {
            let above = Script::new(&format!("{copy} {at}"), 1).key(&at.to_string()).input(&chain[at - 1]);
            chain.push(above);
        }
        chain
    });
    let mut jobs = Vec::new();
    for chain in &chains {
        jobs.push(job(&solver, vertices(chain.iter().map(Script::vertex))).await);
    }
    let built = futures::join!(build(&jobs[0], &chains[0][19]), build(&jobs[1], &chains[1][19]));
    assert_eq!((built.0.unwrap(), built.1.unwrap()), (20, 20));
    for (one, other) in chains[0].iter().zip(&chains[1]) {
        assert_eq!(one.counts().execs() + other.counts().execs(), 1);
    }
    solver.close().await;
}

/// BuildKit row 70: where the ranks forbid that the second is merged into the first, and the first is at work, both run;
/// who comes when the first has been saved finds that.
#[tokio::test(start_paused = true)]
async fn ranks_may_have_two_run() {
    for saved in [false, true] {
        let (cache, _) = memory_cache("local");
        let solver = solver(cache);
        let gate = Gate::closed();
        let (low, deep) = (Script::new("low", 1), Script::new("deep", 0));
        let high = Script::new("high", 1).input(&deep);
        // Both have an input of content 1.
        let first = Script::new("first", 10).key("same").input(&high).by_content().running_at(&gate);
        let second = Script::new("second", 10).key("same").input(&low).by_content();
        let one = job(&solver, graph(&[&deep, &high, &first])).await;
        let other = job(&solver, graph(&[&low, &second])).await;
        let edges = [first.edge(), second.edge()];
        let comes = async {
            gate.reached(1).await;
            if !saved {
                let built = other.build(&edges[1]).await.unwrap();
                assert_eq!((built.result, built.cached), (11, false));
            }
            gate.open();
        };
        let (built, ()) = soon(async { tokio::join!(one.build(&edges[0]), comes) }).await;
        assert_eq!(built.unwrap().result, 11);
        let built = soon(other.build(&edges[1])).await.unwrap();
        assert_eq!((built.result, built.cached), (11, saved));
        assert_eq!((first.counts().execs(), second.counts().execs()), (1, usize::from(!saved)));
        drop((one, other));
        solver.close().await;
    }
}

/// A cache that leads two ops to one key does not make them the same: both run, and neither is remembered as the other.
#[tokio::test]
async fn ops_that_a_cache_gives_one_key_are_not_merged() {
    let (import, _) = memory_cache("import");
    let one_key = KeyId::of_content(&digest("anything"));
    let from = KeyId::of_output(&digest("key of base"), 0);
    let link = |name: &str| Link {
        op: KeyId::of_output(&digest(&format!("key of {name}")), 0),
        input: 0,
        selector: None,
    };
    let links = ["one", "other"].map(|name| (from, link(name), one_key)).to_vec();
    import.keys().commit(Batch { links, results: Vec::new() }).await.unwrap();
    let (cache, _) = memory_cache("local");
    let solver = solver(Arc::clone(&cache));
    let base = Script::new("base", 1);
    let (one, other) = (Script::new("one", 10).input(&base), Script::new("other", 20).input(&base));
    let options = JobOptions { sources: vec![import as _], ..JobOptions::default() };
    let open = solver.job(options).await.unwrap();
    open.load(graph(&[&base, &one, &other])).await.unwrap();
    let (first, second) = futures::join!(build(&open, &one), build(&open, &other));
    assert_eq!((first.unwrap(), second.unwrap()), (11, 21));
    assert_eq!(execs([&base, &one, &other]), [1, 1, 1]);
    for name in ["one", "other"] {
        assert_eq!(cache.keys().targets(&[from], &link(name)).await.unwrap().len(), 1, "{name}");
    }
    solver.close().await;
}
