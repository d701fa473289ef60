//! Images of layouts are lazy as well.

use std::collections::BTreeMap;
use std::path::Path;

use lazyblob_remote::endpoint::{Name, Target};
use lazyblob_remote::layout::Layout;
use lazyblob_remote::testing::Image;
use lazyblob_remote::{Access, Digest};
use lazyblob_worker::llb::{diff, image, merge, oci_layout, scratch};
use lazyblob_worker::session::Session;

use crate::support::{Engine, World, image_of, tree};

/// A layout with an image.
async fn layout(dir: &Path, layers: &[&str]) -> Image {
    let (layout, image) = (Layout::create_or_open(dir).await.unwrap(), image_of(layers));
    layout.create().await.unwrap();
    for (descriptor, bytes) in &image.blobs {
        layout.ingests().store(descriptor, bytes.clone()).await.unwrap();
    }
    layout.put_manifest(&image.manifest, &Name::Tag("1".into())).await.unwrap();
    image
}

fn session(dir: &Path) -> Session {
    Session { layouts: BTreeMap::from([("images".to_owned(), dir.to_owned())]), ..Session::default() }
}

fn has(engine: &Engine, digest: &Digest) -> bool {
    engine.worker.manager().store().path(digest).unwrap().exists()
}

/// BuildKit row 102: testOCILayoutSource: no layer is copied before it is read. What brings it is known two vertices below
/// and nowhere else.
#[tokio::test]
async fn layers_of_a_layout_are_lazy() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let image = layout(dir.path(), &["base", "top"]).await;
    let source = oci_layout(format!("app@{}", image.manifest.digest()), "images");
    let state = diff(&scratch(), &merge([&source, &diff(&source, &source)]));
    let engine = world.engine().await;
    let open = engine.session(session(dir.path()));
    let (job, built) = engine.build_as(&open, &state).await;
    assert!(tree(&built).is_lazy().await.unwrap());
    assert!(image.layers().all(|layer| !has(&engine, layer.digest())));
    drop((job, built, open));
    engine.close().await;

    let engine = world.engine().await;
    let open = engine.session(session(dir.path()));
    let (job, built) = engine.build_as(&open, &state).await;
    assert!(built.cached, "what can be brought is a hit");
    assert!(tree(&built).is_lazy().await.unwrap());
    tree(&built).extract(&Access::anonymous()).await.unwrap();
    assert!(image.layers().all(|layer| has(&engine, layer.digest())));
    assert_eq!(world.requests(), (0, 0, 0));
    drop((job, built, open));
    engine.close().await;
}

/// Without the layout the build says which one it lacks, and keeps what it knows.
#[tokio::test]
async fn a_layout_that_nobody_has() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let image = layout(dir.path(), &["base"]).await;
    let source = oci_layout(format!("app@{}", image.manifest.digest()), "images");
    let engine = world.engine().await;
    let (job, refused) = engine.try_build(&source, None).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("images") && error.contains("no session has a layout"), "{error}");
    drop(job);
    let open = engine.session(session(dir.path()));
    let (job, built) = engine.build_as(&open, &source).await;
    assert!(!built.cached);
    drop((job, built));
    let wrong = oci_layout(format!("app@sha256:{}", "0".repeat(64)), "images");
    let (job, refused) = engine.try_build(&wrong, Some(&open)).await;
    assert!(refused.err().unwrap().to_string().contains("not found"));
    drop((job, open));
    engine.close().await;
}

/// The same layers of a registry and of a layout are one record: the second key finds it.
#[tokio::test]
async fn the_same_layers_are_found_by_their_config() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let of_layout = layout(dir.path(), &["base"]).await;
    let of_registry = world.push("app", "1", &["base"]).await;
    assert_eq!(of_layout.manifest.digest(), of_registry.manifest.digest());
    let engine = world.engine().await;
    let open = engine.session(session(dir.path()));
    let source = oci_layout(format!("app@{}", of_layout.manifest.digest()), "images");
    let (one, first) = engine.build_as(&open, &source).await;
    let (two, second) = engine.build_as(&open, &image("registry.test/app:1")).await;
    assert_eq!(tree(&first).id(), tree(&second).id());
    assert!(second.cached || second.vertex == first.vertex);
    drop((one, first, two, second, open));
    engine.close().await;
}
