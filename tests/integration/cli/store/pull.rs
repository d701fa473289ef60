//! `lazyblob pull`: what it asks for, and what it leaves alone.

use bytes::Bytes;
use lazyblob::remote::media;
use lazyblob::remote::testing::Image;
use serde_json::json;

use super::support::{costs, lazily, seed_index, snapshots, stored, with_app};
use crate::support::image;

/// BuildKit row 95: a manifest and a config, and no layer.
#[tokio::test]
async fn a_pull_is_2_requests_and_again_1() {
    let (desk, registry, image) = with_app(3).await;
    let app = format!("{}/app:1", registry.host());
    let run = costs(&desk, &registry, &format!("pull {app}"), &[("manifest_get", 1), ("blob_get", 1)]).await;
    assert_eq!(run.digest(), image.manifest.digest().to_string());
    assert_eq!(stored(&desk), lazily(&image), "no layer");
    let run = costs(&desk, &registry, &format!("pull --json {app}"), &[("manifest_get", 1)]).await;
    let said = run.json();
    assert_eq!((&said["unchanged"], &said["digest"]), (&json!(true), &json!(image.manifest.digest())));
    let lazy = |layer: &serde_json::Value| layer["lazy"] == json!(true);
    assert_eq!(said["layers"].as_array().unwrap().iter().filter(|layer| lazy(layer)).count(), 3);
    assert_eq!(stored(&desk), lazily(&image));
}

#[tokio::test]
async fn through_an_index_it_is_3_and_for_another_platform_2_more() {
    let (desk, registry, _) = with_app(1).await;
    let (one, other) = (image(2, "amd64"), image(3, "s390x"));
    let index = seed_index(&registry, "multi", &[("amd64", &one), ("s390x", &other)]).await;
    let multi = format!("{}/multi:1", registry.host());
    let words = format!("pull --platform linux/amd64 {multi}");
    let run = costs(&desk, &registry, &words, &[("manifest_get", 2), ("blob_get", 1)]).await;
    assert_eq!(run.digest(), index.digest().to_string(), "the index has the name");
    let mut expected = lazily(&one);
    expected.push(index.digest().to_string());
    expected.sort();
    assert_eq!(stored(&desk), expected);
    costs(&desk, &registry, &words, &[("manifest_get", 1)]).await;
    let words = format!("pull --platform linux/s390x {multi}");
    costs(&desk, &registry, &words, &[("manifest_get", 2), ("blob_get", 1)]).await;
    let run = desk.run(&format!("pull --platform linux/riscv64 {multi}")).await.exits(4);
    run.says(&["linux/riscv64", "linux/amd64", "linux/s390x"]);
}

/// Row 96: what reads no bytes asks nobody.
#[tokio::test]
async fn what_a_digest_names_and_is_here_is_not_asked_for() {
    let (desk, registry, image) = with_app(2).await;
    let app = format!("{}/app@{}", registry.host(), image.manifest.digest());
    costs(&desk, &registry, &format!("pull {app}"), &[("manifest_get", 1), ("blob_get", 1)]).await;
    let run = costs(&desk, &registry, &format!("pull {app}"), &[]).await;
    assert_eq!(run.digest(), image.manifest.digest().to_string());
    desk.ok(&format!("--offline pull {app}")).await;
}

/// BuildKit row 15: a blob that two images share is brought once.
#[tokio::test]
async fn unlazy_brings_each_blob_once() {
    let (desk, registry, image) = with_app(3).await;
    let app = format!("{}/app:1", registry.host());
    desk.ok(&format!("pull {app}")).await;
    let words = format!("pull --unlazy {app}");
    let run = costs(&desk, &registry, &words, &[("manifest_get", 1), ("blob_get", 3)]).await;
    assert_eq!(run.stats()["blobs"]["fetched"], 3);
    assert_eq!(stored(&desk).len(), 3 + 2);
    assert!(snapshots(&desk).is_empty(), "nothing is unpacked");
    let run = costs(&desk, &registry, &format!("--json {words}"), &[("manifest_get", 1)]).await;
    assert_eq!(run.json()["fetched"], 0);
    // Another image with the same layers below has only the others to bring.
    let larger = crate::support::image(5, "app");
    assert_eq!(larger.layers().take(3).collect::<Vec<_>>(), image.layers().collect::<Vec<_>>());
    registry.seed("larger", "1", &larger).await;
    let words = format!("pull --unlazy {}/larger:1", registry.host());
    costs(&desk, &registry, &words, &[("manifest_get", 1), ("blob_get", 1 + 2)]).await;
}

#[tokio::test]
async fn an_artifact_is_pulled_and_not_unpacked() {
    let (desk, registry, _) = with_app(1).await;
    let fields = json!({"artifactType": "application/vnd.example.sbom", "config": {
        "mediaType": media::OCI_EMPTY, "size": 2,
        "digest": lazyblob::remote::digest::sha256(b"{}"), "data": "e30=",
    }});
    let sbom = Image::with(&[Bytes::from("sbom")], "application/vnd.example.sbom", &fields);
    registry.seed("app", "sbom", &sbom).await;
    registry.seed_blob("app", "{}").await;
    let name = format!("{}/app:sbom", registry.host());
    costs(&desk, &registry, &format!("pull {name}"), &[("manifest_get", 1), ("blob_get", 1)]).await;
    let run = desk.run(&format!("pull --unpack {name}")).await.exits(1);
    run.says(&["no image of files", &name]);
    costs(&desk, &registry, &format!("pull --unlazy {name}"), &[("manifest_get", 1), ("blob_get", 1)]).await;
    assert!(stored(&desk).contains(&sbom.blobs[1].0.digest().to_string()));
}

#[tokio::test]
async fn what_is_not_there_is_4_and_leaves_no_name() {
    let (desk, registry, _) = with_app(1).await;
    let absent = format!("{}/app:none", registry.host());
    desk.run(&format!("pull {absent}")).await.exits(4).says(&[&absent]);
    assert_eq!(desk.ok("ls").await.stdout, "");
    let run = desk.run(&format!("--offline pull {}/app:1", registry.host())).await.exits(1);
    run.says(&["offline"]);
}

#[tokio::test]
async fn a_config_that_does_not_fit_gets_no_name() {
    let (desk, registry, _) = with_app(1).await;
    let mut image = image(2, "bad");
    let config =
        Bytes::from(json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).to_string());
    let digest = lazyblob::remote::digest::sha256(&config);
    let mut manifest: serde_json::Value = serde_json::from_slice(image.manifest.bytes()).unwrap();
    manifest["config"]["digest"] = json!(digest);
    manifest["config"]["size"] = json!(config.len());
    let bytes = Bytes::from(manifest.to_string());
    image.manifest = lazyblob::remote::Manifest::parse(bytes, None, None, "the test").unwrap();
    registry.seed_blob("bad", config).await;
    registry.seed_manifest("bad", "1", &image.manifest).await;
    let run = desk.run(&format!("pull {}/bad:1", registry.host())).await.exits(1);
    run.says(&["2 layers", "0 diffIDs"]);
    assert_eq!(desk.ok("ls").await.stdout, "");
}
