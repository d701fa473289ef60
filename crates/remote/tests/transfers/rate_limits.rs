//! Hosts that ask for fewer requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use lazyblob_remote::body::{self, Body};
use lazyblob_remote::copy::Copy;
use lazyblob_remote::endpoint::Source as _;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::registry::RegistrySource;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action::Pull;
use lazyblob_remote::server::{Dropped, Service};
use lazyblob_remote::testing::{Effect, Expiry, MemoryTransport, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::transfer::{Limits, Wanted};
use lazyblob_remote::{Access, Error, Registry, RepositoryName, Scopes};
use tokio::time::Instant;

use crate::hosts::{assert_at_rest, client, copy, copy_to};
use crate::support::bytes;

/// How long an answer takes.
const LATENCY: Duration = Duration::from_millis(50);

/// A registry that refuses every so many requests, and remembers when they came.
#[derive(Debug)]
struct Busy {
    registry: Arc<dyn Service>,
    /// One request in so many gets 429.
    every: usize,
    /// In seconds.
    retry_after: Option<u64>,
    came: AtomicUsize,
    log: Mutex<Vec<Seen>>,
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Came(Instant),
    Refused(Instant),
}

impl Busy {
    fn of(registry: &TestRegistry, every: usize, retry_after: Option<u64>) -> Arc<Self> {
        let (came, log) = Default::default();
        Arc::new(Self { registry: registry.service(), every, retry_after, came, log })
    }

    fn see(&self, seen: Seen) {
        self.log.lock().unwrap().push(seen);
    }

    fn requests(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }

    /// The time in which it wanted to be left alone, if each refusal means `pause`; and whether it was.
    fn pauses(&self, pause: Duration) -> Duration {
        let mut asked = Duration::ZERO;
        let mut until: Option<Instant> = None;
        for seen in self.log.lock().unwrap().iter() {
            match *seen {
                Seen::Came(at) => {
                    let left_alone = until.is_none_or(|until| at >= until);
                    assert!(left_alone, "a request {:?} before the end of a pause", until.unwrap() - at);
                }
                Seen::Refused(at) => {
                    let end = at + pause;
                    asked += end - until.map_or(at, |until| until.max(at)).min(end);
                    until = until.max(Some(end));
                }
            }
        }
        asked
    }
}

#[async_trait]
impl Service for Busy {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Dropped> {
        self.see(Seen::Came(Instant::now()));
        let nth = self.came.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(LATENCY).await;
        if nth.is_multiple_of(self.every) {
            self.see(Seen::Refused(Instant::now()));
            let response = Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
            let response = match self.retry_after {
                Some(seconds) => response.header(RETRY_AFTER, seconds),
                None => response,
            };
            return Ok(response.body(body::empty()).unwrap());
        }
        self.registry.call(request).await
    }
}

const NEVER: usize = usize::MAX;

/// A copy of forty layers.
struct Run {
    took: Duration,
    source: Arc<Busy>,
    target: Arc<Busy>,
}

/// Copies an image of forty layers of `size` bytes.
async fn forty_layers(size: usize, (every_from, every_to): (usize, usize), retry_after: Option<u64>) -> Run {
    let (from, to) = (TestRegistry::in_memory("from.test").await, TestRegistry::in_memory("to.test").await);
    let layers: Vec<Bytes> = (0..40).map(|seed| bytes(seed, size)).collect();
    let image = from.seed_image("a", "1", &layers).await;
    let (source, target) = (Busy::of(&from, every_from, retry_after), Busy::of(&to, every_to, retry_after));
    let network = MemoryTransport::new()
        .host("from.test", Arc::<Busy>::clone(&source))
        .host("to.test", Arc::<Busy>::clone(&target));
    let client = client(network, Limits::default());
    let job = copy(&client, "from.test/a", "to.test/b");
    let began = Instant::now();
    let report = job.run().await.unwrap();
    let took = began.elapsed();
    assert_eq!(&report.root, image.manifest.digest());
    assert_at_rest(&client).await;
    Run { took, source, target }
}

/// The pause that each refusal means.
fn pause(retry_after: Option<u64>) -> Duration {
    retry_after.map_or(Duration::from_millis(500), Duration::from_secs)
}

/// Sizes of layers, with how often the chances are taken: of small ones that costs little.
const SIZES: [(usize, u64); 2] = [(3000, 20), (300_000, 3)];

/// Which end of a copy refuses requests.
#[derive(Clone, Copy)]
enum End {
    Source,
    Target,
}

/// Copies with an `end` that refuses every tenth request: it is asked hardly more often, never inside a pause, and that
/// takes little longer than the pauses do.
async fn assert_good_manners(end: End, size: usize, seeds: u64, retry_after: Option<u64>) {
    let run = async |every: usize| {
        let every = match end {
            End::Source => (every, NEVER),
            End::Target => (NEVER, every),
        };
        let Run { took, source, target } = forty_layers(size, every, retry_after).await;
        let busy = match end {
            End::Source => source,
            End::Target => target,
        };
        (took, busy)
    };
    let (usual_time, usual) = run(NEVER).await;
    for seed in 0..seeds {
        // The jitter of the ladder.
        fastrand::seed(seed);
        let (took, busy) = run(10).await;
        let asked = busy.pauses(pause(retry_after));
        assert!(asked > Duration::ZERO);
        let (requests, usual) = (busy.requests(), usual.requests());
        assert!(requests * 100 <= usual * 115, "{requests} requests instead of {usual}");
        let most = (usual_time + asked).mul_f64(1.3);
        assert!(took <= most, "seed {seed}: {took:?} of {usual_time:?}, pauses of {asked:?}");
    }
}

/// Row 26: a source that refuses every tenth request.
#[tokio::test(start_paused = true)]
async fn a_source_that_refuses_every_tenth_request_is_asked_politely() {
    for (size, seeds) in SIZES {
        for retry_after in [Some(1), None] {
            assert_good_manners(End::Source, size, seeds, retry_after).await;
        }
    }
}

/// Row 26: a target that does so; no upload starts over because of it.
#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_every_tenth_request_is_asked_politely() {
    for (size, seeds) in SIZES {
        for retry_after in [Some(1), None] {
            assert_good_manners(End::Target, size, seeds, retry_after).await;
        }
    }
}

