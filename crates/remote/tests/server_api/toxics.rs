//! Each toxic does what it says, and nothing else.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_RANGE, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use lazyblob_remote::body;
use lazyblob_remote::digest::sha256;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, Expiry, RetryAfter, TestRegistry, Toxic};
use lazyblob_remote::transport::{Phase, Route, Transport};

use crate::support::{Reply, ask, codes, put, send, try_send};

const LAYER: &[u8] = b"0123456789";

async fn sick(toxic: Toxic) -> TestRegistry {
    let registry = TestRegistry::builder().toxic(toxic).in_memory("r.test").await;
    registry.seed_image("a", "1", &[Bytes::from_static(LAYER)]).await;
    registry
}

fn layer() -> String {
    format!("/v2/a/blobs/{}", sha256(LAYER))
}

async fn get(registry: &TestRegistry, target: &str) -> Reply {
    ask(registry, Method::GET, target).await
}

/// Sends to an absolute address over the memory transport.
async fn fetch(
    registry: &TestRegistry,
    method: Method,
    uri: &str,
    authorized: bool,
    bytes: &'static [u8],
) -> Reply {
    let mut request = Request::builder().method(method).uri(uri);
    if authorized {
        request = request.header(AUTHORIZATION, "Bearer secret");
    }
    let request = request.body(body::full(bytes)).unwrap();
    let (parts, body) = registry.transport().send(request, &Route::default()).await.unwrap().into_parts();
    Reply { status: parts.status, headers: parts.headers, body: body::collect(body, u64::MAX).await.unwrap() }
}

#[tokio::test]
async fn too_many_requests() {
    let registry = sick(Toxic::too_many_requests(Some(7)).on(Kind::ManifestGet).times(1)).await;
    let refused = get(&registry, "/v2/a/manifests/1").await;
    assert_eq!((refused.status.as_u16(), refused.header(RETRY_AFTER)), (429, "7".to_owned()));
    assert_eq!(codes(&refused), ["TOOMANYREQUESTS"]);
    assert_eq!(get(&registry, "/v2/a/manifests/1").await.status, StatusCode::OK);
    assert_eq!(registry.requests(Kind::ManifestGet), 2);

    let date = Effect::TooManyRequests { retry_after: Some(RetryAfter::Date(60)), document: false };
    let refused = get(&sick(Toxic::new(date)).await, "/v2/").await;
    let until = httpdate::parse_http_date(&refused.header(RETRY_AFTER)).unwrap();
    let wait = until.duration_since(SystemTime::now()).unwrap();
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
    assert!(refused.body.is_empty());

    let silent = sick(Toxic::too_many_requests(None)).await;
    assert_eq!(get(&silent, "/v2/").await.header(RETRY_AFTER), "");
}

