//! What a repository has: mounts, visibility, tags, referrers, deleting.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK, LOCATION};
use http::{Method, StatusCode};
use lazyblob_remote::digest::sha256;
use lazyblob_remote::media;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Image, TestRegistry};
use serde_json::json;

use crate::support::{Reply, ask, codes, details, put, send};

const HOST: &str = "registry.test";

async fn mount(registry: &TestRegistry, digest: impl std::fmt::Display, from: &str, to: &str) -> Reply {
    ask(registry, Method::POST, &format!("/v2/{to}/blobs/uploads/?mount={digest}&from={from}")).await
}

async fn blob(registry: &TestRegistry, method: Method, repository: &str, bytes: &[u8]) -> StatusCode {
    ask(registry, method, &format!("/v2/{repository}/blobs/{}", sha256(bytes))).await.status
}

async fn put_manifest(registry: &TestRegistry, target: &str, media_type: &str, bytes: &Bytes) -> Reply {
    send(registry, Method::PUT, target, &[(CONTENT_TYPE, media_type)], bytes.clone()).await
}

#[tokio::test]
async fn a_mount_makes_a_blob_present_and_a_manifest_makes_it_served() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &[Bytes::from_static(b"layer")]).await;
    assert_eq!(blob(&registry, Method::GET, "a", b"layer").await, StatusCode::OK);
    assert_eq!(blob(&registry, Method::HEAD, "b", b"layer").await, StatusCode::NOT_FOUND);
    for (descriptor, _) in &image.blobs {
        let mounted = mount(&registry, descriptor.digest(), "a", "b").await;
        assert_eq!(mounted.status, StatusCode::CREATED);
        assert_eq!(mounted.header(LOCATION), format!("/v2/b/blobs/{}", descriptor.digest()));
    }
    assert_eq!(blob(&registry, Method::HEAD, "b", b"layer").await, StatusCode::OK);
    assert_eq!(
        blob(&registry, Method::GET, "b", b"layer").await,
        StatusCode::NOT_FOUND,
        "no manifest names it"
    );
    assert_eq!(mount(&registry, sha256(b"layer"), "b", "c").await.status, StatusCode::CREATED);

    let target = "/v2/b/manifests/1";
    let done = put_manifest(&registry, target, media::OCI_MANIFEST, image.manifest.bytes()).await;
    assert_eq!(done.status, StatusCode::CREATED);
    assert_eq!(blob(&registry, Method::GET, "b", b"layer").await, StatusCode::OK);
    assert_eq!(blob(&registry, Method::GET, "c", b"layer").await, StatusCode::NOT_FOUND);
    assert_eq!(registry.requests(Kind::Mount), 3);
    assert_eq!(registry.traffic().bytes_in(), 0);
}

