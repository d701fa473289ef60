//! A public host does not lead into a private network.

use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::{Pull, Push};
use lazyblob_remote::testing::{Effect, Expiry, MemoryTransport, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::{Access, Error};

use crate::support::{Keys, basic, bytes, client, copy, layers, lines, tagged};

struct Scene {
    from: TestRegistry,
    to: TestRegistry,
    transport: MemoryTransport,
}

impl Scene {
    async fn new() -> Self {
        let guarded = |host: &'static str| {
            let tokens = TokenServer::new(host).user("alice", "s3cret").allow("alice", "*", &[Pull, Push]);
            TestRegistry::builder().tokens(tokens).in_memory(host)
        };
        let (from, to) = (guarded("from.test").await, TestRegistry::in_memory("to.test").await);
        from.seed_image("a", "1", &[bytes(100_000)]).await;
        let transport = from.transport().with(&to);
        Self { from, to, transport }
    }

    async fn run(&self) -> Result<(), Error> {
        let access = Access::new(Keys::of("from.test", basic("alice", "s3cret")));
        let client = client(self.transport.clone());
        copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &access).run().await.map(drop)
    }

    fn asked(&self, host: &str) -> usize {
        self.from.log().iter().chain(&self.to.log()).filter(|entry| entry.host == host).count()
    }
}

fn refused(outcome: Result<(), Error>, host: &str) {
    let error = outcome.unwrap_err();
    assert!(matches!(error.root(), Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("{host} is not a public address")), "{error}");
    assert!(!error.is_transient(), "{error:?}");
}

/// Row 92a: a redirect into a private network is refused before anything is sent there, once.
#[tokio::test]
async fn not_by_a_redirect() {
    let scene = Scene::new().await;
    scene.from.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
    let transport = scene.transport.clone().private("storage.from.test");
    let scene = Scene { transport, ..scene };
    refused(scene.run().await, "storage.from.test");
    assert_eq!(scene.asked("storage.from.test"), 0);
    // Neither of the two blobs is tried again.
    assert!(lines(&scene.from, " 307").len() <= 2);
    assert_eq!(tagged(&scene.to, "b", "1").await, None);
}

/// Row 92a: the address of a token server.
#[tokio::test]
async fn not_by_a_realm() {
    let scene = Scene::new().await;
    let transport = scene.transport.clone().private("auth.from.test");
    let scene = Scene { transport, ..scene };
    refused(scene.run().await, "auth.from.test");
    assert_eq!(scene.asked("auth.from.test"), 0);
    assert_eq!(scene.from.counter().total(), 1);
}

/// Row 92a: the address of an upload.
#[tokio::test]
async fn not_by_a_location() {
    let scene = Scene::new().await;
    scene.to.add(Toxic::new(Effect::ForeignLocation).on(Kind::Upload));
    let transport = scene.transport.clone().private("storage.to.test");
    let scene = Scene { transport, ..scene };
    refused(scene.run().await, "storage.to.test");
    assert_eq!(scene.asked("storage.to.test"), 0);
    assert_eq!(scene.to.requests(Kind::ManifestPut), 0);
}

/// Row 92a: a host is public if one of its addresses is.
#[tokio::test]
async fn not_by_a_host_that_has_a_private_address_beside_a_public_one() {
    let scene = Scene::new().await;
    scene.from.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
    let mixed = scene.transport.clone().host("from.test:81", scene.from.service()).private("from.test:81");
    let scene = Scene { transport: mixed.private("storage.from.test"), ..scene };
    refused(scene.run().await, "storage.from.test");
    assert_eq!(scene.asked("storage.from.test"), 0);
}

/// Row 92a: and a private registry may lead where it is.
#[tokio::test]
async fn a_private_registry_may_lead_to_private_hosts() {
    let scene = Scene::new().await;
    scene.from.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
    scene.to.add(Toxic::new(Effect::ForeignLocation).on(Kind::Upload));
    let mut transport = scene.transport.clone();
    for host in ["from.test", "auth.from.test", "storage.from.test", "to.test", "storage.to.test"] {
        transport = transport.private(host);
    }
    let scene = Scene { transport, ..scene };
    scene.run().await.unwrap();
    assert!(scene.asked("storage.from.test") > 0 && scene.asked("storage.to.test") > 0);
}

/// Row 92a: other ways that lead nowhere good.
#[tokio::test]
async fn a_redirect_leads_neither_from_https_to_http_nor_in_a_circle_nor_to_a_file() {
    for (to, said) in [
        ("http://other.test/x", "from https to http://other.test"),
        ("file:///etc/passwd", "a file address"),
        ("https://", "malformed"),
        ("/v2/a/blobs/again", "more than 8 redirects"),
    ] {
        let registry = TestRegistry::in_memory("from.test").await;
        registry.seed_image("a", "1", &layers(1)).await;
        registry.add(crate::support::answer(307, &[("location", to)], "").path("/blobs/"));
        let access = Access::anonymous();
        let target = TestRegistry::in_memory("to.test").await;
        let client = client(registry.transport().with(&target));
        let job = copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &access);
        crate::support::one_at_a_time(&client);
        let error = job.run().await.unwrap_err();
        assert!(matches!(error.root(), Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        // The second blob's turn may come before the first one's failure is heard of.
        assert!(registry.counter().total() <= 1 + 2 * 9);
        assert_eq!(target.requests(Kind::Upload), 0);
    }
}
