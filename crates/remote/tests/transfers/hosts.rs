//! The engine between registries and layouts: what a server sees of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use lazyblob_remote::copy::{Copy, Report};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::progress::State;
use lazyblob_remote::provider::Origin;
use lazyblob_remote::registry::{RegistrySource, RegistryTarget, Repository, Settings};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, Image, TestRegistry, Toxic};
use lazyblob_remote::transfer::{self, Action, Limits, Retry};
use lazyblob_remote::{Access, Provider, Registry, RepositoryName, Scopes, Target, Transport};
use tokio::time::Instant;

use crate::support::{Asker, Gate, Log, Spring, Told, bytes, settle, unlimited};

pub(crate) fn repository(client: &Registry, name: &str, access: &Access) -> Repository {
    let name: RepositoryName = name.parse().unwrap();
    client.repository(&name, Scopes::push(&name), access).unwrap()
}

/// A client with the default ladder.
pub(crate) fn client(transport: impl Transport + 'static, limits: Limits) -> Registry {
    let transfers = transfer::Settings { limits, ..transfer::Settings::default() };
    Registry::new(Arc::new(transport), Hosts::default(), Settings { transfers, ..Settings::default() })
}

/// A copy of the image under tag `1` from one repository to another.
pub(crate) fn copy(client: &Registry, from: &str, to: &str) -> Copy {
    copy_as(client, from, to, &Access::anonymous())
}

/// The same on somebody's behalf.
pub(crate) fn copy_as(client: &Registry, from: &str, to: &str, access: &Access) -> Copy {
    let target = RegistryTarget::new(repository(client, to, access));
    copy_of(client, from, Arc::new(target), access)
}

/// The same to any target.
pub(crate) fn copy_to(client: &Registry, from: &str, target: Arc<dyn Target>) -> Copy {
    copy_of(client, from, target, &Access::anonymous())
}

fn copy_of(client: &Registry, from: &str, target: Arc<dyn Target>, access: &Access) -> Copy {
    let source = RegistrySource::new(repository(client, from, access));
    let tag = Name::Tag("1".to_owned());
    let transfers = client.transfers().clone();
    Copy::new(Arc::new(source), tag.clone(), target, vec![tag], access.clone(), transfers)
}

pub(crate) async fn assert_at_rest(client: &Registry) {
    crate::support::assert_at_rest(client.transfers()).await;
}

/// `spring`'s blob, wanted at a registry.
fn wanted_at(spring: Arc<Spring>, target: RegistryTarget) -> transfer::Wanted {
    transfer::Wanted {
        blob: spring.descriptor(),
        sources: vec![spring],
        target: Arc::new(target),
        height: 0,
        shared: 1,
        access: Access::anonymous(),
    }
}

/// Row 35: many pushes of one layer to one repository at once are one upload and one question; all hear of its end.
#[tokio::test(start_paused = true)]
async fn many_pushes_of_one_layer_are_one_upload() {
    let to = TestRegistry::in_memory("to.test").await;
    let client = client(to.transport(), Limits::default());
    let (layer, gate) = (bytes(1, 100_000), Gate::shut());
    let askers: Vec<_> = (0..10)
        .map(|_| {
            let spring = Spring::of(&layer).through(&gate).shared();
            let target = RegistryTarget::new(repository(&client, "to.test/a", &Access::anonymous()));
            Asker::of(client.transfers(), wanted_at(spring, target))
        })
        .collect();
    settle().await;
    assert_eq!(to.requests(Kind::Upload), 0, "no session is opened before the source has answered");
    gate.open();
    for asker in askers {
        let log = Arc::clone(&asker.log);
        assert_eq!(asker.outcome().await.unwrap().action, Action::Transfer);
        assert_eq!(log.all().last(), Some(&Told::Finish(State::Done)));
    }
    let methods: Vec<_> = to.log().into_iter().map(|entry| entry.method.to_string()).collect();
    assert_eq!(methods, ["HEAD", "POST", "PATCH", "PUT"]);
    assert_eq!(client.stats().bytes_up(), layer.len() as u64);
    assert_at_rest(&client).await;
}

