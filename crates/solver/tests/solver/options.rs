//! What a vertex finds with its ancestors, and who has it.

use std::sync::{Arc, Mutex};

use lazyblob_solver::testing::{Gate, LazyShelf, Puppet, Script, Shelf, Supplier, digest, memory_cache};
use lazyblob_solver::{CacheIndex, LoadCx, MemoryKeys, OpError, Settings, Solver};

use crate::hand::{ask, build, execs, graph, job, job_of, of, settle, solver, told, vertices};

/// Who brings a value, looked for over all ancestors.
async fn supplier(cx: &LoadCx, value: i64) -> Option<String> {
    let blob = Supplier::blob(value);
    cx.find::<Supplier>(std::slice::from_ref(&blob)).await.get(&blob).map(|found| found.0.clone())
}

/// A script that carries suppliers of these values, named as it is.
fn supplying(name: &str, value: i64, values: &[i64]) -> Script {
    Script::new(name, value).opts(Supplier::opts(name, values))
}

/// What an op found when it ran.
type Found = Arc<Mutex<Vec<Option<String>>>>;

/// A script that looks for suppliers of these values when it runs.
fn looking(script: Script, values: &'static [i64]) -> (Script, Found) {
    let found = Found::default();
    let notes = Arc::clone(&found);
    let script = script.running(move |cx, _, _| {
        let notes = Arc::clone(&notes);
        async move {
            for value in values {
                let supplier = supplier(&cx, *value).await;
                notes.lock().unwrap().push(supplier);
            }
            Ok(vec![0])
        }
    });
    (script, found)
}

fn found(found: &Found) -> Vec<Option<String>> {
    std::mem::take(&mut found.lock().unwrap())
}

fn names(names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| Some((*name).to_owned())).collect()
}

/// A cache of lazy results.
fn lazy_cache() -> (Arc<CacheIndex<i64>>, Arc<LazyShelf>) {
    let shelf = Arc::new(LazyShelf::over(&Arc::new(Shelf::new("local"))));
    let results = Arc::clone(&shelf);
    (Arc::new(CacheIndex::new("local", Arc::new(MemoryKeys::new()), results)), shelf)
}

/// BuildKit rows 60, 61, 62: a vertex finds what it has itself, or its parents, or theirs; nearer ones win, and what nobody
/// has is not in the answer.
#[tokio::test]
async fn ancestors_are_asked_nearest_first() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let grandparent = supplying("grandparent", 1, &[1, 2, 3]);
    let parent = supplying("parent", 1, &[2, 3]).input(&grandparent);
    let child = supplying("child", 1, &[3]).input(&parent);
    let (child, seen) = looking(child, &[1, 2, 3, 4]);
    let open = job(&solver, graph(&[&grandparent, &parent, &child])).await;
    let built = open.build(&child.edge()).await.unwrap();
    let mut wanted = names(&["grandparent", "parent", "child"]);
    wanted.push(None);
    assert_eq!(found(&seen), wanted);
    // The same after the build, all at once, and of another type not at all.
    let blobs = [1, 2, 3, 4].map(Supplier::blob);
    let answer = built.cx().find::<Supplier>(&blobs).await;
    assert_eq!(answer.len(), 3);
    assert_eq!(answer[&blobs[0]].0, "grandparent");
    assert!(built.cx().find::<String>(&blobs).await.is_empty());
    let here = built.cx().find_here::<Supplier>(&blobs).await;
    assert_eq!((here.len(), &*here[&blobs[2]].0), (1, "child"));
    // Nothing is offered when the job has gone.
    open.discard();
    settle().await;
    assert!(built.cx().find::<Supplier>(&blobs).await.is_empty());
    solver.close().await;
}

