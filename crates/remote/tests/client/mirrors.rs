//! Mirrors of `hosts.toml`: who is asked for what, in which order, and with whose credentials.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use lazyblob_remote::body::Body;
use lazyblob_remote::endpoint::{Name, Target};
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::{Pull, Push};
use lazyblob_remote::server::{Dropped, Service};
use lazyblob_remote::testing::{Effect, Image, MemoryTransport, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::transport::{Phase, Route, TransportError};
use lazyblob_remote::{Access, Descriptor, Error, Mismatch, Registry, Scopes, Transport};
use tokio::time::Instant;

use crate::support::{
    Keys, answer, basic, blob, bytes, client_of, copy, layers, lines, name, pulling, read, tag,
};

pub(crate) struct Scene {
    transport: MemoryTransport,
    files: tempfile::TempDir,
    no_upstream: bool,
    pub(crate) upstream: TestRegistry,
    pub(crate) one: TestRegistry,
    pub(crate) two: TestRegistry,
    pub(crate) client: Registry,
    image: Image,
}

/// Two mirrors of `up.test`, of which the first has `capabilities`.
pub(crate) async fn scene(capabilities: &str, no_upstream: bool) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("up.test");
    std::fs::create_dir(&host).unwrap();
    let text = format!("[host.\"https://one.test\"]\n{capabilities}\n[host.\"https://two.test\"]\n");
    std::fs::write(host.join("hosts.toml"), text).unwrap();
    let upstream = TestRegistry::in_memory("up.test").await;
    let (one, two) = (TestRegistry::in_memory("one.test").await, TestRegistry::in_memory("two.test").await);
    let image = Image::of(&layers(2));
    for registry in [&upstream, &one, &two] {
        registry.seed("a", "1", &image).await;
    }
    let transport = upstream.transport().with(&one).with(&two);
    let client = client_of(transport.clone(), hosts(&directory, no_upstream));
    Scene { transport, files: directory, no_upstream, upstream, one, two, client, image }
}

fn hosts(files: &tempfile::TempDir, no_upstream: bool) -> Hosts {
    Hosts::builder().hosts_dir(files.path()).no_upstream(no_upstream).build()
}

impl Scene {
    /// The same hosts, for another client.
    fn hosts(&self) -> Hosts {
        hosts(&self.files, self.no_upstream)
    }

    /// Reads the manifest by tag and by digest, and a layer.
    pub(crate) async fn pull(&self) -> Result<(), Error> {
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

    pub(crate) fn totals(&self) -> [u64; 3] {
        [&self.one, &self.two, &self.upstream].map(|registry| registry.counter().total())
    }
}

/// Rows 56, 59: the first mirror serves all, and `ns` says whose content is meant.
#[tokio::test]
async fn the_first_mirror_serves_and_is_told_whose_content_is_meant() {
    let scene = scene("", false).await;
    scene.pull().await.unwrap();
    assert_eq!(scene.totals(), [3, 0, 0]);
    assert!(scene.one.lines().iter().all(|line| line.contains("?ns=up.test ")), "{:?}", scene.one.lines());
}

/// Row 56: a mirror that may only pull is asked for digests and blobs.
#[tokio::test]
async fn a_mirror_that_only_pulls_is_not_asked_for_tags() {
    let scene = scene("capabilities = [\"pull\"]", false).await;
    scene.pull().await.unwrap();
    assert_eq!(scene.totals(), [2, 1, 0]);
    assert!(lines(&scene.one, "/manifests/1").is_empty());
}

/// Writes down who was asked, in order.
#[derive(Debug)]
struct Noting(Arc<Mutex<Vec<&'static str>>>, &'static str, Arc<dyn Service>);

#[async_trait]
impl Service for Noting {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Dropped> {
        self.0.lock().unwrap().push(self.1);
        self.2.call(request).await
    }
}

/// Rows 27a, 56: one after the other as in the file, the upstream last.
#[tokio::test(start_paused = true)]
async fn mirrors_are_asked_in_their_order_and_the_upstream_last() {
    let scene = scene("", false).await;
    let asked = Arc::default();
    let noting =
        |name, registry: &TestRegistry| Arc::new(Noting(Arc::clone(&asked), name, registry.service()));
    let network = MemoryTransport::new()
        .host("one.test", noting("one", &scene.one))
        .host("two.test", noting("two", &scene.two))
        .host("up.test", noting("upstream", &scene.upstream));
    scene.one.add(Toxic::status(503));
    scene.two.add(Toxic::status(503));
    let client = client_of(network, scene.hosts());
    pulling(&client, "up.test/a").get_manifest(&tag("1")).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), ["one", "two", "upstream"]);
}