/// Rows 35, 36: images that share a layer are pushed to one repository at once: the layer goes up once, and each manifest
/// and each report name what is that image's.
#[tokio::test(start_paused = true)]
async fn images_that_share_a_layer_each_get_their_own_report() {
    let (from, to) = (TestRegistry::in_memory("from.test").await, TestRegistry::in_memory("to.test").await);
    let shared = bytes(1, 50_000);
    let mut images = Vec::new();
    for nth in 0..6_u8 {
        let image = from.seed_image(&format!("a{nth}"), "1", &[shared.clone(), bytes(nth + 10, 999)]).await;
        images.push(image);
    }
    let client = client(from.transport().with(&to), Limits::default());
    let access = Access::anonymous();
    let jobs = (0..6).map(|nth| {
        let source = RegistrySource::new(repository(&client, &format!("from.test/a{nth}"), &access));
        let target = RegistryTarget::new(repository(&client, "to.test/b", &access));
        let names = vec![Name::Tag(format!("v{nth}"))];
        let transfers = client.transfers().clone();
        let tag = Name::Tag("1".to_owned());
        let job = Copy::new(Arc::new(source), tag, Arc::new(target), names, access.clone(), transfers);
        async move { job.run().await }
    });
    let reports: Vec<Report> = join_all(jobs).await.into_iter().map(Result::unwrap).collect();
    for (nth, (image, report)) in images.iter().zip(&reports).enumerate() {
        let expected: Vec<_> = image.blobs.iter().map(|(descriptor, _)| descriptor.clone()).collect();
        let got: Vec<_> = report.blobs.iter().map(|(descriptor, _)| descriptor.clone()).collect();
        assert_eq!(got, expected);
        assert_eq!(&report.root, image.manifest.digest());
        let place = repository(&client, "to.test/b", &access);
        let pushed = place.get_manifest(&Name::Tag(format!("v{nth}"))).await.unwrap();
        assert_eq!(pushed.bytes(), image.manifest.bytes());
    }
    // Six configs, six layers of their own, one that all share; each: POST, PATCH, PUT, and one HEAD before.
    assert_eq!((to.requests(Kind::BlobHead), to.requests(Kind::Upload)), (13, 39));
    assert_at_rest(&client).await;
}

/// Row 67: twenty copies of one image into one layout at once: its bytes come from the server once.
#[tokio::test(start_paused = true)]
async fn twenty_copies_of_one_image_at_once_bring_its_bytes_once() {
    let from = TestRegistry::in_memory("from.test").await;
    let layers: Vec<Bytes> = (0..5).map(|seed| bytes(seed, 100_000)).collect();
    let image = from.seed_image("a", "1", &layers).await;
    from.add(Toxic::new(Effect::Delay(Duration::from_secs(1))).on(Kind::BlobGet));
    let client = client(from.transport(), Limits::default());
    let temp = tempfile::tempdir().unwrap();
    let mut jobs = Vec::new();
    for _ in 0..20 {
        let layout = Layout::create_or_open(temp.path().join("layout")).await.unwrap();
        jobs.push(copy_to(&client, "from.test/a", Arc::new(layout)));
    }
    let reports = join_all(jobs.iter().map(Copy::run)).await;
    for report in reports {
        assert_eq!(&report.unwrap().root, image.manifest.digest());
    }
    assert_eq!(from.requests(Kind::BlobGet), image.blobs.len() as u64);
    let blobs: u64 = image.blobs.iter().map(|(blob, _)| blob.size()).sum();
    let manifests = from.requests(Kind::ManifestGet) * image.manifest.bytes().len() as u64;
    assert_eq!(client.stats().bytes_down(), blobs + manifests);
    let layout = Layout::open(temp.path().join("layout")).await.unwrap();
    for (blob, _) in &image.blobs {
        assert!(layout.holds(blob.digest(), blob.size()).await.unwrap());
    }
    assert_at_rest(&client).await;
}

/// Row 33: what is in the layout already is not asked for, and those who watch hear so.
#[tokio::test(start_paused = true)]
async fn what_the_layout_has_is_not_asked_for() {
    let from = TestRegistry::in_memory("from.test").await;
    let layers: Vec<Bytes> = (0..4).map(|seed| bytes(seed, 5000)).collect();
    from.seed_image("a", "1", &layers[..2]).await;
    let whole = Image::of(&layers);
    from.seed("b", "1", &whole).await;
    let client = client(from.transport(), Limits::default());
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::create_or_open(temp.path().join("layout")).await.unwrap();
    let target: Arc<dyn Target> = Arc::new(layout);
    copy_to(&client, "from.test/a", Arc::clone(&target)).run().await.unwrap();
    from.reset();
    let log = Arc::<Log>::default();
    let access = Access::anonymous().watched_by(Arc::<Log>::clone(&log));
    let source = RegistrySource::new(repository(&client, "from.test/b", &access));
    let tag = Name::Tag("1".to_owned());
    let names = vec![Name::Tag("2".to_owned())];
    let job = Copy::new(Arc::new(source), tag, target, names, access, client.transfers().clone());
    let report = job.run().await.unwrap();
    let actions: Vec<_> = report.blobs.iter().map(|(_, action)| *action).collect();
    assert_eq!(actions[1..3], [Action::Present; 2]);
    assert_eq!(from.requests(Kind::BlobGet), 3, "the new config and two layers");
    for layer in &layers[..2] {
        let digest = lazyblob_remote::digest::sha256(layer).to_string();
        assert!(from.lines().iter().all(|line| !line.contains(&digest)));
    }
    assert_eq!(log.all().iter().filter(|told| **told == Told::Finish(State::Present)).count(), 2);
}

