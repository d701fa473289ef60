//! Mirrors of `hosts.toml`: who is asked for what, in which order, and with whose credentials.

use std::sync::Arc;

use bytes::Bytes;
use lazyblob_remote::Access;
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::{Pull, Push};
use lazyblob_remote::testing::{Effect, Image, MemoryTransport, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::{Error, Registry, Scopes};

use crate::support::{
    Keys, answer, basic, blob, bytes, client_of, copy, layers, lines, name, pulling, read, tag,
};

struct Scene {
    transport: MemoryTransport,
    upstream: TestRegistry,
    one: TestRegistry,
    two: TestRegistry,
    client: Registry,
    image: Image,
}

/// Two mirrors of `up.test`, of which the first has `capabilities`.
async fn scene(capabilities: &str, no_upstream: bool) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("up.test");
    std::fs::create_dir(&host).unwrap();
    let text = format!("[host.\"https://one.test\"]\n{capabilities}\n[host.\"https://two.test\"]\n");
    std::fs::write(host.join("hosts.toml"), text).unwrap();
    let hosts = Hosts::builder().hosts_dir(directory.path()).no_upstream(no_upstream).build();
    // Read now, while the directory is there.
    hosts.resolve("up.test").unwrap();
    let upstream = TestRegistry::in_memory("up.test").await;
    let (one, two) = (TestRegistry::in_memory("one.test").await, TestRegistry::in_memory("two.test").await);
    let image = Image::of(&layers(2));
    for registry in [&upstream, &one, &two] {
        registry.seed("a", "1", &image).await;
    }
    let transport = upstream.transport().with(&one).with(&two);
    let client = client_of(transport.clone(), hosts);
    Scene { transport, upstream, one, two, client, image }
}

impl Scene {
    /// Reads the manifest by tag and by digest, and a layer.
    async fn pull(&self) -> Result<(), Error> {
        let place = pulling(&self.client, "up.test/a");
        let manifest = place.get_manifest(&tag("1")).await?;
        place.get_manifest(&Name::Digest(manifest.digest().clone())).await?;
        read(&blob(&place, &manifest.layers()[0])).await.map(drop)
    }

    /// The client, with one more registry on its network.
    fn joined(&self, other: &TestRegistry) -> Registry {
        let _shared = self.transport.clone().with(other);
        self.client.clone()
    }

    fn totals(&self) -> [u64; 3] {
        [&self.one, &self.two, &self.upstream].map(|registry| registry.counter().total())
    }
}

#[tokio::test]
async fn the_first_mirror_serves_and_is_told_whose_content_is_meant() {
    let scene = scene("", false).await;
    scene.pull().await.unwrap();
    assert_eq!(scene.totals(), [3, 0, 0]);
    assert!(scene.one.lines().iter().all(|line| line.contains("?ns=up.test ")), "{:?}", scene.one.lines());
}

