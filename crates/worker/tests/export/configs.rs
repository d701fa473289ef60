//! What an image says of itself.

use bytes::Bytes;
use lazyblob_worker::export::{Part, export, image};
use lazyblob_worker::spec::OutputSpec;
use lazyblob_worker::{Error, WorkerRef};
use serde_json::json;

use crate::support::{World, access, close, made, name, part, plain, platform};

/// An image of no layers is legal: its config names none.
#[tokio::test]
async fn nothing_is_an_image_too() {
    let world = World::new().await;
    let worker = world.worker().await;
    let scratch = Part::new(platform("linux/arm64"), WorkerRef::scratch());
    let image = image(&worker, &[scratch], &plain(), &access()).await.unwrap();
    image.push(&worker, &[name("empty:1")], &access()).await.unwrap();
    let (manifest, config) = world.pushed("empty:1").await;
    assert_eq!(manifest.layers(), []);
    let expected = json!({
        "config": {}, "architecture": "arm64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
    });
    assert_eq!(config, expected);
    close(worker).await;
}

/// A given config is kept but for its layers and its history.
#[tokio::test]
async fn a_given_config_is_kept() {
    let world = World::new().await;
    let worker = world.worker().await;
    let one = made(&worker, None, "one", 5).await;
    let given = json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["run"] }, "created": "2020-01-01T00:00:00Z" });
    let spec: OutputSpec = "type=image,name=registry.test/c:1,push=true".parse().unwrap();
    let spec = OutputSpec { configs: vec![(None, Bytes::from(given.to_string()))], ..spec };
    export(&worker, &spec, vec![part(&one, None)], None, &access()).await.unwrap();
    let (manifest, config) = world.pushed("c:1").await;
    assert_eq!(config["config"], json!({ "Cmd": ["run"] }));
    assert_eq!(config["created"], "2020-01-01T00:00:00Z");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), manifest.layers().len());
    assert_eq!(config["history"], json!([{ "created_by": "write one", "comment": "lazyblob" }]));
    let bad = Part { config: Some("[]".into()), ..part(&one, None) };
    let error = export(&worker, &spec, vec![bad], None, &access()).await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    drop(one);
    close(worker).await;
}
