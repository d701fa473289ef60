//! Builds within builds.

use std::sync::{Arc, Mutex};

use lazyblob_solver::testing::{Gate, Puppet, Script, memory_cache};
use lazyblob_solver::{Cause, Error, OpError, Solver, Stage};

use crate::hand::{ask, build, checked, execs, graph, job, of, settle, solver, told, vertices};

/// An op that builds the last of these, and adds its own value to that.
fn around(name: &str, value: i64, inner: &[&Script]) -> Script {
    let inner: Vec<Script> = inner.iter().map(|script| (*script).clone()).collect();
    Script::new(name, value).running(move |cx, inputs, _| {
        let inner = inner.clone();
        async move {
            let graph = vertices(inner.iter().map(Script::vertex));
            let built = cx.solve(graph, &inner[inner.len() - 1].edge()).await.map_err(OpError::failed)?;
            Ok(vec![value + built.result + inputs.iter().sum::<i64>()])
        }
    })
}

/// An op that waits at a gate, and stops when it is told to, which it counts there.
fn waiting(name: &str, gate: &Gate, stopped: &Gate) -> Script {
    let (waits, stopped) = (gate.clone(), stopped.clone());
    Script::new(name, 1).running(move |cx, _, _| {
        let (waits, stopped) = (waits.clone(), stopped.clone());
        async move {
            tokio::select! {
                () = waits.pass() => Ok(vec![1]),
                () = cx.cancelled() => {
                    stopped.open();
                    stopped.pass().await;
                    Err(OpError::Cancelled)
                }
            }
        }
    })
}

/// A build within a build, its result in the cache like any other (BuildKit: TestSubbuild).
#[tokio::test]
async fn a_build_within_a_build() {
    let (cache, shelf) = memory_cache("local");
    let solver = solver(cache);
    let three = Script::new("three", 3);
    let seven = Script::new("seven", 7).input(&three);
    for round in 0..2 {
        let two = Script::new("two", 2);
        let outer = around("outer", 0, &[&three, &seven]);
        let top = Script::new("top", 1).input(&two).input(&outer);
        let open = job(&solver, graph(&[&two, &outer, &top])).await;
        assert_eq!(build(&open, &top).await.unwrap(), 13);
        assert_eq!(execs([&two, &outer, &top]), [1 - round; 3]);
        // Nothing within is asked about when the outer is known.
        assert_eq!((execs([&three, &seven]), seven.counts().maps()), ([1, 1], 1));
        assert_eq!(shelf.loads(), round);
        let events = told(open).await;
        let inner: &[_] = if round == 0 { &["started", "completed"] } else { &[] };
        assert_eq!(of(&events, &seven), inner);
    }
    solver.close().await;
}

/// What is active already is shared, and inner results stay as long as the outer vertex does.
#[tokio::test]
async fn it_shares_what_is_active() {
    let (cache, shelf) = memory_cache("local");
    let solver = solver(cache);
    let (gate, stopped) = (Gate::closed(), Gate::closed());
    let inner = waiting("inner", &gate, &stopped);
    let outer = around("outer", 10, &[&inner]);
    let one = Arc::new(job(&solver, graph(&[&inner])).await);
    let other = Arc::new(job(&solver, graph(&[&outer])).await);
    let first = ask(&one, inner.edge()).await;
    let second = ask(&other, outer.edge()).await;
    // The first to ask for it leaves.
    drop((first, one));
    settle().await;
    gate.open();
    assert_eq!(second.await.unwrap().result, 11);
    assert_eq!((execs([&inner, &outer]), stopped.came()), ([1, 1], 0));
    // It is still there, without being loaded.
    let third = job(&solver, graph(&[&inner])).await;
    assert_eq!(build(&third, &inner).await.unwrap(), 1);
    assert_eq!((execs([&inner]), shelf.loads()), ([1], 0));
    drop((third, other));
    let fourth = job(&solver, graph(&[&inner])).await;
    assert_eq!(build(&fourth, &inner).await.unwrap(), 1);
    assert_eq!((execs([&inner]), shelf.loads()), ([1], 1));
    solver.close().await;
}

/// Several builds at once within each of many that are within each other cost what they are, and not what the ways through
/// them are: of these there are 8 to the power of 24.
#[tokio::test]
async fn builds_at_once_within_each_other_are_gone_over_once() {
    const DEEP: usize = 24;
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let mut all = vec![Script::new("0", 1).running_at(&gate)];
    for at in 1..=DEEP {
        let inner = all[at - 1].clone();
        all.push(Script::new(&at.to_string(), 1).running(move |cx, _, _| {
            let inner = inner.clone();
            async move {
                let edge = inner.edge();
                let built = (0..8).map(|_| cx.solve(graph(&[&inner]), &edge));
                let built = futures::future::try_join_all(built).await.map_err(OpError::failed)?;
                Ok(vec![built.iter().map(|built| built.result).sum::<i64>() / 8 + 1])
            }
        }));
    }
    let open = Arc::new(job(&solver, graph(&[&all[DEEP]])).await);
    let asked = ask(&open, all[DEEP].edge()).await;
    assert_eq!(gate.came(), 1);
    gate.open();
    assert_eq!(asked.await.unwrap().result, 25);
    assert!(all.iter().all(|script| script.counts().execs() == 1));
    // What happens within is told once.
    let Some(open) = Arc::into_inner(open) else { panic!("somebody has the job") };
    assert_eq!(of(&told(open).await, &all[0]), ["started", "completed"]);
    solver.close().await;
}

