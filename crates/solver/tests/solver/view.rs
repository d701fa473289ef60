//! Graphs as they are looked at: before they run, while they do, and after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lazyblob_solver::testing::{Gate, Script, memory_cache};
use lazyblob_solver::{Graph, GraphView, JobOptions, Known, Port, Solver, VertexState, VertexView};

use crate::support::{build, checked, graph, job, solver, soon};

fn of<'a>(view: &'a GraphView, op: &Script) -> &'a VertexView {
    view.vertex(&op.digest()).unwrap()
}

fn states<const N: usize>(view: &GraphView, ops: [&Script; N]) -> [VertexState; N] {
    ops.map(|op| of(view, op).state)
}

#[tokio::test]
async fn a_graph_that_has_not_run_waits() {
    let base = Script::new("base", 1).of_kind("source").outputs(4);
    let top = Script::new("top \"quoted\"", 1).input_at(&base, 3).ignoring_cache();
    let view = graph(&[&top, &base]).view();
    assert_eq!(view.vertices.len(), 2);
    assert_eq!((of(&view, &base).kind.as_str(), of(&view, &base).ignores_cache), ("source", false));
    assert_eq!((of(&view, &top).kind.as_str(), of(&view, &top).ignores_cache), ("script", true));
    assert_eq!(view.vertices[0].name.digest, base.digest(), "inputs come first");
    assert_eq!(view.vertices[1].inputs, [Port { vertex: 0, output: 3 }]);
    assert!(view.vertices.iter().all(|vertex| vertex.state == VertexState::Waiting));
    let (dot, json) = (graph(&[&top, &base]).to_dot(), graph(&[&top, &base]).to_json());
    assert_eq!((&dot, &json), (&view.to_dot(), &view.to_json()));
    assert!(dot.contains("v0 -> v1 [label=\"[3]\"];"), "{dot}");
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read["vertices"][1]["name"], "top \"quoted\"");

    // Loaded, but not asked for, it is the same but for what is known of outputs: nothing.
    let (solver, _) = solver();
    let job = job(&solver, &[&top, &base]).await;
    let mut loaded = job.graph().await.unwrap();
    for vertex in &mut loaded.vertices {
        assert!(vertex.outputs.iter().all(|output| output.known == Known::Nothing && output.keys.is_empty()));
        vertex.outputs.clear();
    }
    assert_eq!(loaded, view);
    assert_eq!((base.counts().maps(), top.counts().maps()), (0, 0), "looking asks for nothing");
    solver.close().await;
}

#[tokio::test]
async fn a_vertex_is_seen_in_each_state_of_its_way() {
    let mut settings = checked();
    settings.parallelism.insert("one".to_owned(), 1);
    let solver = Solver::new(memory_cache("local").0, settings);
    let (maps, runs, prepares) = (Gate::closed(), Gate::closed(), Gate::closed());
    let base = Script::new("base", 1).of_kind("one").mapping_at(&maps).running_at(&runs);
    let rival = Script::new("rival", 2).of_kind("one").running_at(&runs);
    let top = Script::new("top", 10).input(&base).preparing().input(&rival).preparing_at(&prepares);
    let job = job(&solver, &[&base, &rival, &top]).await;
    let edge = top.edge();
    let look = async {
        soon(maps.reached(1)).await;
        let view = job.graph().await.unwrap();
        assert_eq!(of(&view, &base).state, VertexState::Mapping);
        assert_eq!(of(&view, &top).state, VertexState::Waiting);
        maps.open();

        soon(runs.reached(1)).await;
        // The other one has come to the queue once both have been asked for results.
        let view = loop {
            let view = job.graph().await.unwrap();
            if states(&view, [&base, &rival]).contains(&VertexState::Queued) {
                break view;
            }
            tokio::task::yield_now().await;
        };
        let mut seen = states(&view, [&base, &rival]);
        seen.sort();
        assert_eq!(seen, [VertexState::Queued, VertexState::Running]);
        assert!(view.vertices.iter().all(|vertex| vertex.ended.is_none()));
        let known = |op: &Script| of(&view, op).outputs[0].known;
        assert_eq!(known(&base), Known::Content, "all its keys are known, and no result");
        runs.open();

        soon(prepares.reached(1)).await;
        let view = job.graph().await.unwrap();
        assert_eq!(of(&view, &base).state, VertexState::Preparing, "it is work of the input");
        assert_eq!(of(&view, &top).state, VertexState::Waiting, "the consumer is not running meanwhile");
        assert_eq!(of(&view, &base).outputs[0].known, Known::Result);
        tokio::time::sleep(Duration::from_millis(5)).await;
        prepares.open();
    };
    let (built, ()) = tokio::join!(job.build(&edge), look);
    assert_eq!(built.unwrap().result, 13);
    let view = job.graph().await.unwrap();
    assert_eq!(states(&view, [&base, &rival, &top]), [VertexState::Completed; 3]);
    assert!(of(&view, &base).preparing >= Duration::from_millis(5), "{:?}", of(&view, &base).preparing);
    assert_eq!((of(&view, &rival).preparing, of(&view, &top).preparing), (Duration::ZERO, Duration::ZERO));
    for vertex in &view.vertices {
        assert!(vertex.took().is_some() && vertex.error.is_none() && vertex.lost == 0);
        assert_eq!(vertex.outputs.len(), 1);
        assert_eq!((vertex.outputs[0].known, vertex.outputs[0].keys.len()), (Known::Result, 1));
    }
    job.discard();
    let (job, _) = build(&solver, &[&base, &rival, &top]).await;
    let view = job.graph().await.unwrap();
    assert_eq!(states(&view, [&base, &rival, &top]), [VertexState::Cached; 3]);
    assert!(view.vertices.iter().all(|vertex| vertex.started.is_none()));
    solver.close().await;
}

