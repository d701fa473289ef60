//! Credentials go to the host they are for and to no other.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::LOCATION;
use http::{HeaderValue, Request, Response, StatusCode};
use lazyblob_remote::body::Body;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::{Pull, Push};
use lazyblob_remote::server::{Dropped, Service};
use lazyblob_remote::testing::{Effect, Expiry, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::{Access, Error, Scopes};

use crate::support::{Keys, answer, basic, bytes, client, copy, layers, name, tag};

async fn guarded(host: &str) -> TestRegistry {
    let tokens = TokenServer::new(host).user("alice", "s3cret").allow("alice", "*", &[Pull, Push]);
    TestRegistry::builder().tokens(tokens).in_memory(host).await
}

fn alice(host: &str) -> Access {
    Access::new(Keys::of(host, basic("alice", "s3cret")))
}

/// Row 54b: not by a redirect of a blob.
#[tokio::test]
async fn a_redirect_takes_no_authorization_along() {
    let from = guarded("from.test").await;
    let to = TestRegistry::in_memory("to.test").await;
    from.seed_image("a", "1", &[bytes(200_000)]).await;
    from.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
    let client = client(from.transport().with(&to));

    copy(&client, ("from.test/a", "1"), ("to.test/a", "1"), &alice("from.test")).run().await.unwrap();

    let (at_home, elsewhere): (Vec<_>, Vec<_>) =
        from.log().into_iter().filter(|entry| entry.kind != Kind::Token).partition(|e| e.host == "from.test");
    assert_eq!(elsewhere.len(), 2);
    assert!(elsewhere.iter().all(|entry| !entry.authorized));
    assert!(at_home.iter().skip(1).all(|entry| entry.authorized), "{at_home:?}");
    assert!(to.log().iter().all(|entry| !entry.authorized));
}

/// Row 54b: nor with an upload.
#[tokio::test]
async fn a_foreign_location_gets_no_authorization() {
    let from = TestRegistry::in_memory("from.test").await;
    let to = guarded("to.test").await;
    from.seed_image("a", "1", &layers(2)).await;
    to.add(Toxic::new(Effect::ForeignLocation).on(Kind::Upload));
    let client = client(from.transport().with(&to));

    copy(&client, ("from.test/a", "1"), ("to.test/a", "1"), &alice("to.test")).run().await.unwrap();

    let foreign: Vec<_> = to.log().into_iter().filter(|entry| entry.host == "storage.to.test").collect();
    // PATCH and PUT of three blobs.
    assert_eq!(foreign.len(), 6, "{:?}", to.lines());
    assert!(foreign.iter().all(|entry| !entry.authorized));
    let posts: Vec<_> = to.log().into_iter().filter(|entry| entry.method == "POST").collect();
    assert!(posts.iter().all(|entry| entry.authorized && entry.host == "to.test"));
}

/// Row 55: nobody else's credentials are looked up.
#[tokio::test]
async fn one_registry_s_credentials_are_not_looked_up_for_another() {
    let from = guarded("from.test").await;
    let to = guarded("to.test").await;
    from.seed_image("a", "1", &layers(1)).await;
    let client = client(from.transport().with(&to));
    let keys = Keys::of("from.test", basic("alice", "s3cret"));

    let access = Access::new(Arc::<Keys>::clone(&keys));
    let error = copy(&client, ("from.test/a", "1"), ("to.test/a", "1"), &access).run().await.unwrap_err();

    assert!(error.to_string().contains("`lazyblob login to.test`"), "{error}");
    assert!(to.tokens().unwrap().requests().iter().all(|asked| asked.user.is_none()));
    assert!(keys.asked().iter().all(|host| host == "from.test" || host == "to.test"));
}

/// Sends everybody to one address.
#[derive(Debug)]
struct SendsTo(&'static str);

#[async_trait]
impl Service for SendsTo {
    async fn call(&self, _: Request<Body>) -> Result<Response<Body>, Dropped> {
        let mut response = Response::new(lazyblob_remote::body::empty());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        response.headers_mut().insert(LOCATION, HeaderValue::from_static(self.0));
        Ok(response)
    }
}

/// Row 54b: nor by a way round.
#[tokio::test]
async fn who_was_sent_away_and_back_comes_without_credentials() {
    let from = guarded("from.test").await;
    let to = TestRegistry::in_memory("to.test").await;
    from.seed_image("a", "1", &layers(1)).await;
    from.seed_image("secret", "1", &layers(2)).await;
    from.add(answer(307, &[("location", "https://elsewhere.test/")], "").on(Kind::BlobGet));
    let back = "https://from.test/v2/secret/manifests/1";
    let transport = from.transport().with(&to).host("elsewhere.test", Arc::new(SendsTo(back)));

    let job = copy(&client(transport), ("from.test/a", "1"), ("to.test/a", "1"), &alice("from.test"));
    job.run().await.unwrap_err();

    let came: Vec<_> = from.log().into_iter().filter(|entry| entry.target.contains("/secret/")).collect();
    assert!(!came.is_empty() && came.iter().all(|entry| !entry.authorized), "{came:?}");
}

/// Everything that can be read off an error.
fn told(error: &Error) -> String {
    format!("{error} {error:?} {:?} {}", error.root(), error.what())
}

#[tokio::test]
async fn a_registry_that_repeats_the_authorization_is_not_repeated() {
    for status in [400, 401, 403, 404, 418, 429, 503] {
        let registry = guarded("h.test").await;
        registry.seed_image("a", "1", &layers(1)).await;
        let client = client(registry.transport());
        let repository =
            client.repository(&name("h.test/a"), Scopes::pull(&name("h.test/a")), &alice("h.test")).unwrap();
        repository.get_manifest(&tag("1")).await.unwrap();
        registry.add(Toxic::new(Effect::Echo(StatusCode::from_u16(status).unwrap())).on(Kind::ManifestGet));
        let error = told(&repository.get_manifest(&tag("1")).await.unwrap_err());
        assert!(error.contains("you sent …"), "{status}: {error}");
        assert!(!error.contains("opaque-"), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_registry_that_repeats_a_password_is_not_repeated() {
    let password = "p w\"/%";
    let registry = TestRegistry::in_memory("h.test").await;
    let basic_only = answer(401, &[("www-authenticate", "Basic realm=\"h\"")], "").times(1);
    registry.add(basic_only.on(Kind::ManifestGet));
    registry.add(Toxic::new(Effect::Echo(StatusCode::FORBIDDEN)).on(Kind::ManifestGet));
    let access = Access::new(Keys::of("h.test", basic("alice", password)));
    let client = client(registry.transport());
    let repository = client.repository(&name("h.test/a"), Scopes::default(), &access).unwrap();
    let error = told(&repository.get_manifest(&tag("1")).await.unwrap_err());
    assert!(error.contains("DENIED: you sent … for … or …"), "{error}");
    for secret in [password, "YWxpY2U6cCB3Ii8l", "p+w%22%2F%25", r#"p w\"/"#] {
        assert!(!error.contains(secret), "{secret} in {error}");
    }
}

#[tokio::test]
async fn a_token_server_that_repeats_a_credential_is_not_repeated() {
    let refresh =
        lazyblob_remote::Credential::IdentityToken(lazyblob_remote::keychain::Secret::new("r3fresh/"));
    for (credential, secrets) in [
        (basic("alice", "wr0ng&"), &["wr0ng", "YWxpY2U6d3Iwbmcm"][..]),
        (refresh, &["r3fresh", "OnIzZnJlc2gv"]),
    ] {
        for status in [400, 401, 403, 429, 503] {
            let registry = guarded("h.test").await;
            registry.add(Toxic::new(Effect::Echo(StatusCode::from_u16(status).unwrap())).on(Kind::Token));
            let access = Access::new(Keys::of("h.test", credential.clone()));
            let client = client(registry.transport());
            let repository =
                client.repository(&name("h.test/a"), Scopes::pull(&name("h.test/a")), &access).unwrap();
            let error = told(&repository.get_manifest(&tag("1")).await.unwrap_err());
            assert!(error.contains("you sent"), "{status}: {error}");
            for secret in secrets {
                assert!(!error.contains(secret), "{status}: {error}");
            }
        }
    }
}
