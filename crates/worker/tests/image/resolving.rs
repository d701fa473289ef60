//! How often it is asked what a name stands for, and what is done where that cannot be asked.

use lazyblob_cache::image::Pull;
use lazyblob_cache::record::RecordType;
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::registry::RegistrySource;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, Toxic};
use lazyblob_remote::{Access, Reference, Scopes};
use lazyblob_worker::llb::{ImageOptions, ResolveMode, image, image_with, merge};

use crate::support::{Engine, World, tree, until};

/// Two vertices of one image: it is found out once what the name stands for.
#[tokio::test]
async fn an_image_is_resolved_once_in_a_build() {
    let (world, app) = World::with_app().await;
    let engine = world.engine().await;
    let part =
        image_with("registry.test/app:1", ImageOptions { layer_limit: Some(1), ..ImageOptions::default() });
    let (job, built) = engine.build(&merge([&part, &image("registry.test/app:1")])).await;
    assert_eq!(world.requests(), (1, 1, 0), "{:?}", world.registry.lines());
    assert_eq!(tree(&built).layers().len(), 3);
    assert_eq!(world.pulls(&app), 0);
    drop((job, built));
    engine.close().await;
}

/// BuildKit row 100: a limit of layers is part of the keys, and what is above it is not there.
#[tokio::test]
async fn a_limit_of_layers() {
    let (world, app) = World::with_app().await;
    let engine = world.engine().await;
    let limited = |limit| {
        image_with(
            "registry.test/app:1",
            ImageOptions { layer_limit: Some(limit), ..ImageOptions::default() },
        )
    };
    let (job, built) = engine.build(&limited(1)).await;
    tree(&built).extract(&Access::anonymous()).await.unwrap();
    let layers: Vec<_> = app.layers().collect();
    assert_eq!((world.gets(layers[0].digest()), world.gets(layers[1].digest())), (1, 0));
    let (whole, all) = engine.build(&image("registry.test/app:1")).await;
    assert_eq!(tree(&all).layers().len(), 2);
    let (more, same) = engine.build(&limited(7)).await;
    assert_eq!(tree(&same).id(), tree(&all).id(), "more than there are is all of them");
    assert_ne!(tree(&built).id(), tree(&all).id());
    drop((job, built, whole, all, more, same));
    engine.close().await;
}

/// BuildKit row 97: a digest whose manifest and config are here costs no request.
#[tokio::test]
async fn a_digest_that_is_here_costs_no_request() {
    let (world, app) = World::with_app().await;
    let engine = world.engine().await;
    let state = image(format!("registry.test/app@{}", app.manifest.digest()));
    let (job, built) = engine.build(&state).await;
    assert_eq!(world.requests(), (1, 1, 0), "{:?}", world.registry.lines());
    drop((job, built));
    engine.close().await;

    world.registry.reset();
    let engine = world.engine().await;
    let (job, built) = engine.build(&state).await;
    assert!(built.cached);
    assert_eq!(world.requests(), (0, 0, 0), "{:?}", world.registry.lines());
    assert!(tree(&built).is_lazy().await.unwrap());
    drop((job, built));
    engine.close().await;
}

/// BuildKit row 97: testValidateDigestOrigin: that a digest is here says nothing of a repository that does not have it.
#[tokio::test]
async fn a_digest_is_not_taken_for_another_repository_s() {
    let (world, app) = World::with_app().await;
    world.push("empty", "1", &["else"]).await;
    let engine = world.engine().await;
    let (job, built) = engine.build(&image("registry.test/app:1")).await;
    world.registry.reset();
    let elsewhere = image(format!("registry.test/empty@{}", app.manifest.digest()));
    let (other, refused) = engine.try_build(&elsewhere, None).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("not found") && error.contains("registry.test/empty"), "{error}");
    assert_eq!(world.requests(), (1, 0, 0), "{:?}", world.registry.lines());
    drop((job, built, other));
    engine.close().await;
}

/// testPullWithDigestCheck: with tag and digest the digest decides, and what has another is refused.
/// BuildKit row 100: so is a tag that has not the checksum that it is pinned to.
#[tokio::test]
async fn a_digest_decides_and_a_checksum_is_held_against_the_tag() {
    let (world, one) = World::with_app().await;
    let two = world.push("app", "2", &["two"]).await;
    let engine = world.engine().await;
    let (job, built) = engine.build(&image(format!("registry.test/app:2@{}", one.manifest.digest()))).await;
    assert_eq!(tree(&built).layers().len(), 2, "that of the digest");
    drop((job, built));
    let checked = |checksum| {
        let options = ImageOptions { checksum: Some(checksum), ..ImageOptions::default() };
        image_with("registry.test/app:2", options)
    };
    let (job, built) = engine.build(&checked(two.manifest.digest().clone())).await;
    assert_eq!(tree(&built).layers().len(), 1);
    drop((job, built));
    let (job, refused) = engine.try_build(&checked(one.manifest.digest().clone()), None).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("does not match the expected checksum"), "{error}");
    drop(job);
    engine.close().await;
}