/// A target that never answers does not keep a transfer that nobody wants: it ends as soon as the last one has left.
#[tokio::test(start_paused = true)]
async fn a_target_that_never_answers_keeps_nothing_up() {
    for (kind, after) in [(Kind::Upload, 0), (Kind::Upload, 1), (Kind::Upload, 2), (Kind::BlobHead, 0)] {
        let (from, to) =
            (TestRegistry::in_memory("from.test").await, TestRegistry::in_memory("to.test").await);
        from.seed_image("a", "1", &[]).await;
        to.add(Toxic::new(Effect::Hang).on(kind).after(after));
        let client = client(from.transport().with(&to), Limits::default());
        let job = copy(&client, "from.test/a", "to.test/b");
        let ended = tokio::time::timeout(Duration::from_secs(60), job.run()).await;
        assert!(ended.is_err(), "{kind:?} {after}");
        let began = Instant::now();
        let closed = tokio::time::timeout(Duration::from_secs(3600), client.transfers().close()).await;
        assert!(closed.is_ok(), "{kind:?} {after}: it hangs");
        assert_eq!(began.elapsed(), Duration::ZERO, "{kind:?} {after}");
        assert_at_rest(&client).await;
    }
}

/// Row 17: a transfer that waits out a pause of its target ends at once when nobody wants it any more.
#[tokio::test(start_paused = true)]
async fn a_pause_of_the_target_keeps_nothing_up() {
    let (from, to) = (TestRegistry::in_memory("from.test").await, TestRegistry::in_memory("to.test").await);
    from.seed_image("a", "1", &[]).await;
    // The session is asked for before the pause and opened in it: the bytes have to wait.
    to.add(Toxic::new(Effect::Delay(Duration::from_secs(5))).on(Kind::Upload).times(1));
    to.add(Toxic::too_many_requests(Some(100)).on(Kind::ManifestGet));
    let client = client(from.transport().with(&to), Limits::default());
    let job = copy(&client, "from.test/a", "to.test/b");
    let place = repository(&client, "to.test/b", &Access::anonymous());
    let pause = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        place.get_manifest(&Name::Tag("none".to_owned())).await.unwrap_err();
        std::future::pending::<()>().await;
    };
    let both = futures::future::join(job.run(), pause);
    assert!(tokio::time::timeout(Duration::from_secs(10), both).await.is_err());
    assert_eq!(to.requests(Kind::Upload), 1);
    let began = Instant::now();
    client.transfers().close().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_at_rest(&client).await;
}

/// Row 19: while an upload waits for its next try, its slots are another's.
#[tokio::test(start_paused = true)]
async fn an_upload_holds_no_slot_in_its_back_off() {
    let (from, to) = (TestRegistry::in_memory("from.test").await, TestRegistry::in_memory("to.test").await);
    let layers = [bytes(1, 1000), bytes(2, 1000)];
    from.seed_image("a", "1", &layers).await;
    to.add(Toxic::status(503).on(Kind::Upload).times(1));
    let retry = Retry { first: Duration::from_secs(10), jitter: 0.0, ..Retry::default() };
    let transfers = transfer::Settings { retry, limits: Limits::at_once(1), ..transfer::Settings::default() };
    let settings = Settings { transfers, ..Settings::default() };
    let client = Registry::new(Arc::new(from.transport().with(&to)), Hosts::default(), settings);
    let began = Instant::now();
    copy(&client, "from.test/a", "to.test/b").run().await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(10), "all others went in the gap of the first");
    let failed = to.lines().iter().position(|line| line.ends_with(" 503")).unwrap();
    let puts = to.lines().iter().filter(|line| line.starts_with("PUT ") && line.contains("uploads")).count();
    assert_eq!((failed < 5, puts), (true, 3));
    assert_at_rest(&client).await;
}

