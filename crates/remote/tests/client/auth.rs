//! What authorisation costs, and what becomes of it when tokens end or servers lie.

use std::sync::Arc;
use std::time::Duration;

use lazyblob_remote::keychain::Secret;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::{Pull, Push};
use lazyblob_remote::testing::{Lie, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::{Access, Credential, Error, Registry, Scopes};

use crate::support::{Keys, answer, basic, bytes, client, copy, layers, lines, name, pulling, tag, tagged};

const HOST: &str = "registry.test";

/// Alice reads `a` and writes `b`.
fn tokens() -> TokenServer {
    TokenServer::new(HOST).user("alice", "s3cret").allow("alice", "a", &[Pull]).allow(
        "alice",
        "b",
        &[Pull, Push],
    )
}

async fn guarded(tokens: TokenServer) -> (TestRegistry, Registry) {
    let registry = TestRegistry::builder().tokens(tokens).in_memory(HOST).await;
    let client = client(registry.transport());
    (registry, client)
}

fn alice() -> Access {
    Access::new(Keys::of(HOST, basic("alice", "s3cret")))
}

fn with(credential: Credential) -> Access {
    Access::new(Keys::of(HOST, credential))
}

async fn manifest(client: &Registry, access: &Access) -> Result<(), Error> {
    let repository = name("registry.test/a");
    let repository = client.repository(&repository, Scopes::pull(&repository), access).unwrap();
    repository.get_manifest(&tag("1")).await.map(drop)
}

#[tokio::test]
async fn a_copy_costs_one_401_and_one_token_more() {
    let (registry, client) = guarded(tokens()).await;
    registry.seed_image("a", "1", &layers(3)).await;

    copy(&client, ("registry.test/a", "1"), ("registry.test/b", "1"), &alice()).run().await.unwrap();

    assert_eq!(registry.counter().total(), 3 + 4 + 2, "{:?}", registry.lines());
    let asked = registry.tokens().unwrap().requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].scopes, ["repository:a:pull", "repository:b:pull,push"]);
    assert_eq!(asked[0].service.as_deref(), Some(HOST));
    assert_eq!(lines(&registry, " 401").len(), 1);
    // No ping.
    assert_eq!(registry.requests(Kind::Other), 0);
    assert!(lines(&registry, "GET /v2/ ").is_empty());
}

/// Row 54a: twenty requests of one scope ask for one token, and another scope for one more.
#[tokio::test(start_paused = true)]
async fn twenty_blobs_at_once_ask_for_one_token() {
    let (registry, client) = guarded(tokens()).await;
    let image = registry.seed_image("a", "1", &layers(20)).await;
    registry.add(Toxic::new(lazyblob_remote::testing::Effect::Delay(Duration::from_secs(1))));
    let access = alice();
    let repository = name("registry.test/a");
    let repository = client.repository(&repository, Scopes::pull(&repository), &access).unwrap();

    let heads = image.layers().map(|layer| repository.head_blob(layer));
    futures::future::try_join_all(heads).await.unwrap();

    assert_eq!(registry.requests(Kind::Token), 1);
    assert_eq!(registry.requests(Kind::BlobHead), 20 + 20);

    // The other repository's is refused with the same token; those who come later know.
    let other = name("registry.test/b");
    let other = client.repository(&other, Scopes::pull(&other), &access).unwrap();
    for layer in image.layers().take(3) {
        assert!(other.head_blob(layer).await.unwrap_err().is_not_found());
    }
    let asked = registry.tokens().unwrap().requests();
    assert_eq!(
        asked.iter().map(|asked| asked.scopes.join(" ")).collect::<Vec<_>>(),
        ["repository:a:pull", "repository:b:pull"]
    );
}

/// Row 53: a token that ends in the middle of a copy costs one more.
#[tokio::test(start_paused = true)]
async fn a_token_that_ends_midway_is_renewed_once() {
    // Ends without having said so, in the middle of the mounts.
    let (registry, client) = guarded(tokens().uses(6)).await;
    registry.seed_image("a", "1", &layers(7)).await;

    let report =
        copy(&client, ("registry.test/a", "1"), ("registry.test/b", "1"), &alice()).run().await.unwrap();

    // GET, HEAD, 8 mounts and PUT are 11 answers of two tokens.
    assert_eq!(registry.requests(Kind::Token), 2, "{:?}", registry.lines());
    assert_eq!(registry.requests(Kind::BlobGet), 0);
    assert_eq!(tagged_by(&registry, "b").await, Some(report.root.to_string()));
}

