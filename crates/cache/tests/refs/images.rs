//! Images by name: platforms, digests, moved tags.

use bytes::Bytes;
use lazyblob_cache::Error;
use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::testing::images::image;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::Image;
use lazyblob_remote::{Access, Manifest, Reference, media};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{HOST, Packed, World, client_of, made, pull_of, stored};

fn one_layer(name: &str) -> Image {
    let [layer] = made([name]);
    image(&[(layer.tar, Packed::Gzip)])
}

/// `multi:1` has an image for amd64 and one for arm64.
async fn multi(world: &World) -> (Image, Image, Manifest) {
    let (amd, arm) = (one_layer("amd"), one_layer("arm"));
    for image in [&amd, &arm] {
        let digest = image.manifest.digest().to_string();
        world.registry.seed("multi", &digest, image).await;
    }
    let index = Image::index(&[&amd.manifest, &arm.manifest], &["amd64", "arm64"]);
    world.registry.seed_manifest("multi", "1", &index).await;
    world.registry.reset();
    (amd, arm, index)
}

fn access() -> Access {
    Access::anonymous()
}

/// BuildKit row 95: three requests through an index; the other platform is fetched when it is asked for.
#[tokio::test]
async fn platforms_of_an_index() {
    let world = World::new().await;
    let manager = world.manager().await;
    let (amd, arm, index) = multi(&world).await;
    let pulled = manager.pull(pull_with(&world, "linux/amd64"), &access()).await.unwrap();
    assert_eq!(world.registry.lines().len(), 3, "{:?}", world.registry.lines());
    assert_eq!(pulled.image.root.digest(), index.digest());
    assert_eq!(pulled.image.manifest.digest(), amd.manifest.digest());
    assert_eq!(world.gets(amd.blobs[1].0.digest()), 0);
    drop(pulled);
    manager.close().await.unwrap();
    drop(manager);

    let manager = world.process().await;
    world.registry.reset();
    let reference: Reference = "registry.test/multi:1".parse().unwrap();
    let platform = "linux/arm64".parse().unwrap();
    let opened = manager.open_image(&reference, Some(&platform), &access()).await.unwrap();
    assert_eq!(opened.manifest.digest(), arm.manifest.digest());
    assert_eq!(world.registry.lines().len(), 2, "its manifest and its config: {:?}", world.registry.lines());
    let again = manager.open_image(&reference, Some(&platform), &access()).await.unwrap();
    assert_eq!(world.registry.lines().len(), 2);
    let host = lazyblob_remote::copy::Platform::host();
    let own = manager.open_image(&reference, None, &access()).await.unwrap();
    assert_eq!(own.manifest.digest(), host.find(&index).unwrap().digest(), "this machine's");
    drop((opened, again, own));
    manager.close().await.unwrap();
}

fn pull_with(world: &World, platform: &str) -> lazyblob_cache::image::Pull {
    let mut pull = world.pull_of("registry.test/multi:1");
    pull.platform = Some(platform.parse().unwrap());
    pull
}