/// Rows 20, 64b: with one blob at a host, copies in opposite directions, within one host and onto it all end.
#[tokio::test(start_paused = true)]
async fn copies_in_all_directions_with_one_seat_each_do_not_lock_each_other_out() {
    for limits in
        [Limits { per_host: 1, requests: 1, ..unlimited() }, Limits { requests: 1, ..Limits::at_once(1) }]
    {
        let (a, b) = (TestRegistry::in_memory("a.test").await, TestRegistry::in_memory("b.test").await);
        for (registry, seed) in [(&a, 0), (&b, 50)] {
            let layers: Vec<Bytes> = (seed..seed + 6).map(|seed| bytes(seed, 5000)).collect();
            registry.seed_image("x", "1", &layers).await;
            registry.add(Toxic::new(Effect::RefuseMount).on(Kind::Mount));
            let slow = Effect::Slow { piece: 1000, pause: Duration::from_millis(10) };
            registry.add(Toxic::new(slow).on(Kind::BlobGet));
        }
        let client = client(a.transport().with(&b), limits);
        let ways = [
            ("a.test/x", "b.test/of-a"),
            ("b.test/x", "a.test/of-b"),
            ("a.test/x", "a.test/y"),
            ("b.test/x", "b.test/y"),
            ("a.test/x", "b.test/x2"),
            ("b.test/x", "a.test/x2"),
        ];
        let jobs: Vec<_> = ways.iter().map(|(from, to)| copy(&client, from, to)).collect();
        let all = join_all(jobs.iter().map(Copy::run));
        let done = tokio::time::timeout(Duration::from_secs(3600), all).await.expect("they hang");
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        assert_at_rest(&client).await;
    }
}

/// A push from the registry it goes to, whose mounts are refused, moves the bytes through one seat.
#[tokio::test(start_paused = true)]
async fn a_push_within_one_host_whose_mounts_are_refused_needs_one_seat() {
    let registry = TestRegistry::in_memory("a.test").await;
    let layer = bytes(1, 5000);
    registry.seed_image("x", "1", std::slice::from_ref(&layer)).await;
    registry.add(Toxic::new(Effect::RefuseMount).on(Kind::Mount));
    let client = client(registry.transport(), Limits { requests: 1, ..Limits::at_once(1) });
    let access = Access::anonymous();
    let source = lazyblob_remote::registry::RepositoryProvider::new(repository(&client, "a.test/x", &access));
    let wanted = transfer::Wanted {
        blob: crate::support::descriptor(&layer),
        sources: vec![Arc::new(source) as Arc<dyn Provider>],
        target: Arc::new(RegistryTarget::new(repository(&client, "a.test/y", &access))),
        height: 0,
        shared: 1,
        access,
    };
    let asker = Asker::of(client.transfers(), wanted);
    let outcome = asker.outcome().await;
    assert!(outcome.is_ok(), "{:#?}", registry.lines());
    assert_eq!((registry.requests(Kind::Mount), registry.requests(Kind::BlobGet)), (1, 1));
    assert_at_rest(&client).await;
}

/// Row 38: a blob that is said to be in six repositories beside the target, none of which has it, costs as many mounts
/// as its size is worth and one look before it goes up.
#[tokio::test(start_paused = true)]
async fn a_blob_that_no_place_has_any_more_costs_few_questions() {
    for (size, mounts) in [(100 * 1024, 1), (100 * 1024 + 1, 3), (10 * 1024 * 1024 + 1, 4)] {
        let to = TestRegistry::in_memory("to.test").await;
        let client = client(to.transport(), Limits::default());
        let layer = bytes(1, size);
        let spring = Spring::of(&layer).shared();
        let digest = spring.descriptor().digest().clone();
        for nth in 0..6 {
            let repository = format!("gone{nth}");
            let origin = Origin { host: "to.test".to_owned(), repository };
            client.transfers().locations().record(&digest, origin, None);
        }
        let target = RegistryTarget::new(repository(&client, "to.test/a", &Access::anonymous()));
        let brought = client.transfers().bring(wanted_at(spring, target)).await.unwrap();
        assert_eq!(brought.action, Action::Transfer, "{size}");
        assert_eq!((to.requests(Kind::Mount), to.requests(Kind::BlobHead)), (mounts, 1), "{size}");
        assert_eq!(client.stats().bytes_up(), layer.len() as u64);
        let first_byte = to.lines().iter().position(|line| line.starts_with("PATCH ")).unwrap();
        let asked = to.lines().iter().rposition(|line| line.starts_with("HEAD ") || line.contains("mount="));
        assert!(asked.unwrap() < first_byte, "{:#?}", to.lines());
        assert_at_rest(&client).await;
    }
}
