//! Who may do what, with htpasswd and without.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use lazyblob_remote::server::{Anonymous, Htpasswd, ReadOnly};
use lazyblob_remote::testing::TestRegistry;

use crate::support::{ask, codes, send};

/// `alice` with the password `wonderland`.
fn htpasswd(anonymous: Anonymous) -> Arc<Htpasswd> {
    let hash = bcrypt::hash("wonderland", 4).unwrap();
    Arc::new(Htpasswd::parse(&format!("# users\n\nalice:{hash}\n"), anonymous, "users").unwrap())
}

async fn with(registry: &TestRegistry, method: Method, target: &str, credentials: &str) -> StatusCode {
    let header = format!("Basic {}", STANDARD.encode(credentials));
    send(registry, method, target, &[(AUTHORIZATION, &header)], Bytes::new()).await.status
}

#[tokio::test]
async fn only_right_credentials_are_let_in() {
    let registry = TestRegistry::builder().guarded_by(htpasswd(Anonymous::Nothing)).in_memory("r.test").await;
    registry.seed_image("a", "1", &[]).await;
    let refused = ask(&registry, Method::GET, "/v2/a/manifests/1").await;
    assert_eq!((refused.status, codes(&refused)), (StatusCode::UNAUTHORIZED, vec!["UNAUTHORIZED".into()]));
    assert!(refused.header(WWW_AUTHENTICATE).starts_with("Basic realm="));
    for wrong in ["alice:wrong", "bob:wonderland", "alice", ":", "alice:"] {
        let status = with(&registry, Method::GET, "/v2/a/manifests/1", wrong).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    for _ in 0..2 {
        assert_eq!(
            with(&registry, Method::GET, "/v2/a/manifests/1", "alice:wonderland").await,
            StatusCode::OK
        );
        assert_eq!(
            with(&registry, Method::GET, "/v2/a/manifests/1", "alice:wrong").await,
            401,
            "after a success"
        );
    }
    assert_eq!(with(&registry, Method::GET, "/v2/", "alice:wonderland").await, StatusCode::OK);
    assert_eq!(ask(&registry, Method::GET, "/v2/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn readers_may_be_anonymous() {
    let registry = TestRegistry::builder().guarded_by(htpasswd(Anonymous::Read)).in_memory("r.test").await;
    registry.seed_image("a", "1", &[]).await;
    assert_eq!(ask(&registry, Method::GET, "/v2/a/manifests/1").await.status, StatusCode::OK);
    assert_eq!(with(&registry, Method::GET, "/v2/a/manifests/1", ":").await, StatusCode::OK);
    assert_eq!(
        with(&registry, Method::GET, "/v2/a/manifests/1", "alice:wrong").await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        ask(&registry, Method::GET, "/v2/").await.status,
        StatusCode::UNAUTHORIZED,
        "the place to log in"
    );
    for (method, target) in [(Method::POST, "/v2/a/blobs/uploads/"), (Method::DELETE, "/v2/a/manifests/1")] {
        assert_eq!(ask(&registry, method.clone(), target).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(with(&registry, method, target, "alice:wonderland").await, StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn read_only_denies_writing() {
    let registry = TestRegistry::builder().guarded_by(Arc::new(ReadOnly)).in_memory("r.test").await;
    registry.seed_image("a", "1", &[]).await;
    assert_eq!(ask(&registry, Method::GET, "/v2/a/manifests/1").await.status, StatusCode::OK);
    let denied = ask(&registry, Method::POST, "/v2/a/blobs/uploads/").await;
    assert_eq!((denied.status, codes(&denied)), (StatusCode::FORBIDDEN, vec!["DENIED".into()]));
}

#[test]
fn other_hashes_are_refused_without_showing_them() {
    for line in ["alice", "alice:{SHA}secret", "alice:$apr1$secret"] {
        let error = Htpasswd::parse(line, Anonymous::Nothing, "users").unwrap_err().to_string();
        assert!(error.contains("users") && error.contains("line 1") && !error.contains("secret"), "{error}");
    }
}