fn refusing(registry: &TestRegistry, kind: Kind, seconds: u64) -> Registry {
    registry.add(Toxic::too_many_requests(Some(seconds)).on(kind).times(1));
    client(registry.transport(), Limits::default())
}

/// Row 26a: a host that asks for more than we wait is not asked again, and whoever comes next hears so at once instead
/// of standing in line for that time.
#[tokio::test(start_paused = true)]
async fn a_pause_past_the_cap_is_an_error_at_once_for_those_who_come_next() {
    let registry = TestRegistry::in_memory("a.test").await;
    registry.seed_image("a", "1", &[bytes(1, 100)]).await;
    let client = refusing(&registry, Kind::ManifestGet, 3600);
    let began = Instant::now();
    for _ in 0..3 {
        let error = copy(&client, "a.test/a", "a.test/b").run().await.unwrap_err();
        assert!(matches!(error.root(), Error::RateLimited { .. }), "{error}");
        assert!(error.to_string().contains("3600 s"), "{error}");
        assert_eq!((began.elapsed(), registry.counter().total()), (Duration::ZERO, 1));
    }
    assert_at_rest(&client).await;
    // When the time is over, it is asked again.
    tokio::time::sleep(Duration::from_secs(3601)).await;
    copy(&client, "a.test/a", "a.test/b").run().await.unwrap();
}

/// Row 26a: so do those who stand in line when the host says it, though they wait for a slot and not for the host.
#[tokio::test(start_paused = true)]
async fn a_pause_past_the_cap_is_an_error_for_those_in_line() {
    let registry = TestRegistry::in_memory("a.test").await;
    for repository in ["a", "b", "c"] {
        registry.seed_image(repository, "1", &[bytes(1, 100)]).await;
    }
    let client = refusing(&registry, Kind::ManifestGet, 3600);
    client.transfers().set_limits(Limits { requests: 1, ..Limits::default() });
    let began = Instant::now();
    let jobs = ["a.test/a", "a.test/b", "a.test/c"].map(|from| copy(&client, from, "a.test/d"));
    let outcomes = futures::future::join_all(jobs.iter().map(Copy::run)).await;
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!((began.elapsed(), registry.counter().total()), (Duration::ZERO, 1));
    assert_at_rest(&client).await;
}