/// Row 27b: a mirror whose port is closed costs no wait.
#[tokio::test(start_paused = true)]
async fn a_refused_connection_leads_to_the_next_host_at_once() {
    let scene = scene("", false).await;
    scene.transport.remove("one.test");
    let began = Instant::now();
    scene.pull().await.unwrap();
    assert_eq!((scene.totals(), began.elapsed()), ([0, 3, 0], Duration::ZERO));
}

/// Gives up a host that has not begun to answer in time, as the transport over real connections does.
#[derive(Debug)]
struct Impatient(MemoryTransport, Duration);

#[async_trait]
impl Transport for Impatient {
    async fn send(&self, request: Request<Body>, route: &Route) -> Result<Response<Body>, TransportError> {
        let answer = tokio::time::timeout(self.1, self.0.send(request, route)).await;
        answer.unwrap_or_else(|elapsed| Err(TransportError::new(Phase::Exchange, elapsed)))
    }

    async fn is_public(&self, host: &str) -> bool {
        self.0.is_public(host).await
    }
}

/// Row 57a: a mirror that does not answer costs its time-out, once for each request, and no retry.
#[tokio::test(start_paused = true)]
async fn a_mirror_that_hangs_costs_its_time_out() {
    let scene = scene("", false).await;
    scene.one.add(Toxic::new(Effect::Hang));
    let limit = Duration::from_secs(30);
    let client = client_of(Impatient(scene.transport.clone(), limit), scene.hosts());
    let began = Instant::now();
    pulling(&client, "up.test/a").get_manifest(&tag("1")).await.unwrap();
    assert_eq!((scene.totals(), began.elapsed()), ([1, 1, 0], limit));
}

/// An image whose only layer is of 100 000 bytes, at both mirrors and the upstream.
async fn big(scene: &Scene) -> (Descriptor, Bytes) {
    let content = bytes(100_000);
    let big = Image::of(std::slice::from_ref(&content));
    for registry in [&scene.one, &scene.two, &scene.upstream] {
        registry.seed("a", "big", &big).await;
    }
    (big.layers().next().unwrap().clone(), content)
}

fn ranges(registry: &TestRegistry) -> Vec<Option<String>> {
    registry.log().into_iter().map(|entry| entry.range).collect()
}

/// Rows 27b, 57a: a mirror that always breaks off in the same place, or falls silent there, is asked twice.
#[tokio::test(start_paused = true)]
async fn a_mirror_that_keeps_breaking_off_is_left_for_the_next() {
    for toxic in [
        Toxic::new(Effect::CutBody(20_000)),
        Toxic::new(Effect::Slow { piece: 40_000, pause: Duration::from_secs(3600) }),
    ] {
        let scene = scene("", false).await;
        let (layer, content) = big(&scene).await;
        scene.one.add(toxic);
        let place = pulling(&scene.client, "up.test/a");
        assert_eq!(read(&blob(&place, &layer)).await.unwrap(), content);
        let at = |registry: &TestRegistry| registry.requests(Kind::BlobGet);
        assert_eq!([&scene.one, &scene.two, &scene.upstream].map(at), [2, 1, 0]);
        // Nothing comes twice.
        assert_eq!(scene.client.stats().bytes_down(), 100_000);
        // For this blob the others go first from now on, and for others it does.
        assert_eq!(read(&blob(&place, &layer)).await.unwrap(), content);
        assert_eq!([&scene.one, &scene.two, &scene.upstream].map(at), [2, 2, 0]);
        scene.one.behave();
        read(&blob(&place, scene.image.config())).await.unwrap();
        assert_eq!(at(&scene.one), 3);
    }
}

/// Rows 27b, 57a: however much it brings each time: breaks are counted at a host, and progress does not wipe them out.
#[tokio::test(start_paused = true)]
async fn a_mirror_that_breaks_off_after_much_is_left_as_well() {
    for toxic in [
        Toxic::new(Effect::CutBody(1_500_000)),
        Toxic::new(Effect::Slow { piece: 1_500_000, pause: Duration::from_secs(3600) }),
    ] {
        let scene = scene("", false).await;
        let content = bytes(8_000_000);
        let image = Image::of(std::slice::from_ref(&content));
        for registry in [&scene.one, &scene.two, &scene.upstream] {
            registry.seed("a", "long", &image).await;
        }
        scene.one.add(toxic);
        let place = pulling(&scene.client, "up.test/a");
        let layer = image.layers().next().unwrap();
        assert_eq!(read(&blob(&place, layer)).await.unwrap(), content);
        let at = |registry: &TestRegistry| registry.requests(Kind::BlobGet);
        assert_eq!([&scene.one, &scene.two, &scene.upstream].map(at), [2, 1, 0]);
        assert_eq!(scene.client.stats().bytes_down(), 8_000_000);
    }
}