/// BuildKit row 61: depth first, inputs in their order: the nearest on the first path wins over a nearer one on the next.
#[tokio::test]
async fn inputs_are_asked_in_their_order() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let far = supplying("far", 1, &[1, 2]);
    let first = supplying("first", 1, &[3]).input(&far);
    let second = supplying("second", 1, &[1, 3, 4]);
    let (top, seen) = looking(Script::new("top", 1).input(&first).input(&second), &[1, 2, 3, 4]);
    let (turned, other) = looking(Script::new("turned", 1).input(&second).input(&first), &[1, 2, 3, 4]);
    let open = job(&solver, graph(&[&far, &first, &second, &top, &turned])).await;
    build(&open, &top).await.unwrap();
    build(&open, &turned).await.unwrap();
    assert_eq!(found(&seen), names(&["far", "far", "first", "second"]));
    assert_eq!(found(&other), names(&["second", "far", "second", "second"]));
    solver.close().await;
}

/// BuildKit row 61: a vertex that failed is not asked, but those above it are.
#[tokio::test]
async fn a_failed_vertex_is_walked_through() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let base = supplying("base", 1, &[1, 2]);
    let fails = supplying("fails", 1, &[1, 3]).input(&base).running(|_, _, before| async move {
        if before == 0 { Err(OpError::failed("no")) } else { Ok(vec![1]) }
    });
    // Who looks must not have failed with it: it is asked for its cache map meanwhile.
    let gate = Gate::closed();
    let waits = gate.clone();
    let seen = Found::default();
    let notes = Arc::clone(&seen);
    let top = Script::new("top", 1).input(&fails);
    let puppet = Puppet::of(&top).mapping(move |cx, map, _| {
        let (waits, notes) = (waits.clone(), Arc::clone(&notes));
        async move {
            waits.pass().await;
            for value in [1, 2, 3] {
                let supplier = supplier(&cx, value).await;
                notes.lock().unwrap().push(supplier);
            }
            Ok(map)
        }
    });
    let open = Arc::new(job(&solver, vertices([base.vertex(), fails.vertex(), puppet.vertex()])).await);
    let asked = ask(&open, top.edge()).await;
    assert_eq!(gate.came(), 1);
    assert!(build(&open, &fails).await.is_err());
    gate.open();
    assert!(asked.await.is_err());
    assert_eq!(found(&seen), [Some("base".to_owned()), Some("base".to_owned()), None]);
    assert_eq!(execs([&base, &fails, &top]), [1, 1, 0]);
    solver.close().await;
}

/// BuildKit row 61: each vertex is visited once, however many ways lead to it: of these there are 2 to the power of 64.
#[tokio::test]
async fn a_diamond_is_walked_once() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, Settings::default());
    let mut layers = vec![supplying("0", 0, &[1])];
    for at in 1..=64 {
        let [left, right] = ["left", "right"].map(|side| Script::new(&format!("{side} {at}"), 0));
        let (left, right) = (left.input(&layers[layers.len() - 1]), right.input(&layers[layers.len() - 1]));
        let joined = Script::new(&format!("join {at}"), 0).input(&left).input(&right);
        layers.extend([left, right, joined]);
    }
    let (top, seen) = looking(Script::new("top", 0).input(&layers[layers.len() - 1]), &[2, 1]);
    let all = layers.iter().chain([&top]).map(Script::vertex);
    let open = job(&solver, vertices(all)).await;
    build(&open, &top).await.unwrap();
    assert_eq!(found(&seen), [None, Some("0".to_owned())]);
    solver.close().await;
}

/// BuildKit row 61: a merged input is followed: what stands for it is asked, and what it stood above.
#[tokio::test]
async fn a_merged_input_is_followed() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let under = supplying("under", 1, &[1]);
    let one = supplying("one", 1, &[2]).key("merged").input(&under);
    let first = job(&solver, graph(&[&under, &one])).await;
    assert_eq!(build(&first, &one).await.unwrap(), 2);
    // The other has the same key, so that it is merged, and has nothing to offer by itself.
    let twin = Script::new("twin", 1).key("key of under");
    let other = Script::new("other", 1).key("merged").input(&twin);
    let (top, seen) = looking(Script::new("top", 1).input(&other), &[1, 2, 3]);
    let second = job(&solver, graph(&[&twin, &other, &top])).await;
    // It holds what stands for its own when the first job has gone.
    let asked = {
        build(&second, &other).await.unwrap();
        first.discard();
        settle().await;
        second.build(&top.edge()).await.unwrap()
    };
    assert_eq!(execs([&twin, &other, &top]), [0, 0, 1]);
    let mut wanted = names(&["under", "one"]);
    wanted.push(None);
    assert_eq!(found(&seen), wanted);
    assert_eq!(supplier(asked.cx(), 1).await.as_deref(), Some("under"));
    solver.close().await;
}

