//! What a cached result lacks, and what becomes of it when nobody can bring that.

use std::sync::atomic::Ordering;

use lazyblob_cache::prune::PruneOptions;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::Toxic;
use lazyblob_solver::What;
use lazyblob_worker::llb::{image, merge};
use tokio_util::sync::CancellationToken;

use crate::support::{World, told, tree};

/// A blob that is gone from the registry after the hit: what had it is made again.
#[tokio::test]
async fn a_blob_that_is_gone_after_the_hit_has_the_vertex_run() {
    let (world, app) = World::with_app().await;
    world.push("other", "1", &["other"]).await;
    let state = merge([&image("registry.test/app:1"), &image("registry.test/other:1")]);
    let engine = world.engine().await;
    let (job, built) = engine.build(&state).await;
    drop((job, built));

    let gone = app.layers().next().unwrap().digest();
    world.registry.add(Toxic::status(404).on(Kind::BlobGet).path(gone.to_string()).times(1));
    let reader = engine.reader("reads");
    let (graph, edge) = engine.read(&state, &reader);
    let (job, built) = engine.run(graph, &edge, None).await;
    let built = built.unwrap();
    assert!(!tree(&built).is_lazy().await.unwrap());
    assert_eq!(reader.runs.load(Ordering::SeqCst), 2, "once in vain");
    let lost = told(&job).into_iter().filter(|event| matches!(event.what, What::Lost(_)));
    let lost: Vec<String> = lost.map(|event| event.vertex.unwrap().name.to_string()).collect();
    assert_eq!(lost, ["merge"], "and nothing else was made again");
    drop((job, built));
    engine.close().await;
}

/// One that stays gone is an error that says so.
#[tokio::test]
async fn a_blob_that_stays_gone_is_told() {
    let (world, app) = World::with_app().await;
    let engine = world.engine().await;
    let gone = app.layers().next().unwrap().digest();
    world.registry.add(Toxic::status(404).on(Kind::BlobGet).path(gone.to_string()));
    let reader = engine.reader("reads");
    let (graph, edge) = engine.read(&image("registry.test/app:1"), &reader);
    let (job, built) = engine.run(graph, &edge, None).await;
    let error = built.err().unwrap().to_string();
    assert!(error.contains("not found") && error.contains(gone.as_ref()), "{error}");
    drop(job);
    engine.close().await;
}

/// A prune between two builds: what is gone is made again, and the keys lead to what is there.
#[tokio::test]
async fn what_was_pruned_is_made_again() {
    let (world, _) = World::with_app().await;
    world.push("other", "1", &["other"]).await;
    let state = merge([&image("registry.test/app:1"), &image("registry.test/other:1")]);
    let engine = world.engine().await;
    let (job, built) = engine.build(&state).await;
    assert_eq!(engine.cache.release_unreferenced().await.unwrap(), 0, "what is lazy exists");
    let cancel = CancellationToken::new();
    let pruned = engine.worker.manager().prune(&PruneOptions::default(), &cancel).await.unwrap();
    assert!(pruned.records.is_empty() && pruned.blobs == 0, "it is in use: {pruned:?}");
    drop((job, built));
    // The solver lets go of what nobody has any more before it takes the next job.
    engine.solver.job(lazyblob_solver::JobOptions::default()).await.unwrap().discard();
    let pruned = engine.worker.manager().prune(&PruneOptions::default(), &cancel).await.unwrap();
    assert!(!pruned.records.is_empty(), "{pruned:?}");
    assert!(engine.cache.release_unreferenced().await.unwrap() > 0);
    let (job, built) = engine.build(&state).await;
    assert!(!built.cached);
    assert!(tree(&built).is_lazy().await.unwrap());
    drop((job, built));
    engine.close().await;
}