/// BuildKit row 74: the outer fails, and says which vertex within has failed.
#[tokio::test]
async fn a_failure_within_names_both() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let inner = Script::new("inner", 1).running(|_, _, _| async { Err(OpError::failed("no space")) });
    let outer = around("outer", 10, &[&inner]);
    let top = Script::new("top", 1).input(&outer);
    let open = job(&solver, graph(&[&outer, &top])).await;
    let error = build(&open, &top).await.unwrap_err();
    let Error::Op { vertex, stage: Stage::Exec, cause } = error else { panic!("{error}") };
    assert_eq!(vertex.digest, outer.digest());
    let within = cause.to_string();
    assert!(within.starts_with("inner (sha256:") && within.ends_with("exec: no space"), "{within}");
    assert_eq!(execs([&inner, &outer, &top]), [1, 1, 0]);
    let events = told(open).await;
    assert_eq!(of(&events, &inner), ["started", "failed"]);
    assert_eq!(of(&events, &top), [""; 0]);
    solver.close().await;
}

fn gone(why: &str) -> Cause {
    Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(why))
}

/// BuildKit row 68: an op that finds what was built within it gone has it made again, by the next build of it; what
/// was lost for good is told so.
#[tokio::test]
async fn what_was_built_within_may_be_lost() {
    let (cache, shelf) = memory_cache("local");
    let solver = solver(cache);
    let base = Script::new("base", 1);
    let inner = Script::new("inner", 2).input(&base);
    let first = job(&solver, graph(&[&base, &inner])).await;
    assert_eq!(build(&first, &inner).await.unwrap(), 3);
    drop(first);
    let outer = {
        let ops = [base.clone(), inner.clone()];
        Script::new("outer", 10).running(move |cx, _, _| {
            let ops = ops.clone();
            async move {
                let all = || vertices(ops.iter().map(Script::vertex));
                let edge = ops[1].edge();
                let found = cx.solve(all(), &edge).await.map_err(OpError::failed)?;
                assert!(found.cached);
                cx.lost(&found, gone("no bytes")).await.map_err(OpError::failed)?;
                let made = cx.solve(all(), &edge).await.map_err(OpError::failed)?;
                assert!(!made.cached);
                // What it said before says nothing of this one.
                cx.lost(&found, gone("no bytes")).await.map_err(OpError::failed)?;
                let same = cx.solve(all(), &edge).await.map_err(OpError::failed)?;
                assert_eq!((same.result, same.cached), (made.result, false));
                let bottom = cx.solve(all(), &ops[0].edge()).await.map_err(OpError::failed)?;
                cx.lost(&bottom, gone("no bytes")).await.map_err(OpError::failed)?;
                let bottom = cx.solve(all(), &ops[0].edge()).await.map_err(OpError::failed)?;
                let lost = cx.lost(&bottom, gone("none there either")).await;
                assert!(matches!(lost, Err(Error::Lost { .. })), "{lost:?}");
                Ok(vec![10 + same.result])
            }
        })
    };
    let open = job(&solver, graph(&[&outer])).await;
    assert_eq!(build(&open, &outer).await.unwrap(), 13);
    assert_eq!(execs([&base, &inner, &outer]), [2, 2, 1]);
    assert_eq!(shelf.loads(), 2);
    drop(open);
    solver.close().await;
}

/// An outer vertex within itself is refused, over however many builds, rather than waited for.
#[tokio::test]
async fn what_waits_is_not_built_within() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    // The outer needs itself, by way of an input of the one that is asked for.
    let plain = Script::new("outer", 10);
    let above = Script::new("above", 1).input(&plain);
    let outer = around("outer", 10, &[&plain, &above]);
    let open = job(&solver, graph(&[&outer])).await;
    let error = build(&open, &outer).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("graph: cycle: outer (") && text.matches("outer (").count() == 3, "{text}");
    assert_eq!(execs([&plain, &above, &outer]), [0, 0, 1]);
    drop(open);

    // Two that need each other, found by the second, whichever that is.
    let ring = |name: &'static str, next: &'static str| around(name, 1, &[&Script::new(next, 1)]);
    let gate = Gate::closed();
    let held = |script: &Script| {
        let gate = gate.clone();
        let puppet = Puppet::of(script).mapping(move |_, map, _| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(map)
            }
        });
        puppet.vertex()
    };
    let (left, right) = (ring("left", "right"), ring("right", "left"));
    let one = Arc::new(job(&solver, vertices([held(&left)])).await);
    let other = Arc::new(job(&solver, vertices([held(&right)])).await);
    let asked = [ask(&one, left.edge()).await, ask(&other, right.edge()).await];
    gate.open();
    let built = futures::future::join_all(asked).await;
    for error in built.into_iter().map(|built| built.err().unwrap()) {
        assert!(error.to_string().contains("graph: cycle: "), "{error}");
    }
    assert_eq!(execs([&left, &right]), [1, 1]);
    solver.close().await;
}