/// A platform that is not there: the error names those that are, and nothing gets a name.
#[tokio::test]
async fn a_platform_that_is_not_there() {
    let world = World::new().await;
    let manager = world.manager().await;
    multi(&world).await;
    let error = manager.pull(pull_with(&world, "linux/s390x"), &access()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    for named in ["s390x", "linux/amd64", "linux/arm64"] {
        assert!(error.to_string().contains(named), "{error}");
    }
    assert_eq!(world.registry.lines().len(), 1, "the index alone: {:?}", world.registry.lines());
    assert!(manager.names().await.unwrap().is_empty());
    manager.close().await.unwrap();
}

/// What is no image of files can be pulled and named, and has no tree.
#[tokio::test]
async fn what_has_no_files() {
    let world = World::new().await;
    let manager = world.manager().await;
    let layer = Bytes::from_static(b"a chart");
    let artifact = Image::with(&[layer], "application/vnd.cncf.helm.chart.content.v1.tar+gzip", &json!({}));
    let mut manifest: serde_json::Value = serde_json::from_slice(artifact.manifest.bytes()).unwrap();
    manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    let manifest = Bytes::from(manifest.to_string());
    let manifest = Manifest::parse(manifest, Some(media::OCI_MANIFEST), None, "a test's").unwrap();
    let artifact = Image { manifest, ..artifact };
    world.registry.seed("chart", "1", &artifact).await;
    world.registry.reset();
    let pulled = manager.pull(world.pull_of("registry.test/chart:1"), &access()).await.unwrap();
    assert!(pulled.image.top.is_none() && pulled.image.config.is_none());
    let error = pulled.image.files().unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert_eq!(world.gets(artifact.blobs[1].0.digest()), 0, "its content is lazy, too");
    assert_eq!(manager.names().await.unwrap().len(), 1);
    drop(pulled);
    manager.close().await.unwrap();
}

/// What a digest names does not change: it is not asked for twice.
#[tokio::test]
async fn a_digest_is_pulled_once() {
    let world = World::new().await;
    let manager = world.manager().await;
    let name = format!("registry.test/app@{}", world.image.manifest.digest());
    let first = manager.pull(world.pull_of(&name), &access()).await.unwrap();
    assert_eq!((first.unchanged, world.registry.lines().len()), (false, 2));
    let again = manager.pull(world.pull_of(&name), &access()).await.unwrap();
    assert_eq!((again.unchanged, world.registry.lines().len()), (true, 2), "no request at all");
    drop((first, again));
    manager.close().await.unwrap();
    drop(manager);
    let manager = world.process().await;
    let later = manager.pull(world.pull_of(&name), &access()).await.unwrap();
    assert_eq!((later.unchanged, world.registry.lines().len()), (true, 2), "nor by the next process");
    drop(later);
    manager.close().await.unwrap();
}

/// A tag that moved: the name is the new image's, and the old one is there until it is pruned.
#[tokio::test]
async fn a_tag_that_moved() {
    let world = World::new().await;
    let manager = world.manager().await;
    let old = world.pull(&manager).await;
    let (root, top) = (old.image.root.digest().clone(), old.image.top.clone().unwrap());
    top.extract(&access()).await.unwrap();
    let new = one_layer("new");
    world.registry.seed("app", "1", &new).await;
    let moved = world.pull(&manager).await;
    assert!(!moved.unchanged);
    assert_eq!(moved.image.root.digest(), new.manifest.digest());
    let reference: Reference = "registry.test/app:1".parse().unwrap();
    assert_eq!(manager.named(&reference).await.unwrap(), *new.manifest.digest());
    let cancel = CancellationToken::new();
    let pruned = manager.prune(&PruneOptions::default(), &cancel).await.unwrap();
    assert_eq!((pruned.records.len(), pruned.blobs), (0, 0), "the old one is open");
    assert_ne!(root, *new.manifest.digest());
    drop((old, top));
    let pruned = manager.prune(&PruneOptions::default(), &cancel).await.unwrap();
    assert_eq!((pruned.records.len(), pruned.blobs, pruned.snapshots), (3, 5, 3));
    assert_eq!(stored(world.root()).len(), 2, "the new manifest and config");
    moved.image.top.as_ref().unwrap().extract(&access()).await.unwrap();
    drop(moved);
    manager.close().await.unwrap();
}

/// Where GETs are counted against a quota, a HEAD settles whether anything has changed.
#[tokio::test]
async fn a_head_where_gets_are_metered() {
    let world = World::new().await;
    let client = client_of(&world.registry, Hosts::builder().meters_gets(HOST).build());
    let manager = world.manager_with(&client, lazyblob_cache::manager::Settings::default()).await;
    let pull = || pull_of(&client, "registry.test/app:1");
    drop(manager.pull(pull(), &access()).await.unwrap());
    let gets = world.registry.requests(Kind::ManifestGet);
    assert_eq!((gets, world.registry.requests(Kind::ManifestHead)), (1, 0), "{:?}", world.registry.lines());
    let again = manager.pull(pull(), &access()).await.unwrap();
    assert!(again.unchanged);
    let counts = || {
        let of = |kind| world.registry.requests(kind);
        (of(Kind::ManifestGet), of(Kind::ManifestHead), of(Kind::BlobGet))
    };
    assert_eq!(counts(), (1, 1, 1), "{:?}", world.registry.lines());
    world.registry.seed("app", "1", &one_layer("new")).await;
    let moved = manager.pull(pull(), &access()).await.unwrap();
    assert!(!moved.unchanged);
    assert_eq!(counts(), (2, 2, 2), "{:?}", world.registry.lines());
    drop((again, moved));
    manager.close().await.unwrap();
}