/// A tag that moved between two builds is another image in the second.
#[tokio::test]
async fn a_tag_that_moved_is_noticed() {
    let (world, _) = World::with_app().await;
    let engine = world.engine().await;
    let (job, built) = engine.build(&image("registry.test/app:1")).await;
    let old = tree(&built).id();
    drop((job, built));
    world.push("app", "1", &["new"]).await;
    let (job, built) = engine.build(&image("registry.test/app:1")).await;
    assert_ne!(tree(&built).id(), old);
    assert!(!built.cached);
    assert_eq!(world.requests(), (1, 1, 0), "{:?}", world.registry.lines());
    drop((job, built));
    engine.close().await;
}

/// Gives `app:1` its name in the store, as the command does.
async fn pull(engine: &Engine) {
    let reference: Reference = "registry.test/app:1".parse().unwrap();
    let (name, access) = (reference.repository(), Access::anonymous());
    let repository = engine.worker.registry().repository(name, Scopes::pull(name), &access).unwrap();
    let source = std::sync::Arc::new(RegistrySource::new(repository));
    let pull = Pull {
        name: Name::Tag("1".into()),
        reference,
        source,
        platform: None,
        record_type: RecordType::Regular,
    };
    engine.worker.manager().pull(pull, &access).await.unwrap();
}

/// testImageResolveConfigDefaultLocalFallback: what is here does if that is asked for, or if the registry cannot be asked.
#[tokio::test]
async fn what_is_here_does_where_the_registry_cannot_be_asked() {
    let (world, app) = World::with_app().await;
    let engine = world.engine().await;
    pull(&engine).await;
    let mode = |resolve_mode| {
        image_with("registry.test/app:1", ImageOptions { resolve_mode, ..ImageOptions::default() })
    };
    world.registry.reset();
    let (job, built) = engine.build(&mode(ResolveMode::Local)).await;
    assert_eq!(world.requests(), (0, 0, 0), "{:?}", world.registry.lines());
    assert_eq!(tree(&built).layers().len(), 2);
    drop((job, built));

    world.registry.add(Toxic::status(503).on(Kind::ManifestGet));
    let (job, built) = engine.build(&image("registry.test/app:1")).await;
    drop((job, built));
    let (job, refused) = engine.try_build(&mode(ResolveMode::Pull), None).await;
    assert!(refused.err().unwrap().to_string().contains("503"));
    drop(job);

    // One that is gone is gone, whatever is here.
    world.registry.behave();
    world.registry.add(Toxic::status(404).on(Kind::ManifestGet));
    let (job, refused) = engine.try_build(&image("registry.test/app:1"), None).await;
    assert!(refused.err().unwrap().to_string().contains("not found"));
    drop(job);

    // And what is not here is asked for.
    world.registry.behave();
    world.push("app", "2", &["two"]).await;
    let other = ImageOptions { resolve_mode: ResolveMode::Local, ..ImageOptions::default() };
    let (job, built) = engine.build(&image_with("registry.test/app:2", other)).await;
    assert_eq!(world.requests(), (1, 1, 0), "{:?}", world.registry.lines());
    assert_eq!(world.pulls(&app), 0);
    drop((job, built));
    engine.close().await;
}

/// One build that gives up while it is being found out what a name stands for leaves nothing, and harms no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_harms_nobody() {
    let (world, _) = World::with_app().await;
    let engine = world.engine().await;
    world.registry.add(Toxic::new(Effect::Hang).on(Kind::ManifestGet).times(1));
    let (graph, edge) = engine.graph(&image("registry.test/app:1"));
    let job = engine.solver.job(lazyblob_solver::JobOptions::default()).await.unwrap();
    job.load(graph).await.unwrap();
    {
        let mut building = Box::pin(job.build(&edge));
        tokio::select! {
            _ = &mut building => panic!("it hangs"),
            () = until("the registry is asked", || world.registry.requests(Kind::ManifestGet) == 1) => {}
        }
    }
    job.discard();
    let (job, built) = engine.build(&image("registry.test/app:1")).await;
    assert_eq!(world.registry.requests(Kind::ManifestGet), 2, "{:?}", world.registry.lines());
    drop((job, built));
    engine.close().await;
}

/// BuildKit row 101: what cannot be read any more is refused in words that say what to do.
#[tokio::test]
async fn schema_1_is_refused() {
    let (world, _) = World::with_app().await;
    let engine = world.engine().await;
    let body = r#"{"schemaVersion":1,"name":"app","fsLayers":[]}"#;
    let old = Effect::Answer {
        status: Default::default(),
        headers: vec![(
            "content-type".parse().unwrap(),
            lazyblob_remote::media::DOCKER_SCHEMA1.parse().unwrap(),
        )],
        body: body.into(),
    };
    world.registry.add(Toxic::new(old).on(Kind::ManifestGet));
    let (job, refused) = engine.try_build(&image("registry.test/app:1"), None).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("schema 1") && error.contains("push the image again"), "{error}");
    drop(job);
    engine.close().await;
}
