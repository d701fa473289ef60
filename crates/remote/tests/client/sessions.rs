//! Upload sessions that nothing comes of, and mounts from places that may be out of date.

use http::StatusCode;
use lazyblob_remote::endpoint::{Mounting, Target};
use lazyblob_remote::keychain::{self, Fixed};
use lazyblob_remote::provider::Origin;
use lazyblob_remote::registry::RegistryTarget;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::{Pull, Push};
use lazyblob_remote::testing::{Effect, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::{Access, Credential, Error, Keychain, Registry, Result, Scopes};

use std::sync::Arc;

use crate::support::{Keys, basic, bytes, chunking_client, client, lines, name, pushing};
use crate::upload::{blob_of, methods, put, stored};

const HOST: &str = "to.test";

fn places(repositories: &[&str]) -> Vec<Origin> {
    repositories.iter().map(|name| Origin { host: HOST.into(), repository: (*name).into() }).collect()
}

fn target(client: &Registry, access: &Access) -> RegistryTarget {
    let repository = name("to.test/b");
    // As of one who knows all repositories that it is going to ask for.
    let scopes = ["to.test/a", "to.test/x", "to.test/y", "to.test/z"]
        .iter()
        .fold(Scopes::push(&repository), |scopes, place| scopes.union(&Scopes::pull(&name(place))));
    RegistryTarget::new(client.repository(&repository, scopes, access).unwrap())
}

/// Row 40b: of the sessions that refusals open, one after the other, the last one takes the upload and those before it
/// are closed.
#[tokio::test]
async fn the_last_session_is_used_and_the_others_are_closed() {
    let registry = TestRegistry::in_memory(HOST).await;
    let target = target(&client(registry.transport()), &Access::anonymous());
    let content = bytes(100_000);
    let blob = blob_of(&content, None);
    let mounting = target.mount_from(blob.descriptor(), &places(&["x", "y", "z"])).await.unwrap();
    assert_eq!((mounting.from.clone(), mounting.stale.clone()), (None, places(&["x", "y", "z"])));
    assert_eq!(methods(&registry), ["POST", "POST", "DELETE", "POST", "DELETE"]);
    assert_eq!(lines(&registry, "DELETE")[0].split(' ').next_back(), Some("204"));

    registry.reset();
    target.put_blob(&blob, mounting.session).await.unwrap();
    assert_eq!(methods(&registry), ["PATCH", "PUT"]);
    assert!(stored(&registry, &content).await);
    assert_eq!(registry.requests(Kind::Mount), 0);
}

/// Row 40b: where a later place has the blob, the sessions of those before are closed. A port makes another host.
#[tokio::test]
async fn no_session_is_left_where_a_mount_succeeds() {
    let registry = TestRegistry::in_memory(HOST).await;
    let content = bytes(1000);
    registry.seed_blob("a", content.clone()).await;
    let target = target(&client(registry.transport()), &Access::anonymous());
    let mut asked = places(&["x", "y", "a", "z"]);
    asked.insert(0, Origin { host: "to.test:5000".into(), repository: "a".into() });
    let mounting = target.mount_from(blob_of(&content, None).descriptor(), &asked).await.unwrap();
    let expected = Mounting { from: places(&["a"]).pop(), stale: places(&["x", "y"]), session: None };
    assert_eq!(mounting, expected);
    assert_eq!(methods(&registry), ["POST", "POST", "DELETE", "POST", "DELETE"]);
    assert_eq!(registry.requests(Kind::Mount), 3);
    assert_eq!(registry.traffic().bytes_in(), 0);
}

/// Row 42: a host that mounts at all is asked again after a stale place; one that has mounted nothing is not.
#[tokio::test]
async fn a_stale_place_is_not_the_host_s_refusal() {
    let content = bytes(1000);
    let blob = blob_of(&content, None);
    for mounts in [true, false] {
        let registry = TestRegistry::in_memory(HOST).await;
        registry.seed_blob("a", content.clone()).await;
        let target = target(&client(registry.transport()), &Access::anonymous());
        let first = places(if mounts { &["a"] } else { &["x"] });
        let mounting = target.mount_from(blob.descriptor(), &first).await.unwrap();
        assert_eq!(mounting.from.is_some(), mounts);
        target.mount_from(blob.descriptor(), &places(&["y"])).await.unwrap();
        let third = target.mount_from(blob.descriptor(), &places(&["a"])).await.unwrap();
        assert_eq!((third.from.is_some(), target.mounts()), (mounts, mounts));
        assert_eq!(registry.requests(Kind::Mount), if mounts { 3 } else { 1 });
    }
}

async fn refused_by(status: u16, access: &Access) -> Mounting {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::status(status).on(Kind::Mount));
    let blob = blob_of(&bytes(1000), None);
    let target = target(&client(registry.transport()), access);
    let mounting = target.mount_from(blob.descriptor(), &places(&["x"])).await.unwrap();
    assert_eq!((mounting.from.is_some(), mounting.session.is_some()), (false, false));
    mounting
}

/// Row 42: a refusal makes its place stale, except a 401 where no credentials were given.
#[tokio::test]
async fn a_401_to_nobody_in_particular_says_nothing_of_the_blob() {
    let jo = Access::new(Keys::of(HOST, basic("jo", "secret")));
    for status in [400, 401, 403, 404] {
        assert_eq!(refused_by(status, &jo).await.stale, places(&["x"]), "{status}");
    }
    for (status, stale) in [(400, true), (401, false), (403, true), (404, true)] {
        let mounting = refused_by(status, &Access::anonymous()).await;
        assert_eq!(!mounting.stale.is_empty(), stale, "{status}");
    }
}