async fn tagged_by(registry: &TestRegistry, repository: &str) -> Option<String> {
    let client = client(registry.transport());
    let repository = name(&format!("{HOST}/{repository}"));
    let repository = client.repository(&repository, Scopes::pull(&repository), &alice()).unwrap();
    repository.get_manifest(&tag("1")).await.ok().map(|found| found.digest().to_string())
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_under_an_upload_costs_that_upload_once_more() {
    let from = TestRegistry::in_memory("from.test").await;
    from.seed_image("a", "1", &[bytes(200_000)]).await;
    // Three HEADs come first, of the manifest and of two blobs, and the config's POST, PATCH and PUT; then the layer's
    // POST, and its PATCH meets the end of the token.
    let (to, _) = guarded(tokens().uses(7)).await;
    let client = client(from.transport().with(&to));
    let job = copy(&client, ("from.test/a", "1"), ("registry.test/b", "1"), &alice());
    crate::support::one_at_a_time(&client);

    let report = job.run().await.unwrap();

    assert_eq!(
        lines(&to, "PATCH").iter().filter(|line| line.ends_with(" 401")).count(),
        1,
        "{:?}",
        to.lines()
    );
    assert_eq!(lines(&to, "PUT /v2/b/manifests/1 201").len(), 1);
    // Two blobs and the one whose upload was interrupted.
    assert_eq!(from.requests(Kind::BlobGet), 3);
    assert_eq!(tagged_by(&to, "b").await, Some(report.root.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_said_when_it_ends_is_renewed_without_a_401() {
    let (registry, client) = guarded(tokens().ttl(Duration::from_secs(100))).await;
    registry.seed_image("a", "1", &layers(1)).await;
    let access = alice();
    manifest(&client, &access).await.unwrap();
    tokio::time::advance(Duration::from_secs(80)).await;
    manifest(&client, &access).await.unwrap();
    assert_eq!(registry.requests(Kind::Token), 1);

    tokio::time::advance(Duration::from_secs(15)).await;
    manifest(&client, &access).await.unwrap();

    assert_eq!(registry.requests(Kind::Token), 2);
    assert_eq!(lines(&registry, " 401").len(), 1);
}

#[tokio::test]
async fn scopes_that_turn_out_to_be_lacking_are_learned() {
    let (registry, client) = guarded(tokens()).await;
    let image = registry.seed_image("a", "1", &layers(4)).await;
    let access = alice();
    let repository = name("registry.test/b");
    // Nobody said that something is read from `a`.
    let repository = client.repository(&repository, Scopes::push(&repository), &access).unwrap();

    for layer in image.layers() {
        let mounted = repository.mount_blob(layer, "a").await.unwrap();
        assert_eq!(mounted, lazyblob_remote::endpoint::Mounted::Yes);
    }

    // The first is refused once, and the challenge names both scopes.
    assert_eq!(registry.requests(Kind::Mount), 4 + 1, "{:?}", registry.lines());
    assert_eq!(registry.requests(Kind::Token), 1);
}

#[tokio::test]
async fn insufficient_scope_brings_one_larger_token() {
    let (registry, client) = guarded(tokens()).await;
    let image = registry.seed_image("a", "1", &layers(3)).await;
    let access = alice();
    let repository = name("registry.test/b");
    let repository = client.repository(&repository, Scopes::push(&repository), &access).unwrap();
    assert!(repository.get_manifest(&tag("1")).await.unwrap_err().is_not_found());

    for layer in image.layers() {
        repository.mount_blob(layer, "a").await.unwrap();
    }

    let asked = registry.tokens().unwrap().requests();
    assert_eq!(asked.len(), 2);
    // The challenge's scope comes first: some servers read no other.
    assert!(asked[1].scopes.iter().any(|scope| scope == "repository:a:pull"), "{asked:?}");
    assert_eq!(registry.requests(Kind::Mount), 3 + 1);
}

#[tokio::test]
async fn nobody_in_particular_gets_a_token_too() {
    let (registry, client) = guarded(TokenServer::new(HOST).allow_everybody("a", &[Pull])).await;
    registry.seed_image("a", "1", &layers(1)).await;
    manifest(&client, &Access::anonymous()).await.unwrap();
    let asked = registry.tokens().unwrap().requests();
    assert_eq!((asked.len(), asked[0].user.as_deref(), asked[0].method.as_str()), (1, None, "GET"));
    assert_eq!(registry.counter().total(), 1 + 2);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let tokens = tokens().refresh_token("alice", "r3fresh").as_access_token();
    let (registry, client) = guarded(tokens).await;
    registry.seed_image("a", "1", &layers(1)).await;
    manifest(&client, &with(Credential::IdentityToken(Secret::new("r3fresh")))).await.unwrap();
    let asked = registry.tokens().unwrap().requests();
    assert_eq!((asked.len(), asked[0].method.as_str(), asked[0].user.as_deref()), (1, "POST", Some("alice")));
}

#[tokio::test]
async fn where_there_is_no_post_an_identity_token_goes_by_get() {
    let tokens = tokens().user("", "r3fresh").allow("", "a", &[Pull]).without_post();
    let (registry, client) = guarded(tokens).await;
    registry.seed_image("a", "1", &layers(1)).await;
    manifest(&client, &with(Credential::IdentityToken(Secret::new("r3fresh")))).await.unwrap();
    let asked: Vec<_> =
        registry.tokens().unwrap().requests().iter().map(|asked| asked.method.to_string()).collect();
    assert_eq!(asked, ["POST", "GET"]);
}

/// Row 24: a refusal of credentials is final.
#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_once_and_said_without_the_password() {
    let (registry, client) = guarded(tokens()).await;
    registry.seed_image("a", "1", &layers(5)).await;
    let access = with(basic("alice", "wr0ng"));

    let job = copy(&client, ("registry.test/a", "1"), ("registry.test/b", "1"), &access);
    let error = job.run().await.unwrap_err();

    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("credentials for registry.test are not accepted"), "{text}");
    assert!(text.contains("incorrect username or password"), "{text}");
    assert!(!text.contains("wr0ng") && !format!("{access:?}").contains("wr0ng"));
    assert_eq!(registry.counter().total(), 2, "{:?}", registry.lines());
}

#[tokio::test]
async fn a_refusal_after_the_token_says_what_to_do_too() {
    for (access, said) in [(Access::anonymous(), "`lazyblob login registry.test`"), (alice(), "of no use")] {
        let registry = TestRegistry::in_memory(HOST).await;
        registry.add(Toxic::status(403));
        let error = manifest(&client(registry.transport()), &access).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(registry.counter().total(), 1);
    }
}

/// Row 55: credentials are looked up by host, and when they are used.
#[tokio::test]
async fn the_keychain_is_asked_when_a_credential_is_used_and_not_more() {
    let (registry, client) = guarded(tokens()).await;
    registry.seed_image("a", "1", &layers(1)).await;
    let keys = Keys::of(HOST, basic("alice", "s3cret"));
    manifest(&client, &Access::new(Arc::<Keys>::clone(&keys))).await.unwrap();
    assert_eq!(keys.asked(), [HOST]);
}

#[tokio::test]
async fn who_is_not_logged_in_is_told_how() {
    let (registry, client) = guarded(tokens()).await;
    registry.seed_image("a", "1", &layers(1)).await;
    let error = manifest(&client, &Access::anonymous()).await.unwrap_err().to_string();
    assert!(error.contains("`lazyblob login registry.test`"), "{error}");
    assert_eq!(registry.counter().total(), 3);
}

#[tokio::test]
async fn a_server_that_repeats_the_secret_does_not_bring_it_into_a_message() {
    let (registry, client) = guarded(tokens()).await;
    registry.add(answer(400, &[], "bad password wr0ng for alice").on(Kind::Token));
    let error = manifest(&client, &with(basic("alice", "wr0ng"))).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("bad password … for alice") && !text.contains("wr0ng"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn token_servers_that_lie_end_the_job_soon() {
    for (lie, tries, said) in [
        (Lie::Garbage, 1, "not the JSON document"),
        (Lie::Empty, 1, "holds no token"),
        (Lie::Nothing, 1, "holds no token"),
        (Lie::Endless, 1, "longer than the limit"),
        (Lie::Broken, 6, "500"),
        (Lie::Unaccepted, 1, "not accepted"),
    ] {
        let (registry, client) = guarded(tokens()).await;
        registry.seed_image("a", "1", &layers(2)).await;
        registry.tokens().unwrap().lie(Some(lie));

        let job = copy(&client, ("registry.test/a", "1"), ("registry.test/b", "1"), &alice());
        let error = job.run().await.unwrap_err();

        let text = error.to_string();
        assert!(text.contains(said) && text.len() < 1000, "{lie:?}: {text}");
        assert!(!format!("{error:?}").contains("opaque-"), "{error:?}");
        assert_eq!(registry.requests(Kind::Token), tries, "{lie:?}");
        assert!(registry.requests(Kind::ManifestGet) <= tries + 1, "{lie:?}");
        assert_eq!(registry.requests(Kind::ManifestPut) + registry.requests(Kind::Mount), 0);
        registry.tokens().unwrap().lie(None);
        assert_eq!(tagged_by(&registry, "b").await, None);
    }
}

#[tokio::test]
async fn a_realm_must_be_the_address_of_a_web_server() {
    for realm in ["not a url", "", "ftp://auth.registry.test/token", "file:///etc/passwd", "https://"] {
        let (registry, client) = guarded(tokens().realm(realm)).await;
        let error = manifest(&client, &alice()).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{realm}: {error}");
        assert!(error.to_string().contains("realm"), "{error}");
        assert_eq!(registry.counter().total(), 1, "{realm}");
    }
}

#[tokio::test]
async fn a_realm_in_plain_http_gets_no_password() {
    let (registry, client) = guarded(tokens().realm("http://auth.registry.test/token")).await;
    let error = manifest(&client, &alice()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("from https to http://auth.registry.test"), "{error}");
    assert_eq!(registry.requests(Kind::Token), 0);
}

#[tokio::test]
async fn an_odd_life_of_a_token_is_no_reason_to_fail() {
    for life in ["-1", "null", "\"300\"", "1e9", "0", "18446744073709551615"] {
        let (registry, client) = guarded(tokens()).await;
        let document = format!("{{\"token\":\"t\",\"expires_in\":{life}}}");
        registry.add(answer(200, &[], document).on(Kind::Token));
        registry.add(answer(404, &[], "").on(Kind::ManifestGet).after(1));
        let error = manifest(&client, &alice()).await.unwrap_err();
        assert!(error.is_not_found(), "{life}: {error}");
    }
}

#[tokio::test]
async fn a_challenge_of_an_unknown_kind_is_said() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(answer(401, &[("www-authenticate", "Negotiate")], ""));
    let client = client(registry.transport());
    let error = manifest(&client, &alice()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(error.to_string().contains("of no use to what it asks for"), "{error}");
    assert_eq!(registry.counter().total(), 1);
}

#[tokio::test]
async fn basic_costs_one_401() {
    use lazyblob_remote::server::{Anonymous, Htpasswd};
    let line = format!("alice:{}\n", bcrypt::hash("s3cret", 4).unwrap());
    let guard = Htpasswd::parse(&line, Anonymous::Nothing, "test").unwrap();
    let registry = TestRegistry::builder().guarded_by(Arc::new(guard)).in_memory(HOST).await;
    registry.seed_image("a", "1", &layers(3)).await;
    let client = client(registry.transport());

    copy(&client, ("registry.test/a", "1"), ("registry.test/b", "1"), &alice()).run().await.unwrap();
    assert_eq!(registry.counter().total(), 3 + 4 + 1, "{:?}", registry.lines());

    registry.reset();
    let error = manifest(&client, &with(basic("alice", "wr0ng"))).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }) && !format!("{error:?}").contains("wr0ng"));
    assert!(registry.counter().total() <= 2, "{:?}", registry.lines());
}

#[tokio::test]
async fn an_open_registry_is_never_asked_for_a_token() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.seed_image("a", "1", &layers(1)).await;
    let client = client(registry.transport());
    let keys = Keys::of(HOST, basic("alice", "s3cret"));
    manifest(&client, &Access::new(Arc::<Keys>::clone(&keys))).await.unwrap();
    assert!(keys.asked().is_empty());
    assert!(registry.log().iter().all(|entry| !entry.authorized));
    assert!(tagged(&registry, "a", "1").await.is_some());
    pulling(&client, "registry.test/a").tags().await.unwrap();
}
