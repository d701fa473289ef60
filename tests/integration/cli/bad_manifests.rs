//! Manifests nobody should have to digest.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, StatusCode};
use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, Image, TestRegistry, Toxic};
use lazyblob::remote::{Manifest, media};
use serde_json::{Value, json};

use crate::support::{Desk, image};

/// A registry that answers every request for a manifest with `body`.
async fn answering(media_type: &'static str, body: String) -> TestRegistry {
    let registry = TestRegistry::start().await;
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(media_type))];
    let answer = Effect::Answer { status: StatusCode::OK, headers, body: Bytes::from(body) };
    registry.add(Toxic::new(answer).on(Kind::ManifestGet));
    registry
}

fn padded(bytes: usize) -> String {
    let manifest: Value = serde_json::from_slice(image(1, "app").manifest.bytes()).unwrap();
    let mut manifest = manifest;
    manifest["annotations"] = json!({"padding": ""});
    let length = manifest.to_string().len();
    manifest["annotations"]["padding"] = json!("x".repeat(bytes - length));
    manifest.to_string()
}

#[tokio::test]
async fn four_mebibytes_are_read_and_eight_are_refused() {
    let desk = Desk::new();
    let large = answering(media::OCI_MANIFEST, padded(4 << 20)).await;
    let run = desk.ok(&format!("inspect --raw {}/app:1", large.host())).await;
    assert_eq!(run.stdout.len(), 4 << 20);
    let larger = answering(media::OCI_MANIFEST, padded(8 << 20)).await;
    let run = desk.run(&format!("inspect {}/app:1", larger.host())).await.exits(1);
    run.says(&["app:1", "limit"]);
}

#[tokio::test]
async fn what_is_no_manifest_is_said_to_be_none() {
    let desk = Desk::new();
    let schema_1 = json!({"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": [], "history": []});
    for (media_type, body, said) in [
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", schema_1.to_string(), "schema 1"),
        (media::OCI_MANIFEST, schema_1.to_string(), "no config"),
        ("text/html", "<html>please log in to this network</html>".to_owned(), "app:1"),
        (media::OCI_MANIFEST, "{\"schemaVersion\":2,".to_owned(), "app:1"),
        (media::OCI_MANIFEST, "[]".to_owned(), "app:1"),
        (media::OCI_MANIFEST, String::new(), "app:1"),
    ] {
        let registry = answering(media_type, body.clone()).await;
        let host = registry.host();
        for command in [format!("inspect {host}/app:1"), format!("retag {host}/app:1 :2")] {
            let run = desk.run(&command).await;
            assert!(matches!(run.code, Some(1 | 6)), "{media_type} {body}: {run:?}");
            run.says(&[said]);
        }
        assert_eq!(registry.requests(Kind::ManifestPut), 0);
    }
}

#[tokio::test]
async fn a_deep_nest_of_indexes_is_refused_before_anything_moves() {
    let (desk, from, to) = (Desk::new(), TestRegistry::start().await, TestRegistry::start().await);
    let image = image(1, "app");
    from.seed("app", "image", &image).await;
    let mut manifest: Manifest = image.manifest.clone();
    for _ in 0..12 {
        let digest = manifest.digest().to_string();
        from.seed_manifest("app", &digest, &manifest).await;
        manifest = Image::index(&[&manifest], &["amd64"]);
    }
    from.seed_manifest("app", "deep", &manifest).await;
    let run = desk.run(&format!("copy {}/app:deep {}/app:1", from.host(), to.host())).await.exits(1);
    run.says(&["nested"]);
    assert!(to.log().iter().all(|entry| matches!(entry.method.as_str(), "GET" | "HEAD")), "{:?}", to.lines());
    assert_eq!(from.requests(Kind::BlobGet), 0);
}

#[tokio::test]
async fn a_size_that_is_not_true_is_found_out() {
    let (desk, from) = (Desk::new(), TestRegistry::start().await);
    let image = image(1, "app");
    from.seed("app", "image", &image).await;
    for (at, wrong) in [(0, 1_u64), (1, 1 << 40)] {
        let mut text: Value = serde_json::from_slice(image.manifest.bytes()).unwrap();
        let blob = if at == 0 { &mut text["config"] } else { &mut text["layers"][0] };
        blob["size"] = json!(wrong);
        let digest = blob["digest"].as_str().unwrap().to_owned();
        let lying = Manifest::parse(text.to_string().into(), None, None, "the test").unwrap();
        from.seed_manifest("app", "lying", &lying).await;
        let copy = format!("--tries 2 copy {}/app:lying", from.host());
        let to = TestRegistry::start().await;
        desk.run(&format!("{copy} {}/app:1", to.host())).await.exits(6).says(&[&digest]);
        assert_eq!(to.requests(Kind::ManifestPut), 0);
        let archive = desk.at("oci-archive", "a.tar");
        desk.run(&format!("{copy} {archive}:1")).await.exits(6).says(&[&digest]);
        assert!(!desk.path("a.tar").exists());
    }
}

#[tokio::test]
async fn a_registry_that_says_no_digest_is_good_enough() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(2, "app");
    registry.seed("app", "1", &image).await;
    registry.add(Toxic::new(Effect::OmitHeader(HeaderName::from_static("docker-content-digest"))));
    let host = registry.host();
    let copy = format!("copy {host}/app:1 {host}/b:1");
    for _ in 0..2 {
        assert_eq!(desk.ok(&copy).await.digest(), image.manifest.digest().to_string());
    }
    // A false one is not.
    registry.behave();
    let other = HeaderValue::from_str(&format!("sha256:{}", "0".repeat(64))).unwrap();
    let lie = Effect::SetHeader(HeaderName::from_static("docker-content-digest"), other);
    registry.add(Toxic::new(lie).on(Kind::ManifestGet));
    desk.run(&format!("retag {host}/app:1 :2")).await.exits(6).says(&["sha256:0000"]);
}
