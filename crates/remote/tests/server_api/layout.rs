//! The registry over an OCI layout directory.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RANGE};
use http::{Method, StatusCode};
use lazyblob_remote::digest::sha256;
use lazyblob_remote::server::{LayoutBackend, Memory};
use lazyblob_remote::testing::{Image, TestRegistry, check_backend};
use lazyblob_remote::{Error, media};
use serde_json::{Value, json};

use crate::support::{ask, codes, put, send};

async fn over(directory: &Path) -> TestRegistry {
    let backend = LayoutBackend::open(directory).await.unwrap();
    TestRegistry::builder().backend(Arc::new(backend)).in_memory("registry.test").await
}

fn index(directory: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(directory.join("index.json")).unwrap()).unwrap()
}

/// The names in index.json with the digests they stand for.
fn ref_names(directory: &Path) -> Vec<(String, String)> {
    let entries = index(directory)["manifests"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut names: Vec<_> = entries
        .iter()
        .map(|entry| {
            (text(&entry["annotations"]["org.opencontainers.image.ref.name"]), text(&entry["digest"]))
        })
        .collect();
    names.sort();
    names
}

fn ingests(directory: &Path) -> usize {
    std::fs::read_dir(directory.join(".ingest")).unwrap().count()
}

#[tokio::test]
async fn both_backends_keep_the_contract() {
    check_backend(&Memory::new()).await;
    let directory = tempfile::tempdir().unwrap();
    check_backend(&LayoutBackend::open(&directory.path().join("new/layout")).await.unwrap()).await;
    assert_eq!(ingests(&directory.path().join("new/layout")), 0);
}

#[tokio::test]
async fn what_was_pushed_is_a_layout_and_survives() {
    let directory = tempfile::tempdir().unwrap();
    let layer = Bytes::from((0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let registry = over(directory.path()).await;
    let image = registry.seed_image("team/app", "1", std::slice::from_ref(&layer)).await;
    let digest = image.manifest.digest().to_string();
    assert_eq!(ref_names(directory.path()), [("team/app:1".into(), digest.clone())]);
    assert_eq!(ingests(directory.path()), 0);
    let marker = std::fs::read(directory.path().join("oci-layout")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&marker).unwrap(), json!({"imageLayoutVersion": "1.0.0"}));
    let stored = directory.path().join("blobs/sha256").join(image.manifest.digest().digest());
    assert_eq!(std::fs::read(stored).unwrap(), image.manifest.bytes()[..]);

    drop(registry);
    let registry = over(directory.path()).await;
    assert_eq!(ask(&registry, Method::GET, "/v2/team/app/manifests/1").await.body, image.manifest.bytes());
    let target = format!("/v2/team/app/blobs/{}", sha256(&layer));
    assert_eq!(ask(&registry, Method::GET, &target).await.body, layer);
    let part = send(&registry, Method::GET, &target, &[(RANGE, "bytes=1000000-2999999")], Bytes::new()).await;
    assert_eq!((part.status, part.body), (StatusCode::PARTIAL_CONTENT, layer.slice(1_000_000..)));
    assert_eq!(ask(&registry, Method::GET, &target.replace("team/app", "other")).await.status, 404);
}

#[tokio::test]
async fn names_follow_tags() {
    let directory = tempfile::tempdir().unwrap();
    let registry = over(directory.path()).await;
    let old = registry.seed_image("a", "1", &[Bytes::from_static(b"old")]).await;
    let new = registry.seed_image("a", "1", &[Bytes::from_static(b"new")]).await;
    let (old, new) = (old.manifest.digest().to_string(), new.manifest.digest().to_string());
    let mut expected = vec![(format!("a@{old}"), old.clone()), ("a:1".into(), new.clone())];
    expected.sort();
    assert_eq!(ref_names(directory.path()), expected);
    assert_eq!(ask(&registry, Method::DELETE, "/v2/a/manifests/1").await.status, StatusCode::ACCEPTED);
    assert_eq!(ask(&registry, Method::DELETE, &format!("/v2/a/manifests/{old}")).await.status, 202);
    assert_eq!(ref_names(directory.path()), [(format!("a@{new}"), new.clone())]);
    let registry = over(directory.path()).await;
    assert_eq!(ask(&registry, Method::GET, &format!("/v2/a/manifests/{new}")).await.status, 200);
    assert_eq!(ask(&registry, Method::GET, &format!("/v2/a/manifests/{old}")).await.status, 404);
}

#[tokio::test]
async fn entries_of_others_stay_and_children_of_an_index_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let registry = over(directory.path()).await;
    let image = registry.seed_image("a", "1", &[Bytes::from_static(b"layer")]).await;
    let all = Image::index(&[&image.manifest], &["amd64"]);
    registry.seed_manifest("a", "all", &all).await;

    let mut others = index(directory.path());
    others["manifests"] = json!([
        {"mediaType": media::OCI_INDEX, "digest": all.digest(), "size": all.bytes().len(), "x-field": 1,
         "annotations": {"org.opencontainers.image.ref.name": "a:all"}},
        {"mediaType": media::OCI_MANIFEST, "digest": image.manifest.digest(), "size": 1, "data": "eA==",
         "annotations": {"org.opencontainers.image.ref.name": "latest"}},
        {"mediaType": media::OCI_MANIFEST, "digest": sha256(b"missing"), "size": 7,
         "annotations": {"org.opencontainers.image.ref.name": "a:broken"}},
    ]);
    others["annotations"] = json!({"kept": "yes"});
    std::fs::write(directory.path().join("index.json"), others.to_string()).unwrap();

    let registry = over(directory.path()).await;
    let child = format!("/v2/a/manifests/{}", image.manifest.digest());
    assert_eq!(ask(&registry, Method::GET, &child).await.status, StatusCode::OK);
    assert_eq!(ask(&registry, Method::GET, "/v2/a/manifests/broken").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        ask(&registry, Method::GET, "/v2/latest/manifests/latest").await.status,
        StatusCode::NOT_FOUND
    );

    registry.seed_manifest("a", "2", &image.manifest).await;
    let after = index(directory.path());
    for kept in others["manifests"].as_array().unwrap() {
        assert!(after["manifests"].as_array().unwrap().contains(kept), "{kept}");
    }
    assert_eq!(after["annotations"], json!({"kept": "yes"}));
    assert_eq!(after["manifests"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn uploads_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let registry = over(directory.path()).await;
    let opened = ask(&registry, Method::POST, "/v2/a/blobs/uploads/").await.header("location");
    let patched = send(&registry, Method::PATCH, &opened, &[], Bytes::from_static(b"half")).await;
    assert_eq!(ingests(directory.path()), 1);

    // Another process that opens the same directory must not take it for a leftover.
    LayoutBackend::open(directory.path()).await.unwrap();
    assert_eq!(ingests(directory.path()), 1);

    let wrong = format!("{}&digest={}", patched.header("location"), sha256(b"whole"));
    assert_eq!(codes(&put(&registry, &wrong, Bytes::new()).await), ["DIGEST_INVALID"]);
    assert_eq!(ingests(directory.path()), 0);

    let opened = ask(&registry, Method::POST, "/v2/a/blobs/uploads/").await.header("location");
    assert_eq!(ask(&registry, Method::DELETE, &opened).await.status, StatusCode::NO_CONTENT);
    ask(&registry, Method::POST, "/v2/a/blobs/uploads/").await;
    registry.close().await;
    assert_eq!(ingests(directory.path()), 0);

    std::fs::write(directory.path().join(".ingest/of-a-dead-process"), b"x").unwrap();
    std::fs::create_dir(directory.path().join(".ingest/of-a-copy-to-be-gone-on-with")).unwrap();
    LayoutBackend::open(directory.path()).await.unwrap();
    assert_eq!(ingests(directory.path()), 1, "the directory is somebody else's");
    assert!(!directory.path().join("blobs/sha256").join(sha256(b"half").digest()).exists());
}

#[tokio::test]
async fn naming_a_digest_of_another_repository_does_not_open_it_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let registry = over(directory.path()).await;
    registry.seed_image("private", "1", &[Bytes::from_static(b"secret")]).await;
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let thief = Image::with(&[Bytes::from_static(b"secret")], foreign, &json!({}));
    registry.seed_blob("public", thief.blobs[0].1.clone()).await;
    let put = async |registry: &TestRegistry, tag: &str| {
        let target = format!("/v2/public/manifests/{tag}");
        let typed = [(CONTENT_TYPE, media::OCI_MANIFEST)];
        send(registry, Method::PUT, &target, &typed, thief.manifest.bytes().clone()).await.status
    };
    assert_eq!(put(&registry, "1").await, StatusCode::CREATED);
    let secret = format!("/v2/public/blobs/{}", sha256(b"secret"));
    assert_eq!(ask(&registry, Method::GET, &secret).await.status, StatusCode::NOT_FOUND);

    let registry = over(directory.path()).await;
    assert_eq!(ask(&registry, Method::GET, "/v2/public/manifests/1").await.status, StatusCode::OK);
    assert_eq!(ask(&registry, Method::GET, &secret).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&registry, Method::HEAD, &secret).await.status, StatusCode::NOT_FOUND);

    // Who has the bytes may upload them, and then they stay.
    registry.seed_blob("public", &b"secret"[..]).await;
    assert_eq!(put(&registry, "2").await, StatusCode::CREATED);
    let registry = over(directory.path()).await;
    assert_eq!(ask(&registry, Method::GET, &secret).await.status, StatusCode::OK);
}

#[tokio::test]
async fn sha512_blobs_are_stored_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let registry = over(directory.path()).await;
    let mut hasher = lazyblob_remote::digest::Hasher::new(&"sha512".into()).unwrap();
    hasher.update(b"long");
    let digest = hasher.finish();
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(send(&registry, Method::POST, &target, &[], Bytes::from_static(b"long")).await.status, 201);
    assert_eq!(send(&registry, Method::POST, &target, &[], Bytes::from_static(b"other")).await.status, 400);
    let stored = directory.path().join("blobs/sha512").join(digest.trim_start_matches("sha512:"));
    assert_eq!(std::fs::read(stored).unwrap(), b"long");
}

#[tokio::test]
async fn tags_pushed_at_once_all_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let registry = over(directory.path()).await;
    let image = registry.seed_image("a", "0", &[Bytes::from_static(b"layer")]).await;
    let puts = (1..40).map(|n| {
        let (registry, bytes) = (&registry, image.manifest.bytes().clone());
        async move {
            let target = format!("/v2/a/manifests/{n}");
            send(registry, Method::PUT, &target, &[(CONTENT_TYPE, media::OCI_MANIFEST)], bytes).await.status
        }
    });
    assert!(futures::future::join_all(puts).await.iter().all(|status| *status == StatusCode::CREATED));
    assert_eq!(ref_names(directory.path()).len(), 40);
    let tags = ask(&registry, Method::GET, "/v2/a/tags/list").await.json();
    assert_eq!(tags["tags"].as_array().unwrap().len(), 40);
}

#[tokio::test]
async fn directories_that_are_no_layout_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("letter.txt"), b"dear").unwrap();
    let error = LayoutBackend::open(directory.path()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing was made");

    std::fs::write(directory.path().join("oci-layout"), br#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    let error = LayoutBackend::open(directory.path()).await.unwrap_err();
    assert!(error.to_string().contains("2.0.0"), "{error}");
}
