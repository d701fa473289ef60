//! The registry's answers to pushes and pulls, in memory.

use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{Method, StatusCode};
use lazyblob_remote::digest::sha256;
use lazyblob_remote::media;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Image, TestRegistry};

use crate::support::{self, Reply, ask, codes, put, send};

const HOST: &str = "registry.test";

async fn registry() -> TestRegistry {
    TestRegistry::in_memory(HOST).await
}

/// Opens an upload and returns its Location.
async fn open(registry: &TestRegistry, repository: &str) -> String {
    let opened = ask(registry, Method::POST, &format!("/v2/{repository}/blobs/uploads/")).await;
    assert_eq!(opened.status, StatusCode::ACCEPTED);
    opened.header(LOCATION)
}

async fn head(registry: &TestRegistry, repository: &str, blob: &[u8]) -> StatusCode {
    ask(registry, Method::HEAD, &format!("/v2/{repository}/blobs/{}", sha256(blob))).await.status
}

#[tokio::test]
async fn base_answers() {
    let registry = registry().await;
    assert_eq!(ask(&registry, Method::GET, "/v2/").await.status, StatusCode::OK);
    assert_eq!(ask(&registry, Method::GET, "/v1/").await.status, StatusCode::NOT_FOUND);
    assert_eq!(registry.requests(Kind::Other), 2);
}

#[tokio::test]
async fn a_blob_streamed_by_one_patch() {
    let registry = registry().await;
    let blob = Bytes::from(vec![7; 200_000]);
    let first = open(&registry, "a").await;
    let patched = send(&registry, Method::PATCH, &first, &[], blob.clone()).await;
    assert_eq!(patched.status, StatusCode::ACCEPTED);
    assert_eq!(patched.header(RANGE), "0-199999");
    assert_eq!(head(&registry, "a", &blob).await, StatusCode::NOT_FOUND, "nothing is visible before the end");

    let last = patched.header(LOCATION);
    assert_ne!(last, first);
    let stale = put(&registry, &format!("{first}&digest={}", sha256(&blob)), Bytes::new()).await;
    assert_eq!(
        (stale.status, codes(&stale)),
        (StatusCode::NOT_FOUND, vec!["BLOB_UPLOAD_UNKNOWN".to_owned()])
    );

    let done = put(&registry, &format!("{last}&digest={}", sha256(&blob)), Bytes::new()).await;
    assert_eq!(done.status, StatusCode::CREATED);
    assert_eq!(done.header(LOCATION), format!("/v2/a/blobs/{}", sha256(&blob)));
    assert_eq!(head(&registry, "a", &blob).await, StatusCode::OK);
    assert_eq!(registry.traffic().bytes_in(), 200_000);
    assert_eq!(registry.requests(Kind::Upload), 4);
}

