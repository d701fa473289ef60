//! How layers are compressed, and what is left as it is.

use lazyblob_cache::layer::{Compression, Family};
use lazyblob_remote::testing::TestRegistry;
use lazyblob_remote::{media, request::Kind};
use lazyblob_worker::export::{ImageOptions, image};

use crate::support::{World, access, close, made, name, part, plain};

async fn types(world: &World, options: &ImageOptions) -> (Vec<String>, usize) {
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    let over = made(&worker, Some(&app), "over", 5).await;
    // What was fetched to put something on top is not what is counted.
    let before = world.pulls();
    let image = image(&worker, &[part(&over, Some(&base))], options, &access()).await.unwrap();
    let layers = image.root().layers().iter().map(|layer| layer.media_type().to_string()).collect();
    let pulls = world.pulls() - before;
    drop((app, base, over, image));
    close(worker).await;
    (layers, pulls)
}

/// testBuildExportWithUncompressed, testBuildExportZstd: new layers are compressed as wanted, those of the base stay what
/// they are, under the names of the family.
#[tokio::test]
async fn new_layers_are_compressed_as_wanted() {
    const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    let zstd = format!("{DOCKER}.zstd");
    for (compression, family, last) in [
        (Compression::GZIP, Family::Oci, media::OCI_LAYER_GZIP),
        (Compression::ZSTD, Family::Oci, media::OCI_LAYER_ZSTD),
        (Compression::None, Family::Oci, media::OCI_LAYER),
        (Compression::None, Family::Docker, DOCKER),
        (Compression::ZSTD, Family::Docker, &zstd),
    ] {
        let world = World::new().await;
        let options = ImageOptions { compression, family: Some(family), ..plain() };
        let (found, _) = types(&world, &options).await;
        let base = match family {
            Family::Oci => [media::OCI_LAYER_GZIP, media::OCI_LAYER, media::OCI_LAYER_ZSTD],
            Family::Docker => [media::DOCKER_LAYER_GZIP, DOCKER, &zstd],
        };
        assert_eq!(found[..3], base);
        assert_eq!(found[3], last);
    }
}

/// BuildKit row 26: forced, all are compressed as wanted, and only those are fetched that are not so already.
#[tokio::test]
async fn forced_compression_fetches_what_it_changes() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    let options = ImageOptions { compression: Compression::ZSTD, force_compression: true, ..plain() };
    let image = image(&worker, &[part(&app, Some(&base))], &options, &access()).await.unwrap();
    let types: Vec<_> = image.root().layers().iter().map(|layer| layer.media_type().to_string()).collect();
    assert_eq!(types, [media::OCI_LAYER_ZSTD; 3]);
    assert_eq!(world.pulls(), 2, "{:?}", world.registry.lines());
    let last = world.image.layers().last().unwrap();
    assert_eq!(image.root().layers()[2].digest(), last.digest());
    assert!(!worker.manager().store().holds(last).await.unwrap(), "it is lazy still");
    world.registry.reset();
    image.push(&worker, &[name("other:1")], &access()).await.unwrap();
    assert_eq!(world.count(Kind::BlobGet), 0, "{:?}", world.registry.lines());
    assert_eq!(world.count(Kind::Mount), 1);
    drop((app, base, image));
    close(worker).await;
}

/// Forced to what it is already, an image stays what it is, to the byte.
#[tokio::test]
async fn nothing_to_force_changes_nothing() {
    let layers = [lazyblob_cache::testing::Tar::new().file("a", "a").end()];
    let packed = layers.map(|tar| (tar, lazyblob_cache::testing::images::Packed::Gzip));
    let world = World::of(TestRegistry::builder(), lazyblob_cache::testing::images::image(&packed)).await;
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    let options = ImageOptions { force_compression: true, ..plain() };
    let same = image(&worker, &[part(&app, Some(&base))], &options, &access()).await.unwrap();
    assert_eq!(same.digest(), world.image.manifest.digest());
    let docker = ImageOptions { family: Some(Family::Docker), ..plain() };
    let docker = image(&worker, &[part(&app, Some(&base))], &docker, &access()).await.unwrap();
    assert_eq!(docker.root().media_type(), media::DOCKER_MANIFEST);
    assert_eq!(docker.root().config().unwrap().media_type().to_string(), media::DOCKER_CONFIG);
    assert_eq!(world.registry.lines(), Vec::<String>::new());
    drop((app, base, same, docker));
    close(worker).await;
}