#[tokio::test]
async fn failures_merges_and_losses_are_seen() {
    let (solver, _) = solver();
    let bad = Script::new("bad", 1).failing_runs(usize::MAX);
    let above = Script::new("above", 1).input(&bad);
    let failing = job(&solver, &[&bad, &above]).await;
    assert!(failing.build(&above.edge()).await.is_err());
    let view = failing.graph().await.unwrap();
    assert_eq!(states(&view, [&bad, &above]), [VertexState::Failed, VertexState::Blocked]);
    assert!(of(&view, &bad).error.as_ref().unwrap().contains("exec: failure 0"));
    assert_eq!(of(&view, &above).error, None);

    let (one, other) = (Script::new("one", 1).key("same"), Script::new("other", 1).key("same"));
    let both = Script::new("both", 1).input(&one).input(&other);
    let (job, _) = build(&solver, &[&one, &other, &both]).await;
    let view = job.graph().await.unwrap();
    let (merged, stands) =
        if of(&view, &one).state == VertexState::Merged { (&one, &other) } else { (&other, &one) };
    assert_eq!(of(&view, stands).state, VertexState::Completed);
    let port = of(&view, merged).outputs[0].merged.unwrap();
    assert_eq!(view.vertices[port.vertex].name.digest, stands.digest());
    assert!(view.to_dot().contains("[style=dashed, label=\"is\"]"));

    let (below, lost) = (Script::new("below", 1), Script::new("lost", 1));
    let lost = lost.input(&below);
    let (job, built) = build(&solver, &[&below, &lost]).await;
    job.lost(&built, Arc::new(std::io::Error::other("gone"))).await.unwrap();
    let view = job.graph().await.unwrap();
    assert_eq!(states(&view, [&below, &lost]), [VertexState::Completed, VertexState::Lost]);
    job.build(&lost.edge()).await.unwrap();
    let view = job.graph().await.unwrap();
    assert_eq!((of(&view, &lost).state, of(&view, &lost).lost), (VertexState::Completed, 1));
    assert_eq!(of(&view, &below).lost, 0);
    assert_eq!(lost.counts().execs(), 2);
    solver.close().await;
}

#[tokio::test]
async fn what_stands_for_a_vertex_of_another_job_is_seen_too() {
    let (solver, _) = solver();
    let (one, other) = (Script::new("one", 1).key("same"), Script::new("other", 1).key("same"));
    let (first, _) = build(&solver, &[&one]).await;
    let (second, built) = build(&solver, &[&other]).await;
    assert_eq!(built.vertex.digest, one.digest());
    let view = second.graph().await.unwrap();
    assert_eq!(states(&view, [&other, &one]), [VertexState::Merged, VertexState::Completed]);
    assert_eq!(first.graph().await.unwrap().vertices.len(), 1, "the first has nothing of the second");
    assert_eq!(other.counts().execs(), 0);
    solver.close().await;
}

#[tokio::test]
async fn what_is_built_within_a_vertex_is_seen_within_it() {
    let (solver, _) = solver();
    let shared = Script::new("shared", 5);
    let inner = Script::new("inner", 1).input(&shared);
    let within = inner.clone();
    let shares = shared.clone();
    let outer = Script::new("outer", 1).input(&shared).running(move |cx, _, _| {
        let graph = graph(&[&shares, &within]);
        let edge = within.edge();
        async move { Ok(vec![cx.solve(graph, &edge).await.unwrap().result]) }
    });
    let (job, built) = build(&solver, &[&shared, &outer]).await;
    assert_eq!(built.result, 6);
    let view = job.graph().await.unwrap();
    assert_eq!(view.vertices.len(), 3, "what both have is there once");
    assert_eq!(of(&view, &shared).within, None);
    let place = of(&view, &inner).within.unwrap();
    assert_eq!(view.vertices[place].name.digest, outer.digest());
    assert!(view.to_dot().contains("[style=dotted, label=\"within\"]"));
    solver.close().await;
}

/// A long chain is looked at, drawn and written without recursion, and without a look at anything twice.
#[tokio::test]
async fn a_long_chain_is_looked_at() {
    let solver = Solver::new(memory_cache("local").0, lazyblob_solver::Settings::default());
    let mut vertices = vec![Script::new("0", 1)];
    for at in 1..100_000 {
        let next = Script::new(&at.to_string(), 1).input(&vertices[at - 1]);
        vertices.push(next);
    }
    let chain = Graph::new(vertices.iter().rev().map(Script::vertex)).unwrap();
    let job = solver.job(JobOptions::default()).await.unwrap();
    job.load(chain).await.unwrap();
    let begun = Instant::now();
    let view = job.graph().await.unwrap();
    let (dot, json) = (view.to_dot(), view.to_json());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(view.vertices.len(), 100_000);
    assert_eq!(dot.matches(" -> ").count(), 99_999);
    assert_eq!(json.matches("\"state\":\"waiting\"").count(), 100_000);
    job.discard();
    solver.close().await;
}