#[tokio::test]
async fn a_mirror_that_only_pulls_is_not_asked_for_tags() {
    let scene = scene("capabilities = [\"pull\"]", false).await;
    scene.pull().await.unwrap();
    assert_eq!(scene.totals(), [2, 1, 0]);
    assert!(lines(&scene.one, "/manifests/1").is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_upstream_serves_where_no_mirror_does() {
    for toxic in [Toxic::status(404), Toxic::status(503), Toxic::status(401), Toxic::new(Effect::Drop)] {
        let scene = scene("", false).await;
        scene.one.add(toxic.clone());
        scene.two.add(toxic);
        scene.pull().await.unwrap();
        assert_eq!(scene.totals(), [3, 3, 3]);
        assert!(scene.upstream.lines().iter().all(|line| !line.contains("ns=")));
    }
}

#[tokio::test]
async fn wrong_bytes_of_a_mirror_s_manifest_lead_to_the_next() {
    let scene = scene("", false).await;
    scene.one.add(Toxic::new(Effect::Corrupt(30)).on(Kind::ManifestGet));
    scene.two.add(answer(200, &[("content-type", "text/html")], "<html>").on(Kind::ManifestGet));
    scene.pull().await.unwrap();
    assert_eq!(scene.upstream.requests(Kind::ManifestGet), 2);
}

#[tokio::test]
async fn a_mirror_s_blob_of_the_wrong_size_leads_to_the_next() {
    let scene = scene("", false).await;
    scene.one.add(answer(200, &[("content-length", "3")], Bytes::from_static(b"abc")).on(Kind::BlobGet));
    scene.pull().await.unwrap();
    assert_eq!((scene.two.requests(Kind::BlobGet), scene.upstream.counter().total()), (1, 0));
}

#[tokio::test]
async fn wrong_bytes_of_a_mirror_s_blob_are_read_again_at_the_next() {
    let scene = scene("", false).await;
    let to = TestRegistry::in_memory("to.test").await;
    let hosts_client = scene.joined(&to);
    scene.one.add(Toxic::new(Effect::Corrupt(7)).on(Kind::BlobGet));
    scene.two.add(
        Toxic::new(Effect::Corrupt(9)).on(Kind::BlobGet).path(scene.image.config().digest().to_string()),
    );

    let job = copy(&hosts_client, ("up.test/a", "1"), ("to.test/b", "1"), &Access::anonymous());
    job.run().await.unwrap();

    // Three blobs, each first at the first mirror; the config at every address.
    let asked = [&scene.one, &scene.two, &scene.upstream].map(|registry| registry.requests(Kind::BlobGet));
    assert_eq!(asked, [3, 3, 1]);
    assert_eq!(to.requests(Kind::ManifestPut), 1);
}

#[tokio::test]
async fn where_every_address_brings_wrong_bytes_it_ends() {
    for no_upstream in [false, true] {
        let scene = scene("", no_upstream).await;
        let to = TestRegistry::in_memory("to.test").await;
        for registry in [&scene.one, &scene.two, &scene.upstream] {
            registry.add(Toxic::new(Effect::Corrupt(7)).on(Kind::BlobGet));
        }
        let job = copy(&scene.joined(&to), ("up.test/a", "1"), ("to.test/b", "1"), &Access::anonymous());
        let error = job.run().await.unwrap_err();
        assert!(matches!(error.root(), Error::Integrity { .. }), "{error}");
        let asked =
            [&scene.one, &scene.two, &scene.upstream].map(|registry| registry.requests(Kind::BlobGet));
        assert!(asked.iter().all(|requests| *requests <= 3), "{asked:?}");
        assert_eq!(asked[2] == 0, no_upstream);
        assert_eq!(to.requests(Kind::ManifestPut), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_goes_on_at_the_next_where_a_mirror_broke() {
    let scene = scene("", false).await;
    let content = bytes(100_000);
    let big = Image::of(std::slice::from_ref(&content));
    for registry in [&scene.one, &scene.two] {
        registry.seed("a", "big", &big).await;
    }
    scene.one.add(Toxic::new(Effect::CutBody(40_000)).on(Kind::BlobGet).times(1));
    scene.one.add(Toxic::status(500).on(Kind::BlobGet).after(1));
    let layer = big.layers().next().unwrap();
    assert_eq!(read(&blob(&pulling(&scene.client, "up.test/a"), layer)).await.unwrap(), content);
    let ranges: Vec<_> = scene.two.log().into_iter().map(|entry| entry.range).collect();
    assert_eq!(ranges, [Some("bytes=40000-99999".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn without_an_upstream_it_is_asked_for_nothing() {
    let scene = scene("", true).await;
    scene.pull().await.unwrap();
    let place = pulling(&scene.client, "up.test/a");
    place.tags().await.unwrap();
    place.referrers(scene.image.manifest.digest()).await.unwrap();
    place.head_manifest(&tag("1")).await.unwrap();
    place.head_blob(scene.image.config()).await.unwrap();
    scene.one.add(Toxic::status(404));
    scene.two.add(Toxic::status(404));
    assert!(scene.pull().await.unwrap_err().is_not_found());
    assert!(place.tags().await.unwrap_err().is_not_found());
    assert_eq!(scene.upstream.counter().total(), 0, "{:?}", scene.upstream.lines());
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_down_is_not_the_image_s_absence() {
    let scene = scene("", true).await;
    scene.one.add(Toxic::status(503));
    scene.two.add(Toxic::status(404));
    let error = scene.pull().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(scene.upstream.counter().total(), 0);
}

#[tokio::test]
async fn what_is_written_is_compared_with_the_upstream_alone() {
    let scene = scene("", false).await;
    // The mirrors have it, and the upstream has another image under the tag.
    let other = scene.upstream.seed_image("a", "1", &layers(5)).await;
    let job = |client: &Registry| copy(client, ("up.test/a", "1"), ("up.test/c", "1"), &Access::anonymous());
    for mirror in [&scene.one, &scene.two] {
        mirror.seed("c", "1", &scene.image).await;
    }
    let report = job(&scene.client).run().await.unwrap();
    assert!(!report.unchanged);
    assert_eq!(report.root, *scene.image.manifest.digest());
    assert_ne!(report.root, *other.manifest.digest());
    assert_eq!(scene.upstream.requests(Kind::ManifestHead), 1);
    assert_eq!(scene.upstream.requests(Kind::ManifestPut), 1);
    for mirror in [&scene.one, &scene.two] {
        assert!(mirror.log().iter().all(|entry| entry.method == "GET"), "{:?}", mirror.lines());
        assert!(mirror.log().iter().all(|entry| !entry.target.starts_with("/v2/c/")));
    }
}

#[tokio::test]
async fn a_mirror_gets_no_credentials_of_the_upstream() {
    let scene = scene("", false).await;
    let tokens = TokenServer::new("one.test").user("alice", "s3cret").allow("alice", "*", &[Pull, Push]);
    let guarded = TestRegistry::builder().tokens(tokens).in_memory("one.test").await;
    let transport = scene.upstream.transport().with(&guarded).with(&scene.two);
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("up.test");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("hosts.toml"), "[host.\"https://one.test\"]\n").unwrap();
    let client = client_of(transport, Hosts::builder().hosts_dir(directory.path()).build());
    let keys = Keys::of("up.test", basic("alice", "s3cret"));
    let repository = name("up.test/a");
    let access = Access::new(Arc::<Keys>::clone(&keys));
    let place = client.repository(&repository, Scopes::pull(&repository), &access).unwrap();
    place.get_manifest(&tag("1")).await.unwrap();
    assert!(keys.asked().iter().all(|host| host == "one.test"), "{:?}", keys.asked());
    assert!(guarded.tokens().unwrap().requests().iter().all(|asked| asked.user.is_none()));
    assert_eq!(scene.upstream.requests(Kind::ManifestGet), 1);
}

#[tokio::test]
async fn a_server_in_the_registry_s_place_has_its_own_credentials() {
    let tokens = TokenServer::new("other.test").user("alice", "s3cret").allow("alice", "*", &[Pull, Push]);
    let other = TestRegistry::builder().tokens(tokens).in_memory("other.test").await;
    other.seed_image("a", "1", &layers(1)).await;
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("up.test");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("hosts.toml"), "server = \"https://other.test\"\n").unwrap();
    let repository = name("up.test/a");
    for (owner, lets_in) in [("up.test", false), ("other.test", true)] {
        let hosts = Hosts::builder().hosts_dir(directory.path()).build();
        let client = client_of(other.transport(), hosts);
        let keys = Keys::of(owner, basic("alice", "s3cret"));
        let access = Access::new(Arc::<Keys>::clone(&keys));
        let place = client.repository(&repository, Scopes::pull(&repository), &access).unwrap();
        assert_eq!(place.get_manifest(&tag("1")).await.is_ok(), lets_in, "{owner}");
        assert!(keys.asked().iter().all(|host| host == "other.test"));
    }
}