#[tokio::test]
async fn made_up_answers() {
    let registry = sick(Toxic::status(405).on(Kind::ManifestHead)).await;
    assert_eq!(ask(&registry, Method::HEAD, "/v2/a/manifests/1").await.status, 405);
    assert_eq!(get(&registry, "/v2/a/manifests/1").await.status, StatusCode::OK);
    let warning = (HeaderName::from_static("warning"), HeaderValue::from_static("299 - \"tired\""));
    registry.add(Toxic::new(Effect::Answer {
        status: StatusCode::BAD_GATEWAY,
        headers: vec![warning],
        body: Bytes::from_static(b"<html>"),
    }));
    let answer = get(&registry, "/v2/").await;
    assert_eq!((answer.status.as_u16(), answer.header("warning")), (502, "299 - \"tired\"".to_owned()));
    registry.behave();
    assert_eq!(get(&registry, "/v2/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn dropped_connections() {
    let registry = sick(Toxic::new(Effect::Drop).on(Kind::Upload).times(1)).await;
    let post = async || try_send(&registry, Method::POST, "/v2/a/blobs/uploads/").await;
    assert!(post().await.is_err());
    assert!(post().await.is_ok());
    let request = Request::get("https://r.test/v2/").body(body::empty()).unwrap();
    registry.add(Toxic::new(Effect::Drop).on(Kind::Other));
    let error = registry.transport().send(request, &Route::default()).await.unwrap_err();
    assert_eq!(error.phase, Phase::Exchange);
    assert_eq!(registry.lines()[0], "POST /v2/a/blobs/uploads/ dropped");

    let registry = sick(Toxic::new(Effect::DropAnswer).on(Kind::Delete)).await;
    assert!(try_send(&registry, Method::DELETE, "/v2/a/manifests/1").await.is_err());
    assert_eq!(get(&registry, "/v2/a/manifests/1").await.status, 404, "it was done all the same");
}

#[tokio::test(start_paused = true)]
async fn waiting() {
    let registry = sick(Toxic::new(Effect::Hang).on(Kind::BlobHead)).await;
    let hanging = ask(&registry, Method::HEAD, "/v2/a/blobs/sha256:00");
    assert!(tokio::time::timeout(Duration::from_secs(3600), hanging).await.is_err());

    let registry = sick(Toxic::new(Effect::Delay(Duration::from_secs(5))).on(Kind::ManifestGet)).await;
    let start = tokio::time::Instant::now();
    get(&registry, "/v2/a/manifests/1").await;
    assert_eq!(start.elapsed(), Duration::from_secs(5));

    let slow = Effect::Slow { piece: 4, pause: Duration::from_secs(1) };
    let registry = sick(Toxic::new(slow).on(Kind::BlobGet)).await;
    let start = tokio::time::Instant::now();
    assert_eq!(get(&registry, &layer()).await.body, LAYER);
    assert_eq!(start.elapsed(), Duration::from_secs(3));

    let slow = Effect::SlowRequest { piece: 2, pause: Duration::from_secs(1) };
    let registry = sick(Toxic::new(slow).on(Kind::Upload)).await;
    let start = tokio::time::Instant::now();
    let target = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"abc"));
    assert_eq!(send(&registry, Method::POST, &target, &[], Bytes::from_static(b"abc")).await.status, 201);
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn bodies_that_break_or_lie() {
    let registry = sick(Toxic::new(Effect::CutBody(4)).on(Kind::BlobGet).path(sha256(LAYER).as_ref())).await;
    let request = Request::get(format!("https://r.test{}", layer())).body(body::empty()).unwrap();
    let response = registry.transport().send(request, &Route::default()).await.unwrap();
    assert_eq!(response.headers()["content-length"], "10");
    let mut chunks = std::pin::pin!(body::chunks(response.into_body()));
    use futures::StreamExt as _;
    assert_eq!(chunks.next().await.unwrap().unwrap(), "0123");
    assert!(chunks.next().await.unwrap().is_err());
    assert!(chunks.next().await.is_none());
    assert_eq!(get(&registry, "/v2/a/manifests/1").await.status, StatusCode::OK);

    let registry = sick(Toxic::new(Effect::Corrupt(9)).on(Kind::BlobGet).on(Kind::ManifestGet)).await;
    assert_eq!(get(&registry, &layer()).await.body, &b"0123456788"[..]);
    let manifest = get(&registry, "/v2/a/manifests/1").await;
    assert_ne!(sha256(&manifest.body).to_string(), manifest.header("docker-content-digest"));
}

#[tokio::test]
async fn an_upload_that_breaks_keeps_what_came() {
    let registry = sick(Toxic::new(Effect::CutRequest(4)).on(Kind::Upload).path("_state").times(1)).await;
    let location = ask(&registry, Method::POST, "/v2/a/blobs/uploads/").await.header(LOCATION);
    let request = Request::patch(&location).body(body::full(LAYER)).unwrap();
    assert!(registry.service().call(request).await.is_err());
    let status = get(&registry, &location).await;
    assert_eq!(status.header(RANGE), "0-3");
    let target = format!("{}&digest={}", status.header(LOCATION), sha256(LAYER));
    assert_eq!(put(&registry, &target, Bytes::from_static(b"456789")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn caps_and_refused_mounts() {
    let registry = sick(Toxic::chunk_cap(4)).await;
    let location = ask(&registry, Method::POST, "/v2/a/blobs/uploads/").await.header(LOCATION);
    let patch = async |bytes: &'static [u8]| {
        send(&registry, Method::PATCH, &location, &[], Bytes::from_static(bytes)).await
    };
    assert_eq!(patch(b"01234").await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(get(&registry, &location).await.header(LOCATION), location, "nothing was kept");
    assert_eq!(patch(b"0123").await.status, StatusCode::ACCEPTED);

    let registry = sick(Toxic::new(Effect::RefuseMount).on(Kind::Mount)).await;
    let target = format!("/v2/b/blobs/uploads/?mount={}&from=a", sha256(LAYER));
    let refused = ask(&registry, Method::POST, &target).await;
    assert_eq!(refused.status, StatusCode::ACCEPTED);
    assert_eq!(registry.requests(Kind::Mount), 1);
    let target = format!("{}&digest={}", refused.header(LOCATION), sha256(LAYER));
    assert_eq!(put(&registry, &target, Bytes::from_static(LAYER)).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn ranges_and_headers() {
    let ranged = async |registry: &TestRegistry| {
        send(registry, Method::GET, &layer(), &[(RANGE, "bytes=4-")], Bytes::new()).await
    };
    let ignoring = sick(Toxic::new(Effect::IgnoreRange).on(Kind::BlobGet)).await;
    let whole = ranged(&ignoring).await;
    assert_eq!((whole.status, whole.body.len()), (StatusCode::OK, 10));

    let wrong = sick(Toxic::new(Effect::ShiftContentRange(2)).on(Kind::BlobGet)).await;
    assert_eq!(ranged(&wrong).await.header(CONTENT_RANGE), "bytes 6-11/10");

    let silent = sick(Toxic::no_content_digest()).await;
    assert_eq!(get(&silent, "/v2/a/manifests/1").await.header("docker-content-digest"), "");

    let set = Effect::SetHeader(HeaderName::from_static("x-test"), HeaderValue::from_static("1"));
    assert_eq!(get(&sick(Toxic::new(set)).await, "/v2/").await.header("x-test"), "1");

    let stuck = sick(Toxic::new(Effect::StuckRange).on(Kind::Upload)).await;
    let location = ask(&stuck, Method::POST, "/v2/a/blobs/uploads/").await.header(LOCATION);
    let first =
        send(&stuck, Method::PATCH, &location, &[(CONTENT_RANGE, "0-1")], Bytes::from_static(b"01")).await;
    let location = first.header(LOCATION);
    let second =
        send(&stuck, Method::PATCH, &location, &[(CONTENT_RANGE, "2-3")], Bytes::from_static(b"23")).await;
    assert_eq!((first.header(RANGE), second.header(RANGE)), ("0-1".to_owned(), "0-1".to_owned()));
    assert_eq!(get(&stuck, &second.header(LOCATION)).await.header(RANGE), "0-3", "all is stored");
}

#[tokio::test]
async fn foreign_upload_addresses() {
    let registry = sick(Toxic::new(Effect::ForeignLocation).on(Kind::Upload)).await;
    let opened = fetch(&registry, Method::POST, "https://r.test/v2/a/blobs/uploads/", false, b"").await;
    let location = opened.header(LOCATION);
    assert!(location.starts_with("https://storage.r.test/"), "{location}");
    assert_eq!(
        fetch(&registry, Method::PATCH, &location, true, b"abc").await.status,
        StatusCode::BAD_REQUEST
    );
    let patched = fetch(&registry, Method::PATCH, &location, false, b"abc").await;
    assert_eq!(patched.status, StatusCode::ACCEPTED);
    let newest = patched.header(LOCATION);
    assert!(newest.starts_with("https://storage.r.test/") && newest != location);
    let last = format!("{newest}&digest={}", sha256(b"abc"));
    assert_eq!(fetch(&registry, Method::PUT, &last, false, b"").await.status, StatusCode::CREATED);
    assert_eq!(registry.requests(Kind::Upload), 4);

    let absolute = sick(Toxic::new(Effect::AbsoluteLocation)).await;
    let opened = fetch(&absolute, Method::POST, "http://r.test/v2/a/blobs/uploads/", false, b"").await;
    assert!(opened.header(LOCATION).starts_with("http://r.test/v2/a/blobs/uploads/"));
}

#[tokio::test]
async fn storage_elsewhere() {
    let address = async |registry: &TestRegistry| {
        let redirect = fetch(registry, Method::GET, &format!("https://r.test{}", layer()), true, b"").await;
        assert_eq!((redirect.status, redirect.body.len()), (StatusCode::TEMPORARY_REDIRECT, 0));
        redirect.header(LOCATION)
    };
    let registry = sick(Toxic::new(Effect::RedirectToStorage(Expiry::Requests(1))).on(Kind::BlobGet)).await;
    let first = address(&registry).await;
    assert!(first.starts_with("https://storage.r.test/"), "{first}");
    assert_eq!(fetch(&registry, Method::GET, &first, true, b"").await.status, StatusCode::BAD_REQUEST);
    let stored = fetch(&registry, Method::GET, &first, false, b"").await;
    assert_eq!((stored.status, &stored.body[..]), (StatusCode::OK, LAYER));
    assert_eq!(fetch(&registry, Method::GET, &first, false, b"").await.status, StatusCode::FORBIDDEN);
    let second = address(&registry).await;
    assert_eq!(fetch(&registry, Method::GET, &second, false, b"").await.status, StatusCode::OK);
    assert_eq!((registry.requests(Kind::BlobGet), registry.requests(Kind::Redirect)), (2, 4));
    assert_eq!(registry.traffic().bytes_out(), 20);
    assert!(registry.log()[1].authorized && !registry.log()[2].authorized);

    let registry = sick(Toxic::new(Effect::RedirectToStorage(Expiry::Bytes(10))).on(Kind::BlobGet)).await;
    let address = address(&registry).await;
    assert_eq!(fetch(&registry, Method::GET, &address, false, b"").await.body.len(), 10);
    assert_eq!(fetch(&registry, Method::GET, &address, false, b"").await.status, StatusCode::FORBIDDEN);
    let missing = format!("https://r.test/v2/a/blobs/{}", sha256(b"missing"));
    assert_eq!(fetch(&registry, Method::GET, &missing, false, b"").await.status, StatusCode::NOT_FOUND);
}
