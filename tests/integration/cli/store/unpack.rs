//! `lazyblob pull --unpack`.

use bytes::Bytes;
use futures::future::join_all;
use lazyblob::remote::digest::sha256;
use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::TestRegistry;
use lazyblob::remote::{Descriptor, Manifest, media};
use serde_json::{Value, json};

use super::support::{costs, forget, seed_index, stored, with_app};
use crate::support::{Desk, image};

fn unpacked(about: &Value) -> usize {
    let layers = about["store"]["images"][0]["layers"].as_array().unwrap();
    layers.iter().filter(|layer| layer["unpacked"] == json!(true)).count()
}

#[tokio::test]
async fn each_layer_is_fetched_and_unpacked_once() {
    let (desk, registry, image) = with_app(3).await;
    let app = format!("{}/app:1", registry.host());
    let words = format!("pull --unpack {app}");
    let run = costs(&desk, &registry, &words, &[("manifest_get", 1), ("blob_get", 1 + 3)]).await;
    assert_eq!(run.digest(), image.manifest.digest().to_string());
    assert!(run.stderr.contains("unpacking 3 layers"), "{}", run.stderr);
    assert_eq!(unpacked(&desk.ok(&format!("--json inspect store:{app}")).await.json()), 3);
    let run = costs(&desk, &registry, &words, &[("manifest_get", 1)]).await;
    assert!(!run.stderr.contains("unpacking"), "{}", run.stderr);
    // Layers that are unpacked need not be here.
    let layers: Vec<_> = image.layers().map(|layer| layer.digest().to_string()).collect();
    layers.iter().for_each(|layer| forget(&desk, layer));
    costs(&desk, &registry, &words, &[("manifest_get", 1)]).await;
    // Of an image that stands on them only what is on top is fetched.
    registry.seed("larger", "1", &crate::support::image(4, "app")).await;
    let words = format!("pull --unpack {}/larger:1", registry.host());
    costs(&desk, &registry, &words, &[("manifest_get", 1), ("blob_get", 1 + 1)]).await;
}

#[tokio::test]
async fn an_index_is_unpacked_for_the_platform_asked_for() {
    let (desk, registry, _) = with_app(1).await;
    let (one, other) = (image(2, "amd64"), image(3, "s390x"));
    seed_index(&registry, "multi", &[("amd64", &one), ("s390x", &other)]).await;
    let words = format!("--json pull --unpack --platform linux/s390x {}/multi:1", registry.host());
    let run = costs(&desk, &registry, &words, &[("manifest_get", 2), ("blob_get", 1 + 3)]).await;
    let said = run.json();
    assert_eq!(said["manifest"], json!(other.manifest.digest()));
    assert!(said["layers"].as_array().unwrap().iter().all(|layer| layer["unpacked"] == json!(true)));
}

#[tokio::test]
async fn processes_that_unpack_one_image_together_fetch_it_once() {
    let (desk, registry, image) = with_app(4).await;
    let words = format!("pull --unpack {}/app:1", registry.host());
    registry.reset();
    let runs = join_all((0..6).map(|_| desk.ok(&words))).await;
    for run in runs {
        assert_eq!(run.digest(), image.manifest.digest().to_string());
    }
    assert_eq!(registry.requests(Kind::BlobGet), 4 + 1, "{:#?}", registry.lines());
    assert_eq!(registry.requests(Kind::ManifestGet), 6);
    assert_eq!(stored(&desk).len(), 4 + 2);
}

/// An image whose config promises another tree for its first layer.
async fn seed_wrong(registry: &TestRegistry) {
    let mut image = image(2, "wrong");
    let mut config: Value = serde_json::from_slice(&image.blobs[0].1).unwrap();
    config["rootfs"]["diff_ids"][0] = json!(sha256(b"something else"));
    let config = Bytes::from(config.to_string());
    let descriptor = Descriptor::new(media::OCI_CONFIG.into(), config.len() as u64, sha256(&config));
    let mut manifest: Value = serde_json::from_slice(image.manifest.bytes()).unwrap();
    manifest["config"] = json!(descriptor);
    image.blobs[0] = (descriptor, config);
    image.manifest = Manifest::parse(Bytes::from(manifest.to_string()), None, None, "the test").unwrap();
    registry.seed("wrong", "1", &image).await;
}

/// Row 71: a layer that is not what its config says is said to be that, and nothing of it is kept.
#[tokio::test]
async fn a_layer_that_is_not_what_its_config_says_is_6() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    seed_wrong(&registry).await;
    let name = format!("{}/wrong:1", registry.host());
    let run = desk.run(&format!("--progress quiet pull --unpack {name}")).await.exits(6);
    run.says(&[sha256(b"something else").as_ref()]);
    let about = desk.ok(&format!("--json inspect store:{name}")).await.json();
    assert_eq!(unpacked(&about), 0);
    assert!(super::support::snapshots(&desk).is_empty());
}