/// A vertex within that has the key of the one it is within does not come to wait for it.
#[tokio::test]
async fn what_is_within_is_not_merged_into_what_it_is_within() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let inner = Script::new("inner", 1).key("same");
    let above = Script::new("above", 1).input(&inner);
    let outer = around("outer", 10, &[&inner, &above]).key("same");
    let one = job(&solver, graph(&[&outer])).await;
    assert_eq!(build(&one, &outer).await.unwrap(), 12);
    assert_eq!(execs([&inner, &above, &outer]), [1, 1, 1]);
    solver.close().await;
}

/// Who waits for a build within takes no place from it, however deep it goes.
#[tokio::test]
async fn ops_of_one_kind_within_each_other_do_not_wait_for_a_place() {
    let (cache, _) = memory_cache("local");
    let mut settings = checked();
    settings.parallelism.insert("single".to_owned(), 1);
    settings.cache_maps = 1;
    let solver = Solver::new(cache, settings);
    let inner = Script::new("inner", 1).of_kind("single");
    let middle = around("middle", 10, &[&inner]).of_kind("single");
    let outer = around("outer", 100, &[&middle]).of_kind("single");
    let beside = Script::new("beside", 7).of_kind("single");
    let open = job(&solver, graph(&[&outer, &beside])).await;
    let (a, b) = futures::join!(build(&open, &outer), build(&open, &beside));
    assert_eq!((a.unwrap(), b.unwrap()), (111, 7));
    assert_eq!(execs([&inner, &middle, &outer, &beside]), [1; 4]);
    // The places were given back.
    let last = Script::new("last", 8).of_kind("single");
    let open = job(&solver, graph(&[&last])).await;
    assert_eq!(build(&open, &last).await.unwrap(), 8);
    solver.close().await;
}

/// When nobody wants the outer any more, what is within is cancelled, whether the job stays or goes.
#[tokio::test]
async fn cancelling_the_outer_cancels_what_is_within() {
    for stays in [true, false] {
        let (cache, _) = memory_cache("local");
        let solver = solver(cache);
        let (gate, stopped) = (Gate::closed(), Gate::closed());
        let inner = waiting("inner", &gate, &stopped);
        let middle = around("middle", 10, &[&inner]);
        let outer = around("outer", 100, &[&middle]);
        let open = Arc::new(job(&solver, graph(&[&outer])).await);
        let asked = ask(&open, outer.edge()).await;
        assert_eq!((gate.came(), stopped.came()), (1, 0));
        drop(asked);
        if !stays {
            let Some(open) = Arc::into_inner(open) else { panic!("somebody has the job") };
            open.discard();
            settle().await;
            assert_eq!(stopped.came(), 1, "the inner op goes on");
        } else {
            settle().await;
            assert_eq!(stopped.came(), 1, "the inner op goes on");
            // A cancellation is not remembered.
            gate.open();
            assert_eq!(open.build(&outer.edge()).await.unwrap().result, 111);
            assert_eq!(execs([&inner, &middle, &outer]), [2, 2, 2]);
        }
        solver.close().await;
    }
}

/// An op that does not stop when it is told to builds nothing any more, and nothing is left of what it tried.
#[tokio::test]
async fn who_is_not_wanted_builds_nothing() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let gate = Gate::closed();
    let inner = Script::new("inner", 1);
    let said = Arc::new(Mutex::new(None));
    let (waits, within, saying) = (gate.clone(), inner.clone(), Arc::clone(&said));
    let outer = Script::new("outer", 1).running(move |cx, _, _| {
        let (waits, within, saying) = (waits.clone(), within.clone(), Arc::clone(&saying));
        async move {
            waits.pass().await;
            let built = cx.solve(vertices([within.vertex()]), &within.edge()).await;
            *saying.lock().unwrap() = Some(built.map(|built| built.result));
            Ok(vec![1])
        }
    });
    let open = Arc::new(job(&solver, graph(&[&outer])).await);
    let asked = ask(&open, outer.edge()).await;
    drop((asked, open));
    settle().await;
    gate.open();
    settle().await;
    let said = said.lock().unwrap().take();
    assert!(matches!(said, Some(Err(Error::Cancelled { .. }))), "{said:?}");
    assert_eq!(execs([&inner, &outer]), [0, 1]);
    assert_eq!(inner.counts().maps(), 0);
    solver.close().await;
}
