//! Layers that must not be distributed.

use bytes::Bytes;
use lazyblob_cache::layer::{Algorithm, Family, LayerType};
use lazyblob_cache::testing::Tar;
use lazyblob_remote::testing::{Image, TestRegistry};
use lazyblob_remote::{Manifest, media};
use lazyblob_worker::export::{ImageOptions, image};
use serde_json::json;

use crate::support::{World, access, actions, close, name, part, plain};

const URL: &str = "https://elsewhere.test/layer";

/// An image whose layer must not be distributed; its registry has it all the same.
fn foreign() -> Image {
    let mut image = Image::with(&[Tar::new().file("a", "a").end().into()], media::OCI_LAYER, &json!({}));
    let mut manifest: serde_json::Value = serde_json::from_slice(image.manifest.bytes()).unwrap();
    let kind = LayerType::new(Family::Oci, Algorithm::None).foreign(true).media_type();
    manifest["layers"][0]["mediaType"] = json!(kind);
    manifest["layers"][0]["urls"] = json!([URL]);
    image.manifest = Manifest::parse(Bytes::from(manifest.to_string()), None, None, "a test's").unwrap();
    image
}

/// testBuildExportWithForeignLayer: as they are, nothing of them moves; otherwise they are layers like any other. BuildKit
/// row 104.
#[tokio::test]
async fn they_stay_what_they_are_or_are_distributed() {
    let world = World::of(TestRegistry::builder(), foreign()).await;
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    let prefer = ImageOptions { prefer_nondist_layers: true, ..plain() };
    let kept = image(&worker, &[part(&app, Some(&base))], &prefer, &access()).await.unwrap();
    let pushed = kept.push(&worker, &[name("kept:1")], &access()).await.unwrap();
    assert_eq!(actions(&pushed[0])[1], "foreign");
    assert_eq!(world.pushed("kept:1").await.0.bytes(), world.image.manifest.bytes());
    let layer = world.image.layers().next().unwrap();
    let there = format!("/v2/kept/blobs/{}", layer.digest());
    assert!(!world.registry.lines().iter().any(|line| line.contains(&there)), "{:?}", world.registry.lines());

    let plain = image(&worker, &[part(&app, Some(&base))], &plain(), &access()).await.unwrap();
    let pushed = plain.push(&worker, &[name("plain:1")], &access()).await.unwrap();
    assert_eq!(actions(&pushed[0])[1], "mount", "{:?}", world.registry.lines());
    let (manifest, _) = world.pushed("plain:1").await;
    assert_eq!(manifest.layers()[0].media_type().to_string(), media::OCI_LAYER);
    assert_eq!(manifest.layers()[0].urls(), &None);
    drop((app, base, kept, plain));
    close(worker).await;
}