/// BuildKit row 61: vertices that were merged are all asked before what is below any of them, whichever of them is the input
/// by definition, and whichever is looked from.
#[tokio::test]
async fn what_was_merged_is_asked_together() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let far = supplying("far", 1, &[1, 2, 3, 4]);
    let one = supplying("one", 1, &[2, 4]).key("merged").input(&far);
    let two = supplying("two", 1, &[3, 4]).key("merged").input(&far);
    let (over_one, seen) = looking(Script::new("over one", 1).input(&one), &[1, 2, 3, 4]);
    let (over_two, other) = looking(Script::new("over two", 1).input(&two), &[1, 2, 3, 4]);
    let all = [&far, &one, &two, &over_one, &over_two];
    let open = job(&solver, graph(&all)).await;
    for script in [&one, &two, &over_one, &over_two] {
        build(&open, script).await.unwrap();
    }
    assert_eq!(one.counts().execs() + two.counts().execs(), 1, "merged");
    assert_eq!(found(&seen), names(&["far", "one", "two", "one"]));
    assert_eq!(found(&other), names(&["far", "one", "two", "two"]));
    // Whichever of them stands for the other looks at that one, too.
    for script in [&one, &two] {
        let built = open.build(&script.edge()).await.unwrap();
        for (value, name) in [(1, "far"), (2, "one"), (3, "two")] {
            assert_eq!(supplier(built.cx(), value).await.as_deref(), Some(name));
        }
    }
    solver.close().await;
}

/// BuildKit row 61: handlers of a vertex whose job has gone are not offered, though the vertex below it is there.
#[tokio::test]
async fn what_has_gone_is_not_asked() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let base = Script::new("base", 1);
    let above = supplying("above", 1, &[1]).input(&base);
    let stranger = supplying("stranger", 1, &[1, 2]);
    let one = job(&solver, graph(&[&base, &above, &stranger])).await;
    build(&one, &above).await.unwrap();
    build(&one, &stranger).await.unwrap();
    let other = job(&solver, graph(&[&base])).await;
    let built = other.build(&base.edge()).await.unwrap();
    // Neither descendants nor others are ancestors.
    assert_eq!(supplier(built.cx(), 1).await, None);
    let over = one.build(&above.edge()).await.unwrap();
    assert_eq!(supplier(over.cx(), 1).await.as_deref(), Some("above"));
    one.discard();
    settle().await;
    assert_eq!(supplier(over.cx(), 1).await, None);
    // Another vertex that has its place is not taken for it.
    let new = supplying("new", 1, &[1]);
    let third = job(&solver, graph(&[&new])).await;
    build(&third, &new).await.unwrap();
    assert_eq!(supplier(over.cx(), 1).await, None);
    solver.close().await;
}

/// BuildKit rows 61, 63: a result that lacks bytes is loaded if an ancestor brings them.
#[tokio::test]
async fn a_lazy_result_is_loaded_with_what_ancestors_have() {
    let (cache, shelf) = lazy_cache();
    let solver = solver(cache);
    for round in 0..2 {
        let source = supplying("source", 1, &[3]);
        let middle = Script::new("middle", 1).input(&source);
        let top = Script::new("top", 1).input(&middle);
        let open = job(&solver, graph(&[&source, &middle, &top])).await;
        assert_eq!(build(&open, &top).await.unwrap(), 3);
        assert_eq!(execs([&source, &middle, &top]), [1 - round; 3]);
    }
    assert_eq!((shelf.suppliers(), shelf.lacking()), (vec!["source".to_owned()], 0));
    solver.close().await;
}