#[tokio::test]
async fn a_mount_from_where_the_blob_is_not_visible_opens_a_session() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.seed_image("a", "1", &[Bytes::from_static(b"layer")]).await;
    let digest = sha256(b"layer").to_string();
    for (digest, from) in [(digest.as_str(), "other"), (sha256(b"unknown").as_ref(), "a"), ("nonsense", "a")]
    {
        let refused = mount(&registry, digest, from, "b").await;
        assert_eq!(refused.status, StatusCode::ACCEPTED, "{digest} from {from}");
        assert_eq!(blob(&registry, Method::HEAD, "b", b"layer").await, StatusCode::NOT_FOUND);
    }
    let anonymous = ask(&registry, Method::POST, &format!("/v2/b/blobs/uploads/?mount={digest}")).await;
    assert_eq!(anonymous.status, StatusCode::ACCEPTED);
    let target = format!("{}&digest={digest}", anonymous.header(LOCATION));
    assert_eq!(put(&registry, &target, Bytes::from_static(b"layer")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn unnamed_blobs_are_served_where_the_setting_says_so() {
    let registry = TestRegistry::builder().settings(|s| s.serve_unnamed = true).in_memory(HOST).await;
    registry.seed_blob("a", &b"layer"[..]).await;
    assert_eq!(blob(&registry, Method::GET, "a", b"layer").await, StatusCode::OK);
    assert_eq!(blob(&registry, Method::GET, "b", b"layer").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_manifest_needs_its_children_in_this_repository() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &[Bytes::from_static(b"layer")]).await;
    let target = "/v2/b/manifests/1";
    let refused = put_manifest(&registry, target, media::OCI_MANIFEST, image.manifest.bytes()).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert_eq!(codes(&refused), ["MANIFEST_BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"]);
    let missing: Vec<_> = image.blobs.iter().map(|(blob, _)| blob.digest().to_string()).collect();
    assert_eq!(details(&refused), missing);

    let index = Image::index(&[&image.manifest], &["amd64"]);
    let refused = put_manifest(&registry, target, media::OCI_INDEX, index.bytes()).await;
    assert_eq!(details(&refused), [image.manifest.digest().to_string()]);
    let accepted = put_manifest(&registry, "/v2/a/manifests/all", media::OCI_INDEX, index.bytes()).await;
    assert_eq!(accepted.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_index_of_layers_is_accepted_and_names_them() {
    let registry = TestRegistry::in_memory(HOST).await;
    let layer = Bytes::from_static(b"layer");
    let config = Bytes::from_static(b"{\"layers\":[],\"records\":[]}");
    let entry =
        |kind: &str, bytes: &Bytes| json!({"mediaType": kind, "digest": sha256(bytes), "size": bytes.len()});
    let cache = json!({
        "schemaVersion": 2, "mediaType": media::OCI_INDEX,
        "manifests": [entry(media::OCI_LAYER_GZIP, &layer), entry(media::BUILDKIT_CACHE, &config)],
    });
    let cache = Bytes::from(cache.to_string());
    let target = "/v2/a/manifests/cache";
    let refused = put_manifest(&registry, target, media::OCI_INDEX, &cache).await;
    assert_eq!(details(&refused), [sha256(&layer).to_string(), sha256(&config).to_string()]);
    registry.seed_blob("a", layer).await;
    registry.seed_blob("a", config).await;
    assert_eq!(put_manifest(&registry, target, media::OCI_INDEX, &cache).await.status, StatusCode::CREATED);
    assert_eq!(blob(&registry, Method::GET, "a", b"layer").await, StatusCode::OK);
}

#[tokio::test]
async fn foreign_layers_and_subjects_may_be_absent() {
    let registry = TestRegistry::in_memory(HOST).await;
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let absent = json!({"mediaType": media::OCI_MANIFEST, "digest": sha256(b"absent"), "size": 6});
    let image = Image::with(&[Bytes::from_static(b"windows")], foreign, &json!({ "subject": absent }));
    registry.seed_blob("a", image.blobs[0].1.clone()).await;
    let done =
        put_manifest(&registry, "/v2/a/manifests/1", media::OCI_MANIFEST, image.manifest.bytes()).await;
    assert_eq!(done.status, StatusCode::CREATED);
    assert_eq!(done.header("oci-subject"), sha256(b"absent").to_string());
}

#[tokio::test]
async fn tags_come_in_pages() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "b", &[Bytes::from_static(b"layer")]).await;
    for tag in ["C", "a", "d", "c"] {
        registry.seed_manifest("a", tag, &image.manifest).await;
    }
    let all = ask(&registry, Method::GET, "/v2/a/tags/list").await;
    assert_eq!(all.json(), json!({"name": "a", "tags": ["C", "a", "b", "c", "d"]}));
    assert_eq!(all.header(LINK), "");
    let first = ask(&registry, Method::GET, "/v2/a/tags/list?n=2").await;
    assert_eq!(first.json()["tags"], json!(["C", "a"]));
    assert_eq!(first.header(LINK), "</v2/a/tags/list?n=2&last=a>; rel=\"next\"");
    let last = ask(&registry, Method::GET, "/v2/a/tags/list?n=3&last=a").await;
    assert_eq!((last.json()["tags"].clone(), last.header(LINK)), (json!(["b", "c", "d"]), String::new()));
    let none = ask(&registry, Method::GET, "/v2/a/tags/list?n=0").await;
    assert_eq!((none.json()["tags"].clone(), none.header(LINK)), (json!([]), String::new()));
    assert_eq!(ask(&registry, Method::GET, "/v2/a/tags/list?n=x").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(codes(&ask(&registry, Method::GET, "/v2/b/tags/list").await), ["NAME_UNKNOWN"]);
}

/// A signature of `subject`; its digest differs with `n`.
fn signature(subject: &Image, kind: &str, n: u32) -> Image {
    let fields = json!({
        "subject": subject.manifest.descriptor(), "artifactType": kind, "annotations": {"n": n.to_string()},
    });
    Image::with(&[Bytes::from_static(b"{}")], media::OCI_EMPTY, &fields)
}

#[tokio::test]
async fn referrers_are_listed_filtered_and_paged() {
    let registry = TestRegistry::builder().settings(|s| s.page = Some(2)).in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &[Bytes::from_static(b"layer")]).await;
    for (kind, n) in [("application/x.sig", 1), ("application/x.sig", 2), ("application/x.sbom", 3)] {
        let signature = signature(&image, kind, n);
        registry.seed("a", signature.manifest.digest().as_ref(), &signature).await;
    }
    let target = format!("/v2/a/referrers/{}", image.manifest.digest());
    let first = ask(&registry, Method::GET, &target).await;
    assert_eq!(first.header(CONTENT_TYPE), media::OCI_INDEX);
    assert_eq!(first.json()["manifests"].as_array().unwrap().len(), 2);
    let next = first.header(LINK);
    let next = next.trim_start_matches('<').split('>').next().unwrap();
    let second = ask(&registry, Method::GET, next).await;
    assert_eq!(second.json()["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(second.header(LINK), "");

    let filtered = ask(&registry, Method::GET, &format!("{target}?artifactType=application/x.sbom")).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let sbom = signature(&image, "application/x.sbom", 3);
    let entry = &filtered.json()["manifests"][0];
    assert_eq!(entry["digest"], json!(sbom.manifest.digest()));
    assert_eq!(entry["artifactType"], "application/x.sbom");
    assert_eq!(entry["annotations"], json!({"n": "3"}));

    let target = format!("/v2/a/manifests/{}", sbom.manifest.digest());
    assert_eq!(ask(&registry, Method::DELETE, &target).await.status, StatusCode::ACCEPTED);
    let filtered = format!("/v2/a/referrers/{}?artifactType=application/x.sbom", image.manifest.digest());
    assert_eq!(ask(&registry, Method::GET, &filtered).await.json()["manifests"], json!([]));
    let unknown = ask(&registry, Method::GET, &format!("/v2/none/referrers/{}", sha256(b"x"))).await;
    assert_eq!((unknown.status, unknown.json()["manifests"].clone()), (StatusCode::OK, json!([])));
}

#[tokio::test]
async fn without_referrers_the_api_is_absent_and_subjects_are_not_acknowledged() {
    let registry = TestRegistry::builder().settings(|s| s.referrers = false).in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &[Bytes::from_static(b"layer")]).await;
    let signature = signature(&image, "application/x.sig", 1);
    for (_, blob) in &signature.blobs {
        registry.seed_blob("a", blob.clone()).await;
    }
    let target = format!("/v2/a/manifests/{}", signature.manifest.digest());
    let done = put_manifest(&registry, &target, media::OCI_MANIFEST, signature.manifest.bytes()).await;
    assert_eq!((done.status, done.header("oci-subject")), (StatusCode::CREATED, String::new()));
    let target = format!("/v2/a/referrers/{}", image.manifest.digest());
    assert_eq!(ask(&registry, Method::GET, &target).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn deleting_a_tag_a_manifest_and_a_blob() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &[Bytes::from_static(b"layer")]).await;
    registry.seed_manifest("a", "2", &image.manifest).await;
    let by_digest = format!("/v2/a/manifests/{}", image.manifest.digest());

    assert_eq!(ask(&registry, Method::DELETE, "/v2/a/manifests/1").await.status, StatusCode::ACCEPTED);
    assert_eq!(ask(&registry, Method::DELETE, "/v2/a/manifests/1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&registry, Method::GET, &by_digest).await.status, StatusCode::OK);
    assert_eq!(ask(&registry, Method::GET, "/v2/a/manifests/2").await.status, StatusCode::OK);

    assert_eq!(ask(&registry, Method::DELETE, &by_digest).await.status, StatusCode::ACCEPTED);
    assert_eq!(ask(&registry, Method::GET, "/v2/a/manifests/2").await.status, StatusCode::NOT_FOUND);
    assert_eq!(blob(&registry, Method::GET, "a", b"layer").await, StatusCode::NOT_FOUND, "nothing names it");
    assert_eq!(blob(&registry, Method::HEAD, "a", b"layer").await, StatusCode::OK);
    assert_eq!(blob(&registry, Method::DELETE, "a", b"layer").await, StatusCode::ACCEPTED);
    assert_eq!(blob(&registry, Method::HEAD, "a", b"layer").await, StatusCode::NOT_FOUND);
    assert_eq!(registry.requests(Kind::Delete), 4);

    let closed = TestRegistry::builder().settings(|s| s.delete = false).in_memory(HOST).await;
    closed.seed_image("a", "1", &[]).await;
    let refused = ask(&closed, Method::DELETE, "/v2/a/manifests/1").await;
    assert_eq!(
        (refused.status, codes(&refused)),
        (StatusCode::METHOD_NOT_ALLOWED, vec!["UNSUPPORTED".into()])
    );
}