#[tokio::test]
async fn a_blob_in_one_put_and_in_one_post() {
    let registry = registry().await;
    let blob = Bytes::from_static(b"in one put");
    let location = open(&registry, "a").await;
    let done = put(&registry, &format!("{location}&digest={}", sha256(&blob)), blob.clone()).await;
    assert_eq!(done.status, StatusCode::CREATED);

    let other = Bytes::from_static(b"in one post");
    let target = format!("/v2/a/blobs/uploads/?digest={}", sha256(&other));
    assert_eq!(send(&registry, Method::POST, &target, &[], other.clone()).await.status, StatusCode::CREATED);
    assert_eq!(head(&registry, "a", &blob).await, StatusCode::OK);
    assert_eq!(head(&registry, "a", &other).await, StatusCode::OK);
    assert_eq!(head(&registry, "b", &other).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_wrong_digest_stores_nothing() {
    let registry = registry().await;
    let location = open(&registry, "a").await;
    let wrong = sha256(b"promised");
    let done = put(&registry, &format!("{location}&digest={wrong}"), Bytes::from_static(b"sent")).await;
    assert_eq!((done.status, codes(&done)), (StatusCode::BAD_REQUEST, vec!["DIGEST_INVALID".to_owned()]));
    for blob in [&b"promised"[..], b"sent"] {
        assert_eq!(head(&registry, "a", blob).await, StatusCode::NOT_FOUND);
    }
    let again = put(&registry, &format!("{location}&digest={}", sha256(b"")), Bytes::new()).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND, "the session has ended");
}

async fn chunk(registry: &TestRegistry, location: &str, range: &str, bytes: &'static [u8]) -> Reply {
    send(registry, Method::PATCH, location, &[(CONTENT_RANGE, range)], Bytes::from_static(bytes)).await
}

#[tokio::test]
async fn chunks_come_in_order() {
    let registry = registry().await;
    let location = open(&registry, "a").await;
    let first = chunk(&registry, &location, "0-3", b"0123").await;
    assert_eq!((first.status, first.header(RANGE)), (StatusCode::ACCEPTED, "0-3".to_owned()));

    for (range, bytes) in [("0-3", &b"0123"[..]), ("8-9", b"89"), ("nonsense", b"x")] {
        let refused = chunk(&registry, &first.header(LOCATION), range, bytes).await;
        assert_eq!(refused.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(refused.header(RANGE), "0-3");
    }
    let lying = chunk(&registry, &first.header(LOCATION), "4-9", b"45").await;
    assert_eq!(codes(&lying), ["SIZE_INVALID"]);

    let status = ask(&registry, Method::GET, &location).await;
    assert_eq!((status.status, status.header(RANGE)), (StatusCode::NO_CONTENT, "0-3".to_owned()));
    let second = chunk(&registry, &status.header(LOCATION), "4-7", b"4567").await;
    assert_eq!(second.status, StatusCode::ACCEPTED);
    let target = format!("{}&digest={}", second.header(LOCATION), sha256(b"0123456789"));
    let last =
        send(&registry, Method::PUT, &target, &[(CONTENT_RANGE, "8-9")], Bytes::from_static(b"89")).await;
    assert_eq!(last.status, StatusCode::CREATED);
    assert_eq!(head(&registry, "a", b"0123456789").await, StatusCode::OK);
}

#[tokio::test]
async fn what_came_before_a_break_stays() {
    let registry = registry().await;
    let location = open(&registry, "a").await;
    let pieces = vec![Ok(Bytes::from_static(b"0123")), Err("cable cut")];
    let body = lazyblob_remote::body::streaming(futures::stream::iter(pieces), None);
    assert_eq!(support::send_body(&registry, Method::PATCH, &location, &[], body).await.status, 400);
    let status = ask(&registry, Method::GET, &location).await;
    assert_eq!(status.header(RANGE), "0-3");
    let target = format!("{}&digest={}", status.header(LOCATION), sha256(b"01234567"));
    assert_eq!(put(&registry, &target, Bytes::from_static(b"4567")).await.status, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_connection_does_not_keep_its_session() {
    let registry = registry().await;
    let location = open(&registry, "a").await;
    let pieces = futures::stream::iter([Ok::<_, &str>(Bytes::from_static(b"0123"))]);
    let stuck = lazyblob_remote::body::streaming(pieces.chain(futures::stream::pending()), None);
    let stuck = support::send_body(&registry, Method::PATCH, &location, &[], stuck);
    let again = async {
        // Asking ends nothing.
        assert_eq!(ask(&registry, Method::GET, &location).await.header(LOCATION), location);
        let early = chunk(&registry, &location, "0-3", b"0123").await;
        assert_eq!(
            (early.status, early.header(RANGE)),
            (StatusCode::RANGE_NOT_SATISFIABLE, "0-3".to_owned())
        );
        chunk(&registry, &early.header(LOCATION), "4-7", b"4567").await
    };
    let (stuck, again) = tokio::join!(stuck, again);
    assert_eq!((stuck.status, again.status), (StatusCode::BAD_REQUEST, StatusCode::ACCEPTED));
    assert_eq!(again.header(RANGE), "0-7");
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let registry = registry().await;
    let location = open(&registry, "a").await;
    let elsewhere = location.replace("/v2/a/", "/v2/b/");
    assert_eq!(ask(&registry, Method::GET, &elsewhere).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&registry, Method::DELETE, &location).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(&registry, Method::GET, &location).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&registry, Method::DELETE, &location).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn forgotten_sessions_end() {
    let registry = registry().await;
    let old = open(&registry, "a").await;
    tokio::time::advance(std::time::Duration::from_secs(3601)).await;
    let new = open(&registry, "a").await;
    assert_eq!(ask(&registry, Method::GET, &old).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&registry, Method::GET, &new).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn sha512_blobs_and_unknown_algorithms() {
    let registry = registry().await;
    let mut hasher = lazyblob_remote::digest::Hasher::new(&"sha512".into()).unwrap();
    hasher.update(b"long");
    let digest = hasher.finish();
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(send(&registry, Method::POST, &target, &[], Bytes::from_static(b"long")).await.status, 201);
    assert_eq!(ask(&registry, Method::HEAD, &format!("/v2/a/blobs/{digest}")).await.status, 200);
    let target = "/v2/a/blobs/uploads/?digest=blake3:00";
    let refused = send(&registry, Method::POST, target, &[], Bytes::from_static(b"x")).await;
    assert_eq!(codes(&refused), ["DIGEST_INVALID"]);
}

#[tokio::test]
async fn ranges_of_a_blob() {
    let registry = registry().await;
    let image = registry.seed_image("a", "1", &[Bytes::from_static(b"0123456789")]).await;
    let target = format!("/v2/a/blobs/{}", image.blobs[1].0.digest());
    let get =
        async |range: &str| send(&registry, Method::GET, &target, &[(RANGE, range)], Bytes::new()).await;
    let part = get("bytes=4-6").await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &b"456"[..]));
    assert_eq!(part.header(CONTENT_RANGE), "bytes 4-6/10");
    let tail = get("bytes=7-").await;
    assert_eq!((tail.header(CONTENT_RANGE), &tail.body[..]), ("bytes 7-9/10".to_owned(), &b"789"[..]));
    let beyond = get("bytes=10-").await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.header(CONTENT_RANGE), "bytes */10");
    let several = get("bytes=0-1,3-4").await;
    assert_eq!((several.status, several.body.len()), (StatusCode::OK, 10));
    assert_eq!(registry.traffic().bytes_out(), 3 + 3 + 10);
}

#[tokio::test]
async fn a_manifest_by_tag_and_by_digest() {
    let registry = registry().await;
    let image = Image::of(&[Bytes::from_static(b"layer")]);
    for (_, blob) in &image.blobs {
        registry.seed_blob("a", blob.clone()).await;
    }
    let bytes = image.manifest.bytes().clone();
    let typed = [(CONTENT_TYPE, media::OCI_MANIFEST)];
    let put = send(&registry, Method::PUT, "/v2/a/manifests/v1", &typed, bytes.clone()).await;
    assert_eq!(put.status, StatusCode::CREATED);
    let digest = image.manifest.digest();
    assert_eq!(put.header(LOCATION), format!("/v2/a/manifests/{digest}"));
    for name in ["v1", digest.as_ref()] {
        let got = ask(&registry, Method::GET, &format!("/v2/a/manifests/{name}")).await;
        assert_eq!((got.status, &got.body), (StatusCode::OK, &bytes));
        assert_eq!(got.header(CONTENT_TYPE), media::OCI_MANIFEST);
        assert_eq!(got.header("docker-content-digest"), digest.to_string());
        let head = ask(&registry, Method::HEAD, &format!("/v2/a/manifests/{name}")).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.header("content-length"), bytes.len().to_string());
    }
    for name in ["v2", sha256(b"other").as_ref()] {
        let missing = ask(&registry, Method::GET, &format!("/v2/a/manifests/{name}")).await;
        assert_eq!(codes(&missing), ["MANIFEST_UNKNOWN"]);
    }
    assert_eq!(codes(&ask(&registry, Method::GET, "/v2/b/manifests/v1").await), ["NAME_UNKNOWN"]);
}

#[tokio::test]
async fn manifests_that_are_refused() {
    let registry = registry().await;
    let image = registry.seed_image("a", "1", &[Bytes::from_static(b"layer")]).await;
    let typed = [(CONTENT_TYPE, media::OCI_MANIFEST)];
    let cases = [
        (
            format!("/v2/a/manifests/{}", sha256(b"other")),
            image.manifest.bytes().clone(),
            "DIGEST_INVALID",
            400,
        ),
        ("/v2/a/manifests/x".into(), Bytes::from_static(b"{"), "MANIFEST_INVALID", 400),
        ("/v2/a/manifests/-x".into(), image.manifest.bytes().clone(), "MANIFEST_INVALID", 400),
        ("/v2/A/manifests/x".into(), image.manifest.bytes().clone(), "NAME_INVALID", 400),
        ("/v2/a/manifests/x".into(), Bytes::from(vec![b' '; 8 * 1024 * 1024]), "SIZE_INVALID", 413),
    ];
    for (target, bytes, code, status) in cases {
        let refused = send(&registry, Method::PUT, &target, &typed, bytes).await;
        assert_eq!((codes(&refused), refused.status.as_u16()), (vec![code.to_owned()], status), "{target}");
    }
    let mut large = image.manifest.bytes().to_vec();
    large.resize(4 * 1024 * 1024, b' ');
    assert_eq!(send(&registry, Method::PUT, "/v2/a/manifests/x", &typed, large.into()).await.status, 201);
    let typed = [(CONTENT_TYPE, media::OCI_INDEX)];
    let contradicts =
        send(&registry, Method::PUT, "/v2/a/manifests/y", &typed, image.manifest.bytes().clone()).await;
    assert_eq!(codes(&contradicts), ["MANIFEST_INVALID"]);
}
