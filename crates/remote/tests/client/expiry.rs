//! Permissions that end while a blob is on its way: signed addresses and tokens.

use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::Pull;
use lazyblob_remote::testing::{Effect, Expiry, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::{Access, Descriptor, Registry, Scopes};

use crate::support::{Keys, basic, blob, bytes, client, name, pulling, read};

const SIZE: usize = 300_000;

async fn seeded(registry: &TestRegistry) -> Descriptor {
    let image = registry.seed_image("a", "1", &[bytes(SIZE)]).await;
    image.layers().next().unwrap().clone()
}

/// Requests of `kind` as range and status.
fn asked(registry: &TestRegistry, kind: Kind) -> Vec<(Option<String>, u16)> {
    let entries = registry.log().into_iter().filter(|entry| entry.kind == kind);
    entries.map(|entry| (entry.range, entry.status.unwrap().as_u16())).collect()
}

fn rest() -> Option<String> {
    Some(format!("bytes=100000-{}", SIZE - 1))
}

/// Row 52: an address that has expired in the middle is asked for anew at the registry, which is the only one to know;
/// no byte comes twice, and what has expired is not asked again.
#[tokio::test(start_paused = true)]
async fn a_signed_address_that_expires_midway_is_asked_for_anew() {
    let registry = TestRegistry::in_memory("from.test").await;
    let layer = seeded(&registry).await;
    for (nth, expiry) in [Expiry::Bytes(100_000), Expiry::Requests(0), Expiry::Never].into_iter().enumerate()
    {
        let redirect = Toxic::new(Effect::RedirectToStorage(expiry)).on(Kind::BlobGet);
        registry.add(redirect.after(u32::try_from(nth).unwrap()).times(1));
    }
    registry.add(Toxic::new(Effect::CutBody(100_000)).on(Kind::Redirect).times(1));
    let client = client(registry.transport());

    let got = read(&blob(&pulling(&client, "from.test/a"), &layer)).await.unwrap();

    assert_eq!(got, bytes(SIZE));
    assert_eq!(asked(&registry, Kind::BlobGet), [(None, 307), (rest(), 307), (rest(), 307)]);
    assert_eq!(asked(&registry, Kind::Redirect), [(None, 200), (rest(), 403), (rest(), 206)]);
    let addresses: std::collections::BTreeSet<_> = registry
        .log()
        .into_iter()
        .filter(|entry| entry.kind == Kind::Redirect)
        .map(|entry| entry.target)
        .collect();
    assert_eq!(addresses.len(), 3);
    assert!(client.stats().bytes_down() < SIZE as u64 + 100);
}

/// Row 54b: an address that is refused for good is told without what is signed of it.
#[tokio::test(start_paused = true)]
async fn a_signed_address_is_not_shown_in_an_error() {
    for toxic in
        [Toxic::status(403), Toxic::status(500), Toxic::new(Effect::Drop), Toxic::new(Effect::CutBody(1))]
    {
        let registry = TestRegistry::in_memory("from.test").await;
        let layer = seeded(&registry).await;
        registry.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
        registry.add(toxic.on(Kind::Redirect));
        let client = client(registry.transport());
        let error = read(&blob(&pulling(&client, "from.test/a"), &layer)).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("Signature"), "{error:?}");
        // A refusal there may be one of an address that was too old.
        assert_eq!(registry.requests(Kind::Redirect), 6, "{error}");
    }
}

async fn guarded(tokens: TokenServer) -> (TestRegistry, Registry, Access) {
    let tokens = tokens.user("alice", "s3cret").allow("alice", "*", &[Pull]);
    let registry = TestRegistry::builder().tokens(tokens).in_memory("from.test").await;
    let client = client(registry.transport());
    (registry, client, Access::new(Keys::of("from.test", basic("alice", "s3cret"))))
}

/// Row 53: a token that has ended when the blob is gone on with costs one refresh, and no byte.
#[tokio::test(start_paused = true)]
async fn a_token_that_ends_midway_costs_one_refresh_and_no_byte() {
    let (registry, client, access) = guarded(TokenServer::new("from.test").uses(1)).await;
    let layer = seeded(&registry).await;
    // Not the 401s: those that have a body to cut.
    registry.add(Toxic::new(Effect::CutBody(100_000)).on(Kind::BlobGet).times(2));
    let place = client.repository(&name("from.test/a"), Scopes::pull(&name("from.test/a")), &access).unwrap();

    assert_eq!(read(&blob(&place, &layer)).await.unwrap(), bytes(SIZE));

    let expected = [(None, 401), (None, 200), (rest(), 401), (rest(), 206)];
    assert_eq!(asked(&registry, Kind::BlobGet), expected, "{:?}", registry.lines());
    assert_eq!(registry.requests(Kind::Token), 2);
}

/// Row 55: a blob is read long after whoever resolved it has gone, by somebody who knows its digest and its place: the
/// credentials are looked up then, by host.
#[tokio::test(start_paused = true)]
async fn a_blob_is_read_long_after_whoever_resolved_it_has_gone() {
    let (registry, first, access) =
        guarded(TokenServer::new("from.test").ttl(std::time::Duration::from_secs(300))).await;
    let image = registry.seed_image("a", "1", &[bytes(SIZE)]).await;
    let place = |client: &Registry, access: &Access| {
        client.repository(&name("from.test/a"), Scopes::pull(&name("from.test/a")), access).unwrap()
    };
    let manifest = place(&first, &access).get_manifest(&crate::support::tag("1")).await.unwrap();
    let layer = manifest.layers()[0].clone();
    first.close().await;
    drop((first, access, manifest));
    registry.tokens().unwrap().revoke_all();
    tokio::time::sleep(std::time::Duration::from_secs(24 * 3600)).await;
    registry.reset();

    // Opened by nobody in particular; asked for credentials only when it is read.
    let keys = Keys::of("from.test", basic("alice", "s3cret"));
    let access = Access::new(std::sync::Arc::<Keys>::clone(&keys));
    let second = client(registry.transport());
    let lazy = blob(&place(&second, &access), &layer);
    assert!(keys.asked().is_empty() && registry.counter().total() == 0);
    assert_eq!(read(&lazy).await.unwrap(), bytes(SIZE));
    assert_eq!(keys.asked(), ["from.test"]);
    assert_eq!(registry.requests(Kind::ManifestGet), 0);

    // And once more when that token has ended, too.
    tokio::time::sleep(std::time::Duration::from_secs(24 * 3600)).await;
    assert_eq!(read(&lazy).await.unwrap(), bytes(SIZE));
    assert_eq!(keys.asked(), ["from.test"; 2]);
    assert_eq!(image.layers().next(), Some(&layer));
}
