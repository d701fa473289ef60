//! The token server and its registry.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use lazyblob_remote::body::{self, Body};
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::{Pull, Push};
use lazyblob_remote::testing::{Lie, TestRegistry, TokenServer};
use lazyblob_remote::transport::{Phase, Reach, Route, Transport};
use serde_json::Value;

use crate::support::{Reply, ask, send};

fn alice() -> TokenServer {
    TokenServer::new("registry")
        .user("alice", "wonderland")
        .refresh_token("alice", "long-lived")
        .allow("alice", "team/app", &[Pull, Push])
        .allow_everybody("public", &[Pull])
}

async fn registry(tokens: TokenServer) -> TestRegistry {
    let registry = TestRegistry::builder().tokens(tokens).in_memory("r.test").await;
    registry.seed_image("team/app", "1", &[]).await;
    registry.seed_image("public", "1", &[]).await;
    registry
}

/// Sends a request to the token server by its own host.
async fn token(
    registry: &TestRegistry,
    method: Method,
    query: &str,
    form: &str,
    basic: Option<&str>,
) -> Reply {
    use base64::Engine as _;
    let mut request = Request::builder().method(method).uri(format!("https://auth.r.test/token{query}"));
    if let Some(basic) = basic {
        let encoded = base64::engine::general_purpose::STANDARD.encode(basic);
        request = request.header(AUTHORIZATION, format!("Basic {encoded}"));
    }
    let request: Request<Body> = request.body(body::full(form.to_owned())).unwrap();
    let response = registry.transport().send(request, &Route::default()).await.unwrap();
    let (parts, body) = response.into_parts();
    Reply { status: parts.status, headers: parts.headers, body: body::collect(body, u64::MAX).await.unwrap() }
}

async fn issued(registry: &TestRegistry, scope: &str, basic: Option<&str>) -> String {
    let reply = token(registry, Method::GET, &format!("?service=registry&scope={scope}"), "", basic).await;
    reply.json()["token"].as_str().unwrap().to_owned()
}

async fn with(registry: &TestRegistry, method: Method, target: &str, token: &str) -> Reply {
    let header = format!("Bearer {token}");
    send(registry, method, target, &[(AUTHORIZATION, &header)], Bytes::new()).await
}

const APP: &str = "/v2/team/app/manifests/1";

#[tokio::test]
async fn a_challenge_names_realm_service_and_every_scope() {
    let registry = registry(alice()).await;
    let refused =
        ask(&registry, Method::POST, "/v2/team/app/blobs/uploads/?mount=sha256:00&from=public").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        refused.header(WWW_AUTHENTICATE),
        "Bearer realm=\"https://auth.r.test/token\",service=\"registry\",\
         scope=\"repository:team/app:pull,push repository:public:pull\""
    );
    assert!(!ask(&registry, Method::GET, "/v2/").await.header(WWW_AUTHENTICATE).contains("scope"));
}