/// Row 27b: where no other host has the blob, it is tried there as often as anywhere.
#[tokio::test(start_paused = true)]
async fn a_mirror_that_keeps_breaking_off_is_asked_again_if_nobody_else_has_it() {
    let scene = scene("", true).await;
    let (layer, _) = big(&scene).await;
    scene.two.add(Toxic::status(404));
    scene.one.add(Toxic::new(Effect::CutBody(10)));
    let place = pulling(&scene.client, "up.test/a");
    let error = read(&blob(&place, &layer)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // Twice at first, and then six times after the other one.
    assert_eq!(scene.totals(), [2 + 6, 6, 0]);
}

/// Rows 50a, 50b: both digests and the mirror that brought the wrong bytes are named, and it is not asked twice.
#[tokio::test(start_paused = true)]
async fn who_brought_wrong_bytes_is_named() {
    let scene = scene("", true).await;
    let (layer, _) = big(&scene).await;
    for mirror in [&scene.one, &scene.two] {
        mirror.add(Toxic::new(Effect::Corrupt(7)).on(Kind::BlobGet));
    }
    let place = pulling(&scene.client, "up.test/a");
    let error = blob(&place, &layer).read_whole(1 << 20).await.unwrap_err();
    let Error::Integrity { mismatch: Mismatch::Digest { expected, actual }, .. } = &error else {
        panic!("{error}")
    };
    assert!(*expected == layer.digest().to_string() && actual != expected);
    let said = error.to_string();
    for part in [&format!("{expected} from up.test/a at two.test"), actual, expected] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(scene.totals(), [1, 1, 0]);

    // The same of what goes into a directory, of which nothing stays.
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create_or_open(directory.path().join("layout")).await.unwrap();
    let fresh = client_of(scene.transport.clone(), scene.hosts());
    let error = layout.put_blob(&blob(&pulling(&fresh, "up.test/a"), &layer), None).await.unwrap_err();
    assert!(error.to_string().contains("from up.test/a at one.test: digest is sha256:"), "{error}");
    assert!(!layout.has_blob(&layer).await.unwrap());
    assert!(layout.ingests().list().await.unwrap().is_empty());
}

/// Row 27a: the upstream serves where no mirror does, and each is asked once.
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

/// Row 57b: of manifests.
#[tokio::test]
async fn wrong_bytes_of_a_mirror_s_manifest_lead_to_the_next() {
    let scene = scene("", false).await;
    scene.one.add(Toxic::new(Effect::Corrupt(30)).on(Kind::ManifestGet));
    scene.two.add(answer(200, &[("content-type", "text/html")], "<html>").on(Kind::ManifestGet));
    scene.pull().await.unwrap();
    assert_eq!(scene.upstream.requests(Kind::ManifestGet), 2);
}

/// Row 57b: of a length that cannot be right.
#[tokio::test]
async fn a_mirror_s_blob_of_the_wrong_size_leads_to_the_next() {
    let scene = scene("", false).await;
    scene.one.add(answer(200, &[("content-length", "3")], Bytes::from_static(b"abc")).on(Kind::BlobGet));
    scene.pull().await.unwrap();
    assert_eq!((scene.two.requests(Kind::BlobGet), scene.upstream.counter().total()), (1, 0));
}

/// Rows 50a, 57b: each wrong answer is asked for once, and the next host brings the blob within the same call.
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

/// Row 50a: no host is asked again for what it brought wrong.
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

/// Rows 27a, 88: at the offset that was reached.
#[tokio::test(start_paused = true)]
async fn a_blob_goes_on_at_the_next_where_a_mirror_broke() {
    let scene = scene("", false).await;
    let (layer, content) = big(&scene).await;
    scene.one.add(Toxic::new(Effect::CutBody(40_000)).on(Kind::BlobGet).times(1));
    scene.one.add(Toxic::status(500).on(Kind::BlobGet).after(1));
    assert_eq!(read(&blob(&pulling(&scene.client, "up.test/a"), &layer)).await.unwrap(), content);
    assert_eq!(ranges(&scene.two), [Some("bytes=40000-99999".to_owned())]);
}

/// Row 58a: neither where the mirrors serve nor where they fail.
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

/// Row 58a: the error is that of the mirror that may have it.
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
