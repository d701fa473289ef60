//! Many transfers at once, everything that can happen to them, and nobody who hangs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::future::join_all;
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::Settings;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, MemoryTransport, TestRegistry, Toxic};
use lazyblob_remote::transfer::{self, Limits, Need, Rank, Retry};
use lazyblob_remote::{Access, Error, Priority, Provider, Registry};
use tokio::time::timeout;

use crate::hosts::{client, copy, repository};
use crate::support::{
    Act, Asker, Gate, Put, Spring, Store, broken, bytes, engine, not_found, settle, unauthorized, wanted,
};

const HOSTS: [&str; 3] = ["a.test", "b.test", "c.test"];
/// Whoever has not ended by then never will.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);
/// A pause of a host that is longer is not waited for.
const LONGEST_ASKED: Duration = Duration::from_secs(3);

fn one_of<T: Copy>(random: &mut Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

fn limits(random: &mut Rng) -> Limits {
    let hosts = HOSTS.map(|host| (host.to_owned(), random.usize(1..=2)));
    Limits {
        total: random.usize(0..4),
        per_host: random.usize(1..=2),
        hosts: HashMap::from(hosts),
        downloads: random.usize(0..3),
        uploads: random.usize(0..3),
        requests: random.usize(1..=2),
    }
}

fn misbehaviour(random: &mut Rng) -> Toxic {
    let kinds =
        [Kind::BlobGet, Kind::Upload, Kind::BlobHead, Kind::Mount, Kind::ManifestGet, Kind::ManifestPut];
    let toxic = match random.u8(..9) {
        0 => Toxic::too_many_requests(None),
        1 => Toxic::too_many_requests(Some(random.u64(0..5))),
        2 => Toxic::status(503),
        3 => return Toxic::new(Effect::RefuseMount).on(Kind::Mount),
        4 => Toxic::status(one_of(random, &[401, 403, 404])),
        5 => Toxic::new(Effect::Drop),
        6 => Toxic::new(Effect::DropAnswer),
        7 => return Toxic::new(Effect::CutBody(random.u64(0..9000))).on(Kind::BlobGet).times(3),
        _ => {
            let pause = Duration::from_millis(random.u64(1..50));
            return Toxic::new(Effect::Slow { piece: 1000, pause }).on(Kind::BlobGet);
        }
    };
    toxic.on(one_of(random, &kinds)).after(random.u32(..6)).times(random.u32(1..4))
}

async fn copies_at_random(seed: u64) {
    // The jitter of the ladder, too.
    fastrand::seed(seed);
    let random = &mut Rng::with_seed(seed);
    let mut registries = Vec::new();
    for host in HOSTS {
        let registry = TestRegistry::in_memory(host).await;
        for (at, repository) in ["x", "y"].into_iter().enumerate() {
            // Layers out of a few, so that many images share them.
            let layers: Vec<Bytes> =
                (0..random.usize(1..5)).map(|_| bytes(random.u8(..5), 1000 + 4000 * at)).collect();
            registry.seed_image(repository, "1", &layers).await;
        }
        for _ in 0..random.usize(..3) {
            registry.add(misbehaviour(random));
        }
        registries.push(registry);
    }
    let network = registries[1..].iter().fold(registries[0].transport(), MemoryTransport::with);
    let client = client(network, limits(random));
    let jobs: Vec<_> = (0..random.usize(2..10))
        .map(|_| {
            let from = format!("{}/{}", one_of(random, &HOSTS), one_of(random, &["x", "y"]));
            let to = format!("{}/{}", one_of(random, &HOSTS), one_of(random, &["p", "q"]));
            let job = copy(&client, &from, &to);
            // Some lose interest, at once or later.
            let patience = random.bool().then(|| Duration::from_millis(random.u64(..5000)));
            async move { timeout(patience.unwrap_or(LONG), job.run()).await.is_ok() || patience.is_some() }
        })
        .collect();
    let ended = join_all(jobs).await;
    assert!(ended.into_iter().all(|ended| ended), "seed {seed}: a copy hangs");
    let transfers = client.transfers();
    assert!(timeout(LONG, transfers.close()).await.is_ok(), "seed {seed}: a transfer hangs");
    let scheduler = transfers.scheduler();
    let counts = (transfers.in_flight(), scheduler.active(), scheduler.waiting());
    assert_eq!(counts, (0, 0, 0), "seed {seed}");
}

/// Rows 13a, 17, 20, 91: copies in all directions between three hosts with a seat or two, with refusals, rate limits and
/// people who leave: all end, and nothing is left.
#[tokio::test(start_paused = true)]
async fn copies_at_random_all_end() {
    for seed in 0..300 {
        copies_at_random(seed).await;
    }
}

fn act(random: &mut Rng, size: usize) -> Act {
    match random.u8(..8) {
        0 => Act::Fail(broken()),
        1 => Act::Fail(not_found()),
        2 => Act::Fail(unauthorized()),
        3 => Act::PanicAt(random.usize(..size)),
        4 => Act::Lie,
        5 => Act::IgnoreRange,
        _ => Act::BreakAt(random.usize(..size)),
    }
}

async fn askers_at_random(seed: u64) {
    fastrand::seed(seed);
    let random = &mut Rng::with_seed(seed);
    let engine = engine(limits(random));
    let gate = Gate::shut();
    let sizes = [0, 1, 700, 3000];
    let blobs: Vec<Bytes> = (0..4).map(|seed| bytes(seed, sizes[usize::from(seed)])).collect();
    let place = |random: &mut Rng, nth: usize| {
        let store = Store::here(["p", "q"][nth % 2]).winding_down_through(&gate);
        let store = if nth < 2 { store } else { store.at(HOSTS[nth % 3]) };
        match random.u8(..12) {
            0 => store.then(Put::Panic),
            1 => store.then(Put::Fail(unauthorized())),
            2 => store.then(Put::Fail(not_found())),
            _ => store,
        }
        .shared()
    };
    let stores: Vec<_> = (0..5).map(|nth| place(random, nth)).collect();
    let (mut askers, mut gone) = (Vec::new(), 0);
    for _ in 0..random.usize(5..40) {
        let blob = &blobs[random.usize(..4)];
        let mut springs = Vec::new();
        for _ in 0..random.usize(1..3) {
            let spring = Spring::of(blob).in_pieces(100).through(&gate);
            let spring = if random.u8(..4) > 0 { spring.at(one_of(random, &HOSTS)) } else { spring };
            let spring = spring.in_repository(one_of(random, &["x", "y"]));
            let troubles = random.usize(..3);
            springs.push((0..troubles).fold(spring, |spring, _| spring.then(act(random, blob.len().max(1)))));
        }
        let springs: Vec<_> = springs.into_iter().map(Spring::shared).collect();
        let mut wanted = wanted(&springs[0], &stores[random.usize(..stores.len())]);
        wanted.sources.extend(springs[1..].iter().map(|spring| Arc::clone(spring) as Arc<dyn Provider>));
        wanted.access.priority = one_of(random, &[Priority::Speculative, Priority::Normal, Priority::Urgent]);
        wanted.height = random.u32(..4);
        let asker = Asker::of(&engine, wanted);
        match random.u8(..4) {
            0 => gate.pass(random.usize(..20)),
            1 => engine.set_limits(limits(random)),
            2 => tokio::time::sleep(Duration::from_secs(random.u64(..8))).await,
            _ => {}
        }
        askers.push(asker);
        if random.u8(..4) == 0 {
            settle().await;
            let asker = askers.swap_remove(random.usize(..askers.len()));
            if !asker.is_done() {
                asker.leave().await;
                gone += 1;
            }
        }
    }
    gate.open();
    for asker in askers {
        let log = Arc::clone(&asker.log);
        let outcome = asker.outcome().await;
        assert!(log.finishes() <= 1, "seed {seed}");
        if let Err(error) = &outcome {
            assert!(!matches!(error.root(), Error::Cancelled { .. }), "seed {seed}: a foreign cancellation");
        }
    }
    assert!(timeout(LONG, engine.close()).await.is_ok(), "seed {seed}: a transfer hangs, {gone} have left");
    let scheduler = engine.scheduler();
    let counts = (engine.in_flight(), scheduler.active(), scheduler.waiting());
    assert_eq!(counts, (0, 0, 0), "seed {seed}");
}

/// Rows 12, 17, 18b, 91: askers that come and go, sources that break, lie and panic, limits that change: everybody who
/// stays hears something, nobody hears of another one's leaving, and nothing is left.
#[tokio::test(start_paused = true)]
async fn askers_at_random_all_hear_something() {
    for seed in 0..300 {
        askers_at_random(seed).await;
    }
}

/// A client whose hosts ask to be left alone for seconds around the longest that is waited for, whenever a manifest is
/// asked for.
async fn with_moody_hosts(random: &mut Rng) -> Registry {
    let mut registries = Vec::new();
    for host in HOSTS {
        let registry = TestRegistry::in_memory(host).await;
        for _ in 0..10 {
            let seconds = random.u64(1..3 * LONGEST_ASKED.as_secs());
            registry.add(Toxic::too_many_requests(Some(seconds)).on(Kind::ManifestGet).times(1));
        }
        registries.push(registry);
    }
    let network = registries[1..].iter().fold(registries[0].transport(), MemoryTransport::with);
    let retry = Retry { tries: 1, longest_asked: LONGEST_ASKED, ..Retry::default() };
    let transfers = transfer::Settings { retry, limits: limits(random), ..transfer::Settings::default() };
    Registry::new(Arc::new(network), Hosts::default(), Settings { transfers, ..Settings::default() })
}

async fn places_at_random(seed: u64) {
    let random = &mut Rng::with_seed(seed);
    let client = with_moody_hosts(random).await;
    let scheduler = client.transfers().scheduler();
    let annoyers = (0..random.usize(..6)).map(|_| {
        let name = format!("{}/x", one_of(random, &HOSTS));
        let place = repository(&client, &name, &Access::anonymous());
        let begin = Duration::from_millis(random.u64(..8000));
        async move {
            tokio::time::sleep(begin).await;
            timeout(LONG, place.get_manifest(&Name::Tag("1".to_owned()))).await.is_ok()
        }
    });
    let annoyers: Vec<_> = annoyers.collect();
    let takers: Vec<_> = (0..60)
        .map(|_| {
            let end = |random: &mut Rng| random.bool().then(|| one_of(random, &HOSTS));
            let need = match random.u8(..5) {
                0 => Need::manifest(one_of(random, &HOSTS)),
                1 => Need::probe(one_of(random, &HOSTS)),
                _ => Need::blob(end(random), end(random)),
            };
            let priority = one_of(random, &[Priority::Speculative, Priority::Normal, Priority::Urgent]);
            let mut place = scheduler.place(Rank { priority, height: random.u32(..3), shared: 1 });
            let begin = Duration::from_millis(random.u64(..5000));
            let work = Duration::from_millis(random.u64(50..1500));
            let patience = (random.u8(..3) == 0).then(|| Duration::from_millis(random.u64(..3000)));
            async move {
                tokio::time::sleep(begin).await;
                let waits = timeout(patience.unwrap_or(LONG), place.slot(&need, || ())).await;
                let Ok(_slot) = waits else { return patience.is_some() };
                tokio::time::sleep(work).await;
                true
            }
        })
        .collect();
    let (served, answered) = futures::join!(join_all(takers), join_all(annoyers));
    assert!(served.into_iter().all(|served| served), "seed {seed}: a place is never served");
    assert!(answered.into_iter().all(|answered| answered), "seed {seed}: a request is never sent");
    assert_eq!((scheduler.active(), scheduler.waiting()), (0, 0), "seed {seed}");
}

/// Rows 20, 26a: places taken, kept, left and given up at random by many at once, at hosts that ask to be left alone for
/// times around the longest that is waited for: all come to their turn, and at rest nothing is counted.
#[tokio::test(start_paused = true)]
async fn places_at_random_are_all_served() {
    for seed in 0..200 {
        places_at_random(seed).await;
    }
}
