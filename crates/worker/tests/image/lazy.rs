//! Nothing of an image is pulled before somebody reads it.

use std::sync::atomic::Ordering;

use lazyblob_remote::testing::Image;
use lazyblob_remote::{Access, digest};
use lazyblob_solver::KeyId;
use lazyblob_worker::engine::{Engine, Request};
use lazyblob_worker::keys::image_keys;
use lazyblob_worker::llb::{Definition, diff, image, merge, pb};
use prost::Message as _;

use crate::support::{World, actions, amd64, tree};

/// BuildKit row 95: a manifest and a config, and no layer.
#[tokio::test]
async fn an_image_is_a_manifest_and_a_config() {
    let (world, app) = World::with_app().await;
    let engine = world.engine().await;
    let (job, built) = engine.build(&image("registry.test/app:1")).await;
    assert_eq!(world.requests(), (1, 1, 0), "{:?}", world.registry.lines());
    assert_eq!(world.gets(app.config().digest()), 1);
    assert!(tree(&built).is_lazy().await.unwrap());
    assert!(!built.cached);
    assert!(engine.worker.manager().names().await.unwrap().is_empty(), "building names nothing");
    drop((job, built));
    engine.close().await;
}

/// BuildKit row 95: through an index it is one more.
#[tokio::test]
async fn through_an_index_it_is_one_request_more() {
    let world = World::new().await;
    let (amd, arm) = (world.push("multi", "amd", &["amd"]).await, world.push("multi", "arm", &["arm"]).await);
    let index = Image::index(&[&arm.manifest, &amd.manifest], &["arm64", "amd64"]);
    world.registry.seed_manifest("multi", "1", &index).await;
    world.registry.reset();
    let engine = world.engine().await;
    let (job, built) = engine.build(&image("registry.test/multi:1")).await;
    assert_eq!(world.requests(), (2, 1, 0), "{:?}", world.registry.lines());
    assert_eq!(world.gets(amd.config().digest()), 1);
    assert_eq!(tree(&built).layers().len(), 1);
    drop((job, built));
    engine.close().await;
}

/// BuildKit row 96: a result is found by either of the two keys of its image.
#[tokio::test]
async fn an_image_has_two_keys() {
    let (world, app) = World::with_app().await;
    let engine = world.engine().await;
    let (job, built) = engine.build(&image("registry.test/app:1")).await;
    let config = &app.blobs[0].1;
    for key in image_keys(app.manifest.digest(), &amd64(), None, config) {
        let results = engine.cache.keys().results(KeyId::of_output(&key, 0)).await.unwrap();
        // The second is asked for only if the first leads to nothing.
        assert_eq!(results.len(), 1, "{key}");
        assert_eq!(results[0].id.as_str(), tree(&built).id().as_str());
    }
    drop((job, built));
    engine.close().await;
}

/// BuildKit row 64: the next process finds everything cached, and it is still lazy.
#[tokio::test]
async fn the_next_process_finds_it_cached_and_lazy() {
    let (world, app) = World::with_app().await;
    let other = world.push("other", "1", &["other"]).await;
    let state = merge([&image("registry.test/app:1"), &image("registry.test/other:1")]);
    let engine = world.engine().await;
    let (job, built) = engine.build(&state).await;
    assert_eq!(world.requests(), (2, 2, 0), "{:?}", world.registry.lines());
    assert!(!built.cached);
    let id = tree(&built).id();
    drop((job, built));
    engine.close().await;

    world.registry.reset();
    let engine = world.engine().await;
    let (job, built) = engine.build(&state).await;
    assert!(built.cached);
    assert_eq!(tree(&built).id(), id);
    assert_eq!(world.requests(), (2, 0, 0), "the manifests alone: {:?}", world.registry.lines());
    assert!(tree(&built).is_lazy().await.unwrap());
    // It is good for use: each layer is pulled once.
    tree(&built).extract(&Access::anonymous()).await.unwrap();
    assert_eq!((world.pulls(&app), world.pulls(&other)), (2, 1), "{:?}", world.registry.lines());
    drop((job, built));
    engine.close().await;
}

/// What is pulled for a vertex above is shown at the image, and once.
/// BuildKit rows 98, 111: each layer has its state there and at no other vertex.
#[tokio::test]
async fn layers_are_shown_at_their_image() {
    let (world, app) = World::with_app().await;
    let engine = world.engine().await;
    let state = image("registry.test/app:1").named("base");
    let reader = engine.reader("reads");
    let (graph, edge) = engine.read(&merge([&state, &diff(&state, &state)]), &reader);
    let (job, built) = engine.run(graph, &edge, None).await;
    drop(built.unwrap());
    assert_eq!(world.pulls(&app), 2);
    for layer in app.layers() {
        // Of each part who comes late sees the last state alone.
        let done = ("base".to_owned(), "done".to_owned());
        assert_eq!(actions(&job, layer.digest()), [done], "and nowhere else");
    }
    assert_eq!(reader.runs.load(Ordering::SeqCst), 1);
    drop(job);
    engine.close().await;
}

/// An image of whatever platform is built for.
fn unnamed(identifier: &str) -> Definition {
    let source = pb::SourceOp { identifier: identifier.to_owned(), ..pb::SourceOp::default() };
    let op = pb::Op { kind: Some(pb::Kind::Source(source)), ..pb::Op::default() }.encode_to_vec();
    let input = pb::Input { digest: digest::sha256(&op).to_string(), index: 0 };
    let last = pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec();
    let whole = pb::Definition { def: vec![op, last], ..pb::Definition::default() };
    Definition::parse(&whole.encode_to_vec()).unwrap()
}

/// A build for several platforms asks once what a tag stands for.
#[tokio::test]
async fn platforms_of_one_build_are_of_one_index() {
    let world = World::new().await;
    let (amd, arm) = (world.push("multi", "amd", &["amd"]).await, world.push("multi", "arm", &["arm"]).await);
    let index = Image::index(&[&arm.manifest, &amd.manifest], &["arm64", "amd64"]);
    world.registry.seed_manifest("multi", "1", &index).await;
    world.registry.reset();
    let inner = world.engine().await;
    let engine = Engine::builder(world.dir.path())
        .manager(inner.worker.manager().clone())
        .registry(inner.worker.registry().clone())
        .executor(std::sync::Arc::clone(inner.worker.executor()))
        .platform(amd64())
        .open()
        .await
        .unwrap();
    let session = engine.session(Default::default());
    let definition = unnamed("docker-image://registry.test/multi:1");
    let mut request = Request::new(&definition, &session);
    request.platforms = vec![amd64(), "linux/arm64".parse().unwrap()];
    let build = engine.solve(request).await.unwrap();
    let results = build.results().await.unwrap();
    assert_ne!(tree(&results[0]).id(), tree(&results[1]).id());
    let asked = world.registry.lines().into_iter().filter(|line| line.contains("/manifests/1")).count();
    assert_eq!(asked, 1, "{:?}", world.registry.lines());
    drop((results, build, session));
    engine.close().await.unwrap();
    inner.close().await;
}