#[tokio::test]
async fn tokens_are_good_for_what_was_asked_and_permitted() {
    let registry = registry(alice()).await;
    let scope = "repository:team/app:pull";
    let pull = issued(&registry, scope, Some("alice:wonderland")).await;
    assert_eq!(with(&registry, Method::GET, APP, &pull).await.status, StatusCode::OK);
    let push = with(&registry, Method::POST, "/v2/team/app/blobs/uploads/", &pull).await;
    assert!(push.header(WWW_AUTHENTICATE).contains("error=\"insufficient_scope\""));

    let nobody = issued(&registry, scope, None).await;
    assert_eq!(with(&registry, Method::GET, APP, &nobody).await.status, StatusCode::UNAUTHORIZED);
    let public = issued(&registry, "repository:public:pull,push", None).await;
    assert_eq!(with(&registry, Method::GET, "/v2/public/manifests/1", &public).await.status, StatusCode::OK);
    assert_eq!(with(&registry, Method::POST, "/v2/public/blobs/uploads/", &public).await.status, 401);

    let wrong = token(&registry, Method::GET, "?scope=repository:public:pull", "", Some("alice:wrong")).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(registry.requests(Kind::Token), 4);
    let log = registry.tokens().unwrap().requests();
    assert_eq!((log[0].user.as_deref(), log[0].scopes.as_slice()), (Some("alice"), &[scope.to_owned()][..]));
    assert_eq!((log[1].user.as_deref(), log[1].service.as_deref()), (None, Some("registry")));
    assert_eq!(log[3].status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn refresh_tokens_by_post() {
    let form =
        "grant_type=refresh_token&refresh_token=long-lived&service=registry&scope=repository:team/app:pull";
    let server = registry(alice().as_access_token()).await;
    let reply = token(&server, Method::POST, "", form, None).await;
    let pull = reply.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(with(&server, Method::GET, APP, &pull).await.status, StatusCode::OK);
    let wrong = token(&server, Method::POST, "", &form.replace("long-lived", "stolen"), None).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);

    let old = registry(alice().without_post()).await;
    assert_eq!(token(&old, Method::POST, "", form, None).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn tokens_end() {
    let scope = "repository:team/app:pull";
    let short = registry(alice().ttl(Duration::from_secs(30))).await;
    let reply = token(&short, Method::GET, &format!("?scope={scope}"), "", Some("alice:wonderland")).await;
    assert_eq!(reply.json()["expires_in"], 30);
    let old = reply.json()["token"].as_str().unwrap().to_owned();
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(with(&short, Method::GET, APP, &old).await.status, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(1)).await;
    let refused = with(&short, Method::GET, APP, &old).await;
    assert!(refused.header(WWW_AUTHENTICATE).contains("error=\"invalid_token\""));

    let few = registry(alice().uses(2)).await;
    let token = issued(&few, scope, Some("alice:wonderland")).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(with(&few, Method::GET, APP, &token).await.status.as_u16());
    }
    assert_eq!(seen, [200, 200, 401]);
    let token = issued(&few, scope, Some("alice:wonderland")).await;
    few.tokens().unwrap().revoke_all();
    assert_eq!(with(&few, Method::GET, APP, &token).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn lies() {
    let registry = registry(alice()).await;
    let ask_for = "?scope=repository:team/app:pull";
    let lying = async |lie| {
        registry.tokens().unwrap().lie(Some(lie));
        token(&registry, Method::GET, ask_for, "", Some("alice:wonderland")).await
    };
    let garbage = lying(Lie::Garbage).await;
    assert!(serde_json::from_slice::<Value>(&garbage.body).is_err() && garbage.status == 200);
    assert_eq!(lying(Lie::Empty).await.json()["token"], "");
    assert!(lying(Lie::Nothing).await.json().get("token").is_none());
    assert_eq!(lying(Lie::Broken).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(lying(Lie::Endless).await.body.len() > 8 << 20);
    let unaccepted = lying(Lie::Unaccepted).await.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(with(&registry, Method::GET, APP, &unaccepted).await.status, StatusCode::UNAUTHORIZED);
    registry.tokens().unwrap().lie(None);
    let honest = issued(&registry, "repository:team/app:pull", Some("alice:wonderland")).await;
    assert_eq!(with(&registry, Method::GET, APP, &honest).await.status, StatusCode::OK);
}

#[tokio::test]
async fn hosts_in_memory_are_reached_by_name_and_reach() {
    let registry = TestRegistry::in_memory("r.test:5000").await;
    let network = registry.transport().private("storage.r.test:5000");
    let get = async |uri: &str, reach| {
        let request = Request::get(uri).body(body::empty()).unwrap();
        let sent = network.send(request, &Route { reach, ..Route::default() }).await;
        sent.map(|response| response.status()).map_err(|error| error.phase)
    };
    assert_eq!(get("https://r.test:5000/v2/", Reach::Public).await, Ok(StatusCode::OK));
    assert_eq!(get("https://storage.r.test:5000/v2/", Reach::Any).await, Ok(StatusCode::OK));
    assert_eq!(get("https://storage.r.test:5000/v2/", Reach::Public).await, Err(Phase::Forbidden));
    assert_eq!(get("https://r.test/v2/", Reach::Any).await, Err(Phase::Connect));
    assert_eq!(get("https://r.invalid/v2/", Reach::Any).await, Err(Phase::Resolve));
    assert!(network.is_public("r.test").await && !network.is_public("storage.r.test").await);
    assert!(network.is_public("unknown.test").await);
    network.remove("r.test:5000");
    assert_eq!(get("https://r.test:5000/v2/", Reach::Any).await, Err(Phase::Connect));
}
