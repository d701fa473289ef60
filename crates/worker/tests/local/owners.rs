//! Whose directory it is.

use std::sync::Arc;

use lazyblob_cache::ImmutableRef;
use lazyblob_solver::JobOptions;
use lazyblob_worker::engine::{Engine, Request};
use lazyblob_worker::llb::{LocalSource, State, local_with, merge};
use lazyblob_worker::ops::{self, LoadOptions};
use lazyblob_worker::session::OpenSession;

use crate::support::{Bench, Nothing, Wanted, context, definition, session, write};

fn open(engine: &Engine, text: &str) -> (tempfile::TempDir, OpenSession) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "who", text);
    let open = engine.session(session(dir.path(), &Arc::default()));
    (dir, open)
}

/// Two sessions that build one definition at the same time have their own directories of one name, and all that is made of
/// them; the third build, in the first session, shares what that has.
#[tokio::test]
async fn sessions_at_the_same_time_have_their_own_directories() {
    let bench = Bench::new(Wanted::Plain).await;
    let root = tempfile::tempdir().unwrap();
    let engine = Engine::builder(root.path())
        .registry(bench.worker.registry().clone())
        .executor(Arc::new(Nothing))
        .open()
        .await
        .unwrap();
    let (_one, ann) = open(&engine, "ann");
    let (_two, bob) = open(&engine, "bob");
    let part = |pattern: &str| -> State {
        local_with(LocalSource { include_patterns: vec![pattern.to_owned()], ..context() })
    };
    for state in [local_with(context()), merge([&part("who"), &part("w*")])] {
        let definition = state.definition(&"linux/amd64".parse().unwrap()).unwrap();
        let mut builds = Vec::new();
        let mut trees: Vec<ImmutableRef> = Vec::new();
        for open in [&ann, &bob, &ann] {
            let build = engine.solve(Request::new(&definition, open)).await.unwrap();
            trees.push(build.results().await.unwrap()[0].result.tree().unwrap().clone());
            builds.push(build);
        }
        let mut found = Vec::new();
        for tree in &trees {
            found.extend(bench.listing(tree).await);
        }
        assert_eq!(found, ["who 644 \"ann\"", "who 644 \"bob\"", "who 644 \"ann\""]);
        assert_eq!(trees[0].id(), trees[2].id());
        let edges: Vec<_> = builds.iter().map(|build| build.outputs()[0].edge.clone()).collect();
        assert!(edges[0] == edges[2] && edges[0] != edges[1]);
    }
    drop((ann, bob));
    engine.close().await.unwrap();
    bench.close().await;
}

/// A definition that names a session which is open and does not build it is not given what that has.
#[tokio::test]
async fn a_session_that_does_not_build_it_lends_nothing() {
    let bench = Bench::new(Wanted::Plain).await;
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(mine.path(), "who", "me");
    write(theirs.path(), "who", "them");
    let other = bench.worker.sessions().open(session(theirs.path(), &Arc::default()));
    let named = LocalSource { session: Some(other.id().to_string()), ..context() };
    let tree = bench.build(named.clone(), session(mine.path(), &Arc::default())).await.unwrap();
    assert_eq!(bench.listing(&tree).await, ["who 644 \"me\""]);
    let refused = bench.build(named.clone(), Default::default()).await.unwrap_err();
    assert!(refused.contains("context"), "{refused}");
    // Who builds it may name itself.
    let definition = definition(named);
    let options = LoadOptions { session: Some(other.id().clone()), ..LoadOptions::default() };
    let graph = ops::graph(&bench.worker, &definition, &options).unwrap();
    let job = JobOptions { session: Some(other.id().clone()), ..JobOptions::default() };
    let job = bench.solver.job(job).await.unwrap();
    job.load(graph).await.unwrap();
    let built = job.build(&ops::result(&bench.worker, &definition, &options)).await.unwrap();
    assert_eq!(bench.listing(built.result.tree().unwrap()).await, ["who 644 \"them\""]);
    drop((job, built, tree, other));
    bench.close().await;
}