/// Row 26b: other hosts are not concerned.
#[tokio::test(start_paused = true)]
async fn a_host_that_is_left_alone_slows_no_other_one() {
    let (a, b) = (TestRegistry::in_memory("a.test").await, TestRegistry::in_memory("b.test").await);
    for registry in [&a, &b] {
        registry.seed_image("x", "1", &[bytes(1, 100)]).await;
    }
    a.add(Toxic::too_many_requests(Some(60)).on(Kind::ManifestGet).times(1));
    let client = client(a.transport().with(&b), Limits { requests: 1, ..Limits::at_once(1) });
    let began = Instant::now();
    let at = |from: &str, to: &str| {
        let job = copy(&client, from, to);
        async move {
            job.run().await.unwrap();
            began.elapsed()
        }
    };
    let (slow, quick) = futures::join!(at("a.test/x", "a.test/y"), at("b.test/x", "b.test/y"));
    assert_eq!(quick, Duration::ZERO);
    assert!((60..80).contains(&slow.as_secs()), "{slow:?}");
    assert_at_rest(&client).await;
}

/// Rows 19, 26b: while the storage behind a registry is left alone, no slot is held for it.
#[tokio::test(start_paused = true)]
async fn a_pause_of_the_storage_holds_no_slot() {
    let (a, b) = (TestRegistry::in_memory("a.test").await, TestRegistry::in_memory("b.test").await);
    for (registry, seed) in [(&a, 1), (&b, 50)] {
        registry.seed_image("x", "1", &[bytes(seed, 100), bytes(seed + 1, 100)]).await;
    }
    a.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
    a.add(Toxic::too_many_requests(Some(60)).on(Kind::Redirect).times(1));
    let client = client(a.transport().with(&b), Limits::at_once(1));
    let temp = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let to_here = async |from: &str, dir: &str| {
        let layout = Layout::create_or_open(temp.path().join(dir)).await.unwrap();
        copy_to(&client, from, Arc::new(layout)).run().await.unwrap();
        began.elapsed()
    };
    let other = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        to_here("b.test/x", "b").await
    };
    let (slow, quick) = futures::join!(to_here("a.test/x", "a"), other);
    assert!(quick < Duration::from_secs(10), "{quick:?}");
    assert!(slow >= Duration::from_secs(60), "{slow:?}");
    assert_at_rest(&client).await;
}

/// Rows 19, 26b: a token server that wants to be left alone keeps no slot: who waits for a token waits without one.
#[tokio::test(start_paused = true)]
async fn a_pause_of_the_token_server_holds_no_slot() {
    let tokens = TokenServer::new("a.test").allow_everybody("*", &[Pull]);
    let a = TestRegistry::builder().tokens(tokens).in_memory("a.test").await;
    let b = TestRegistry::in_memory("b.test").await;
    let image = a.seed_image("x", "1", &[bytes(1, 100), bytes(2, 100)]).await;
    b.seed_image("x", "1", &[bytes(50, 100)]).await;
    a.add(Toxic::too_many_requests(Some(60)).on(Kind::Token).times(1));
    let client = client(a.transport().with(&b), Limits::at_once(1));
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::create_or_open(temp.path().join("a")).await.unwrap();
    let name: RepositoryName = "a.test/x".parse().unwrap();
    let repository = client.repository(&name, Scopes::pull(&name), &Access::anonymous()).unwrap();
    let source = RegistrySource::new(repository);
    // Straight to the blobs: the token is minted while a blob has its slot.
    let bring = |nth: usize| {
        client.transfers().bring(Wanted {
            blob: image.layers().nth(nth).unwrap().clone(),
            sources: vec![source.blobs()],
            target: Arc::new(layout.clone()),
            height: 0,
            shared: 1,
            access: Access::anonymous(),
        })
    };
    let began = Instant::now();
    let slow = async {
        let both = futures::join!(bring(0), bring(1));
        assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
        began.elapsed()
    };
    let quick = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let layout = Layout::create_or_open(temp.path().join("b")).await.unwrap();
        Box::pin(copy_to(&client, "b.test/x", Arc::new(layout)).run()).await.unwrap();
        began.elapsed()
    };
    let (slow, quick) = Box::pin(futures::future::join(slow, quick)).await;
    assert!(quick < Duration::from_secs(10), "{quick:?}");
    assert!(slow >= Duration::from_secs(60), "{slow:?}");
}