/// BuildKit rows 61, 63, 68: and if none does, the op runs; its record stays for those who can.
#[tokio::test]
async fn a_lazy_result_that_nobody_brings_is_computed() {
    let (cache, shelf) = lazy_cache();
    let solver = solver(cache);
    // The source brings what is one above it, and nothing of its own.
    let scripts = |brings: &[i64]| {
        let source = supplying("source", 1, brings);
        let top = Script::new("top", 1).input(&source);
        (source, top)
    };
    let (source, top) = scripts(&[1, 2]);
    let open = job(&solver, graph(&[&source, &top])).await;
    assert_eq!(build(&open, &top).await.unwrap(), 2);
    drop(open);
    let (source, top) = scripts(&[1]);
    let open = job(&solver, graph(&[&source, &top])).await;
    assert_eq!(build(&open, &top).await.unwrap(), 2);
    assert_eq!((execs([&source, &top]), shelf.lacking()), ([0, 1], 1));
    assert_eq!(shelf.suppliers(), ["source"]);
    let events = told(open).await;
    assert_eq!(of(&events, &top), ["warning", "started", "completed"]);
    let (source, top) = scripts(&[2]);
    let open = job(&solver, graph(&[&source, &top])).await;
    assert_eq!(build(&open, &top).await.unwrap(), 2);
    assert_eq!((execs([&source, &top]), shelf.lacking()), ([0, 0], 1));
    solver.close().await;
}

/// BuildKit row 61: over a chain of 100 000 the walk uses no deep stack.
#[tokio::test]
async fn a_long_chain_is_walked() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, Settings::default());
    let mut chain = vec![supplying("0", 0, &[1])];
    for at in 1..100_000 {
        chain.push(Script::new(&at.to_string(), 0).input(&chain[at - 1]));
    }
    let seen = Found::default();
    let notes = Arc::clone(&seen);
    let top = Script::new("top", 0).input(&chain[99_999]);
    let puppet = Puppet::of(&top).mapping(move |cx, _, _| {
        let notes = Arc::clone(&notes);
        async move {
            for value in [1, 2] {
                let supplier = supplier(&cx, value).await;
                notes.lock().unwrap().push(supplier);
            }
            Err(OpError::failed("that is all"))
        }
    });
    let all = chain.iter().map(Script::vertex).chain([puppet.vertex()]);
    let open = job(&solver, vertices(all)).await;
    build(&open, &chain[0]).await.unwrap();
    assert!(build(&open, &top).await.is_err());
    assert_eq!(found(&seen), [Some("0".to_owned()), None]);
    // To be walked over, a vertex need not have been asked anything.
    assert!(chain[1..].iter().all(|script| script.counts().maps() == 0));
    open.discard();
    solver.close().await;
}

async fn sessions(cx: &LoadCx) -> Vec<String> {
    cx.sessions().current().await.iter().map(|session| session.as_str().to_owned()).collect()
}

/// BuildKit rows 66, 72: whose sessions there are is asked at the moment of use: of all jobs that share a vertex then.
#[tokio::test]
async fn sessions_are_those_of_whoever_has_the_vertex_now() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let base = Script::new("base", 1);
    let top = Script::new("top", 1).input(&base);
    let one = job_of(&solver, "one", graph(&[&base, &top])).await;
    let built = one.build(&top.edge()).await.unwrap();
    assert_eq!(sessions(built.cx()).await, ["one"]);
    let below = one.build(&base.edge()).await.unwrap();
    let two = job_of(&solver, "two", graph(&[&base])).await;
    let again = job_of(&solver, "one", graph(&[&base, &top])).await;
    assert_eq!(sessions(below.cx()).await, ["one", "two"]);
    assert_eq!(sessions(built.cx()).await, ["one"]);
    two.discard();
    settle().await;
    assert_eq!(sessions(below.cx()).await, ["one"]);
    one.discard();
    settle().await;
    assert_eq!(sessions(built.cx()).await, ["one"]);
    again.discard();
    settle().await;
    assert_eq!(sessions(built.cx()).await, [""; 0]);
    solver.close().await;
}

