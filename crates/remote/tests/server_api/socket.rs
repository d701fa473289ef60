//! The socket front: versions of HTTP, TLS, faults as a client sees them, and the end.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use lazyblob_remote::digest::sha256;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Front;
use lazyblob_remote::testing::{Authority, Builder, Effect, Expiry, TestRegistry, Toxic};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Version};

const LAYER: usize = 1_000_000;

fn client() -> ClientBuilder {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}

async fn started(builder: Builder) -> (TestRegistry, String) {
    let registry = builder.start().await;
    let image = registry.seed_image("a", "1", &[Bytes::from(vec![7; LAYER])]).await;
    let blob = format!("/v2/a/blobs/{}", image.blobs[1].0.digest());
    (registry, blob)
}

#[tokio::test]
async fn http_1_and_http_2_by_prior_knowledge() {
    let (registry, blob) = started(TestRegistry::builder()).await;
    let url = format!("http://{}{blob}", registry.host());
    for (client, version) in
        [(client().http1_only(), Version::HTTP_11), (client().http2_prior_knowledge(), Version::HTTP_2)]
    {
        let client = client.build().unwrap();
        let response = client.get(&url).send().await.unwrap();
        assert_eq!((response.version(), response.status()), (version, StatusCode::OK));
        assert_eq!(response.bytes().await.unwrap().len(), LAYER);
        let head = client.head(&url).send().await.unwrap();
        assert_eq!(head.headers()["content-length"], LAYER.to_string());

        let bytes = Bytes::from(vec![9; LAYER]);
        let target = format!("http://{}/v2/a/blobs/uploads/?digest={}", registry.host(), sha256(&bytes));
        let posted = client.post(target).body(bytes).send().await.unwrap();
        assert_eq!(posted.status(), StatusCode::CREATED);
    }
    assert_eq!((registry.requests(Kind::BlobGet), registry.requests(Kind::BlobHead)), (2, 2));
    assert_eq!(registry.traffic().bytes_out(), 2 * LAYER as u64);
    registry.close().await;
}

#[tokio::test]
async fn tls_with_client_certificates_and_http_2() {
    let authority = Authority::new();
    let (registry, blob) = started(TestRegistry::builder().tls(authority.server_that_asks())).await;
    let url = format!("https://{}{blob}", registry.host());
    let ca = Certificate::from_pem(&std::fs::read(authority.ca()).unwrap()).unwrap();
    let (certificate, key) = authority.client();
    let identity = [std::fs::read(certificate).unwrap(), std::fs::read(key).unwrap()].concat();
    let known = client().tls_certs_only([ca.clone()]).identity(Identity::from_pem(&identity).unwrap());
    let response = known.build().unwrap().get(&url).send().await.unwrap();
    assert_eq!((response.version(), response.status()), (Version::HTTP_2, StatusCode::OK));
    assert_eq!(response.bytes().await.unwrap().len(), LAYER);

    let unknown = client().tls_certs_only([ca]).build().unwrap();
    assert!(unknown.get(&url).send().await.is_err(), "no client certificate");
    let other = Certificate::from_pem(&std::fs::read(Authority::new().ca()).unwrap()).unwrap();
    let distrustful = client().tls_certs_only([other]).build().unwrap();
    assert!(distrustful.get(&url).send().await.is_err(), "another authority");
    assert_eq!(registry.requests(Kind::BlobGet), 1);
    registry.close().await;
}

#[tokio::test]
async fn faults_as_a_client_sees_them() {
    let cut = Toxic::new(Effect::CutBody(300_000)).on(Kind::BlobGet).times(2);
    let (registry, blob) = started(TestRegistry::builder().toxic(cut)).await;
    let url = format!("http://{}{blob}", registry.host());
    for client in [client().http1_only(), client().http2_prior_knowledge()] {
        let client = client.build().unwrap();
        let mut response = client.get(&url).send().await.unwrap();
        assert_eq!(response.content_length(), Some(LAYER as u64));
        let mut received = 0;
        let ended = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => received += chunk.len(),
                other => break other,
            }
        };
        assert!(ended.is_err() && received <= 300_000, "{received} {ended:?}");
    }
    registry.add(Toxic::new(Effect::Drop).on(Kind::BlobHead).times(1));
    let client = client().retry(reqwest::retry::never()).build().unwrap();
    assert!(client.head(&url).send().await.is_err());
    assert_eq!(client.head(&url).send().await.unwrap().status(), StatusCode::OK);

    registry.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
    let response = client.get(&url).send().await.unwrap();
    assert_eq!(response.url().host_str(), Some("localhost"));
    assert_eq!(response.bytes().await.unwrap().len(), LAYER);
    assert_eq!(registry.requests(Kind::Redirect), 1);
    registry.close().await;
}

#[tokio::test]
async fn closing_cuts_what_hangs_and_frees_the_port() {
    for client in [client().http1_only(), client().http2_prior_knowledge()] {
        let hang = Toxic::new(Effect::Hang).on(Kind::Other);
        let (registry, _) = started(TestRegistry::builder().toxic(hang)).await;
        let url = format!("http://{}/v2/", registry.host());
        let client = client.retry(reqwest::retry::never()).build().unwrap();
        let close = async {
            while registry.requests(Kind::Other) == 0 {
                tokio::task::yield_now().await;
            }
            registry.close().await;
        };
        let both = async { tokio::join!(client.get(&url).send(), close) };
        let (hanging, ()) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
        assert!(hanging.is_err());
        assert!(client.get(&url).send().await.unwrap_err().is_connect());
    }
}

#[tokio::test]
async fn closing_lets_what_is_under_way_end() {
    let slow = Effect::Slow { piece: LAYER / 4, pause: Duration::from_millis(20) };
    let registry =
        TestRegistry::builder().toxic(Toxic::new(slow).on(Kind::BlobGet)).in_memory("r.test").await;
    let image = registry.seed_image("a", "1", &[Bytes::from(vec![7; LAYER])]).await;
    let front = Front::listen((Ipv4Addr::LOCALHOST, 0).into(), None, registry.service()).await.unwrap();
    let url = format!("http://{}/v2/a/blobs/{}", front.address(), image.blobs[1].0.digest());
    let response = client().build().unwrap().get(url).send().await.unwrap();
    let (body, ()) = tokio::join!(response.bytes(), front.close(Duration::from_secs(30)));
    assert_eq!(body.unwrap().len(), LAYER);
}
