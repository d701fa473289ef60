//! The store of results, asked by itself.

use std::fs;
use std::time::{Duration, SystemTime};

use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::{GetOptions, ImmutableRef};
use lazyblob_remote::Access;
use lazyblob_solver::{LoadCx, LoadError, ResultId, ResultStore};
use lazyblob_worker::llb::image;
use lazyblob_worker::{Results, WorkerRef};
use tokio_util::sync::CancellationToken;

use crate::support::{Engine, World, tree};

/// A tree of one file that no blob was made of.
async fn written(engine: &Engine) -> ImmutableRef {
    let manager = engine.worker.manager();
    let made = manager.new_mutable(None, &Access::anonymous(), GetOptions::default()).await.unwrap();
    fs::write(made.directory().await.unwrap().join("new"), "new").unwrap();
    made.commit().await.unwrap()
}

/// BuildKit row 63: what a result lacks is brought by whoever the cache remembers, if no vertex knows better; giving it
/// away makes blobs of what has none and pulls nothing.
#[tokio::test]
async fn what_is_given_away_stays_lazy() {
    let (world, app) = World::with_app().await;
    let engine = world.engine().await;
    let (job, built) = engine.build(&image("registry.test/app:1")).await;
    let own = written(&engine).await;
    let manager = engine.worker.manager();
    let merged = manager.merge(&[tree(&built).clone(), own], GetOptions::default()).await.unwrap();
    let (results, cx) = (Results::new(&engine.worker), LoadCx::detached());
    let saved = results.save(&merged.clone().into(), None).await.unwrap();
    drop((job, built, merged));

    assert!(results.remotes(&cx, &saved.id, false).await.unwrap().is_empty(), "one layer has no blob");
    let given = results.remotes(&cx, &saved.id, true).await.unwrap();
    let layers = given[0].layers();
    assert!(layers.iter().all(|layer| layer.blob().is_some()));
    assert_eq!(layers.len(), 3);
    assert_eq!(world.pulls(&app), 0, "{:?}", world.registry.lines());
    let again = results.remotes(&cx, &saved.id, false).await.unwrap();
    assert_eq!(again[0].blob_chain(), given[0].blob_chain());
    drop((given, again, layers));
    engine.close().await;
}

/// BuildKit row 64: what is lazy exists; what was pruned does not, and is gone for good.
#[tokio::test]
async fn what_was_pruned_is_gone_and_what_is_lazy_is_not() {
    let (world, _) = World::with_app().await;
    let engine = world.engine().await;
    let (results, cx) = (Results::new(&engine.worker), LoadCx::detached());
    let (job, built) = engine.build(&image("registry.test/app:1")).await;
    let saved = results.save(&built.result, None).await.unwrap();
    drop((job, built));
    engine.solver.job(lazyblob_solver::JobOptions::default()).await.unwrap().discard();
    assert!(results.exists(&saved.id).await.unwrap());
    let loaded = results.load(&cx, &saved.id).await.unwrap();
    assert!(loaded.tree().unwrap().is_lazy().await.unwrap());
    drop(loaded);
    engine.worker.manager().prune(&PruneOptions::default(), &CancellationToken::new()).await.unwrap();
    for id in [saved.id, ResultId::new("no record's"), ResultId::new("0".repeat(32))] {
        assert!(!results.exists(&id).await.unwrap());
        assert!(matches!(results.load(&cx, &id).await, Err(LoadError::Gone(_))), "{id}");
        assert!(matches!(results.remotes(&cx, &id, true).await, Err(LoadError::Gone(_))), "{id}");
    }
    engine.close().await;
}

/// What merely lacks somebody to bring it is kept for who comes later.
#[tokio::test]
async fn what_nobody_can_bring_now_is_not_gone() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let image = crate::layouts::layout(dir.path(), &["base"]).await;
    let source = lazyblob_worker::llb::oci_layout(format!("app@{}", image.manifest.digest()), "images");
    let engine = world.engine().await;
    let open = engine.session(crate::layouts::session(dir.path()));
    let (job, built) = engine.build_as(&open, &source).await;
    let (results, cx) = (Results::new(&engine.worker), built.cx().clone());
    let saved = results.save(&built.result, None).await.unwrap();
    drop(built);
    let nobody = LoadCx::detached();
    assert!(matches!(results.load(&nobody, &saved.id).await, Err(LoadError::Failed(_))));
    assert!(results.exists(&saved.id).await.unwrap());
    results.load(&cx, &saved.id).await.unwrap();
    drop((job, open));
    engine.close().await;
}

/// The empty tree is a result like any other, and a date that is given is kept.
#[tokio::test]
async fn the_empty_tree_and_dates() {
    let world = World::new().await;
    let engine = world.engine().await;
    let (results, cx) = (Results::new(&engine.worker), LoadCx::detached());
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let saved = results.save(&WorkerRef::scratch(), Some(date)).await.unwrap();
    assert_eq!(saved.created_at, date);
    assert!(results.exists(&saved.id).await.unwrap());
    assert!(results.load(&cx, &saved.id).await.unwrap().tree().is_none());
    let before = SystemTime::now();
    let saved = results.save(&WorkerRef::new(written(&engine).await), None).await.unwrap();
    assert!(saved.created_at >= before);
    engine.close().await;
}