/// BuildKit rows 66, 72: a preparation has the sessions of whoever shares the input, and those that a build is within
/// count for what is within.
#[tokio::test]
async fn sessions_of_inputs_and_of_outer_builds() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let gate = Gate::closed();
    let (notes, waits) = (Arc::clone(&seen), gate.clone());
    let inner = Script::new("inner", 1);
    let above = Script::new("above", 1).input(&inner).preparing();
    let puppet = Puppet::of(&above).preparing(move |cx, _, _| {
        let (notes, waits) = (Arc::clone(&notes), waits.clone());
        async move {
            let before = sessions(&cx).await;
            waits.pass().await;
            let after = sessions(&cx).await;
            notes.lock().unwrap().extend([before, after]);
            Ok(())
        }
    });
    let within = inner.clone();
    let outer = |name: &str, puppet: &Puppet| {
        let (within, puppet, above) = (within.clone(), puppet.clone(), above.edge());
        Script::new(name, 1).running(move |cx, _, _| {
            let (within, puppet, above) = (within.clone(), puppet.clone(), above.clone());
            async move {
                let graph = vertices([within.vertex(), puppet.vertex()]);
                let built = cx.solve(graph, &above).await.map_err(OpError::failed)?;
                Ok(vec![built.result])
            }
        })
    };
    let middle = outer("middle", &puppet);
    let nested = {
        let middle = middle.clone();
        Script::new("nested", 1).running(move |cx, _, _| {
            let middle = middle.clone();
            async move {
                let built =
                    cx.solve(vertices([middle.vertex()]), &middle.edge()).await.map_err(OpError::failed)?;
                Ok(vec![built.result])
            }
        })
    };
    let one = Arc::new(job_of(&solver, "one", graph(&[&nested])).await);
    let asked = ask(&one, nested.edge()).await;
    assert_eq!(gate.came(), 1);
    let two = job_of(&solver, "two", graph(&[&inner])).await;
    // Who has another vertex does not count.
    let three = job_of(&solver, "three", graph(&[&Script::new("other", 5)])).await;
    gate.open();
    assert_eq!(asked.await.unwrap().result, 2);
    let mut seen = seen.lock().unwrap().clone();
    seen[1].sort();
    assert_eq!(seen, [vec!["one"], vec!["one", "two"]]);
    drop((two, three));
    solver.close().await;
}

/// BuildKit row 61: of several things that are asked for at once the answer has those that there are, each once.
#[tokio::test]
async fn a_partial_answer_has_what_there_is() {
    let (cache, _) = memory_cache("local");
    let solver = solver(cache);
    let base = supplying("base", 1, &[1]);
    let top = supplying("top", 1, &[2]).input(&base);
    let open = job(&solver, graph(&[&base, &top])).await;
    let built = open.build(&top.edge()).await.unwrap();
    let blobs = [1, 2, 3].map(Supplier::blob);
    // Named twice it is found once.
    let asked = [blobs[2].clone(), blobs[0].clone(), blobs[0].clone()];
    let answer = built.cx().find::<Supplier>(&asked).await;
    assert_eq!(answer.keys().collect::<Vec<_>>(), [&blobs[0]]);
    assert!(built.cx().find::<Supplier>(&[]).await.is_empty());
    assert!(built.cx().find::<Supplier>(&[digest("unknown")]).await.is_empty());
    // A context without a graph finds nothing.
    assert!(LoadCx::detached().find::<Supplier>(&blobs).await.is_empty());
    assert!(LoadCx::detached().sessions().current().await.is_empty());
    solver.close().await;
}