#[tokio::test]
async fn a_session_too_small_for_the_blob_is_closed_at_the_end() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::chunk_cap(400_000));
    let client = chunking_client(registry.transport(), 400_000);
    put(&client, &bytes(500_000)).await.unwrap();
    assert_eq!(methods(&registry), ["POST", "PATCH", "POST", "PATCH", "PATCH", "PUT", "DELETE"]);
    let opened = lines(&registry, "PATCH").remove(0);
    let session = opened.split(['/', '?']).nth(5).unwrap();
    assert!(lines(&registry, "DELETE")[0].contains(session), "{:?}", registry.lines());
}

#[tokio::test]
async fn a_host_that_does_not_let_sessions_be_closed_is_asked_once() {
    for status in [401, 403, 405] {
        let registry = TestRegistry::in_memory(HOST).await;
        let target = target(&client(registry.transport()), &Access::anonymous());
        registry.add(Toxic::status(status).on(Kind::Upload));
        let blob = blob_of(&bytes(10), None);
        target.mount_from(blob.descriptor(), &places(&["x", "y", "z"])).await.unwrap();
        assert_eq!(methods(&registry), ["POST", "POST", "DELETE", "POST"], "{status}");
    }
}

/// The right to delete is nobody's: no token is asked for it, and the upload is none the worse for it.
#[tokio::test]
async fn no_token_is_minted_to_close_a_session() {
    let tokens = TokenServer::new(HOST).user("jo", "secret").allow("jo", "*", &[Pull, Push]);
    let registry = TestRegistry::builder().tokens(tokens).in_memory(HOST).await;
    let jo = Access::new(Keys::of(HOST, basic("jo", "secret")));
    let target = target(&client(registry.transport()), &jo);
    let content = bytes(1000);
    let blob = blob_of(&content, None);
    let mounting = target.mount_from(blob.descriptor(), &places(&["x", "y", "z"])).await.unwrap();
    assert!(mounting.session.is_some());
    target.put_blob(&blob, mounting.session).await.unwrap();
    assert_eq!(lines(&registry, "DELETE").len(), 1, "{:?}", registry.lines());
    assert!(lines(&registry, "DELETE")[0].ends_with(" 401"));
    assert_eq!(registry.requests(Kind::Token), 1, "{:?}", registry.lines());
}

#[tokio::test]
async fn a_session_is_closed_where_the_source_failed() {
    let registry = TestRegistry::in_memory(HOST).await;
    let target = RegistryTarget::new(pushing(&client(registry.transport()), "to.test/b"));
    let error = target.put_blob(&blob_of(&bytes(200_000), Some(150_000)), None).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_eq!(methods(&registry).last().map(String::as_str), Some("DELETE"));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_answer_is_left_alone() {
    for toxic in
        [Toxic::status(503), Toxic::too_many_requests(None), Toxic::new(Effect::Drop), Toxic::status(403)]
    {
        let registry = TestRegistry::in_memory(HOST).await;
        registry.add(toxic.path("_state=0"));
        put(&client(registry.transport()), &bytes(1000)).await.unwrap_err();
        assert!(!methods(&registry).contains(&"DELETE".to_owned()), "{:?}", registry.lines());
    }
}

/// A DELETE that fails, in whatever way, is nobody's failure.
#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_delete_does_not_matter() {
    for effect in
        [Effect::Drop, Effect::Status(StatusCode::SERVICE_UNAVAILABLE), Effect::Status(StatusCode::NOT_FOUND)]
    {
        let registry = TestRegistry::in_memory(HOST).await;
        registry.add(Toxic::chunk_cap(400_000));
        // POST, PATCH, POST, PATCH, PATCH and PUT come before it.
        registry.add(Toxic::new(effect).on(Kind::Upload).after(6));
        let content = bytes(500_000);
        put(&chunking_client(registry.transport(), 400_000), &content).await.unwrap();
        assert_eq!(methods(&registry).iter().filter(|method| *method == "DELETE").count(), 1);
    }
}

#[derive(Debug)]
struct Broken;

#[async_trait::async_trait]
impl Keychain for Broken {
    async fn credential(&self, host: &str, _: &str) -> Result<Credential> {
        Err(Error::invalid("ask", host, "broken"))
    }
}

/// Row 39: whose credentials they are is known without a request.
#[tokio::test]
async fn whose_credentials_a_target_shows_costs_nothing() {
    let registry = TestRegistry::in_memory(HOST).await;
    let client = client(registry.transport());
    let identity = async |keychain: Arc<dyn Keychain>| {
        RegistryTarget::new(
            client.repository(&name("to.test/b"), Scopes::default(), &Access::new(keychain)).unwrap(),
        )
        .identity()
        .await
    };
    let jo = basic("jo", "secret");
    let here = identity(Keys::of(HOST, jo.clone())).await;
    assert_eq!(here, Some(jo.identity()));
    assert_eq!(identity(Arc::new(Fixed::default().with(HOST, jo.clone()))).await, here);
    // Those for another host are not shown here.
    let anonymous = identity(Arc::new(keychain::Anonymous)).await;
    assert_eq!(identity(Keys::of("other.test", jo)).await, anonymous);
    assert_eq!(anonymous, Some(Credential::Anonymous.identity()));
    assert_eq!(identity(Arc::new(Broken)).await, None);
    assert_eq!(registry.counter().total(), 0);
}
