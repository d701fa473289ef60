//! When a request is sent again, how long after, and when it is not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use lazyblob_remote::endpoint::{Mounted, Name, Source, Target};
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::provider::Origin;
use lazyblob_remote::registry::{RegistrySource, RepositoryProvider, Settings};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, RetryAfter, TestRegistry, Toxic};
use lazyblob_remote::transfer::{self, Blob, Retry, Wanted};
use lazyblob_remote::{Access, Descriptor, Digest, Error, Manifest, Provider, Registry, Result, Scopes};
use tokio::time::Instant;

use crate::support::{Notes, answer, bytes, client, ladder, layers, name, pulling, read, tag};

const HOST: &str = "registry.test";

/// A registry that has a blob in two repositories and misbehaves when it is read.
async fn seeded(toxic: Toxic) -> (TestRegistry, Descriptor) {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &[bytes(100_000)]).await;
    registry.seed("b", "1", &image).await;
    registry.add(toxic.on(Kind::BlobGet));
    (registry, image.layers().next().unwrap().clone())
}

/// The blob in the first of them, tried as `retry` says.
fn blob_with(registry: &TestRegistry, layer: &Descriptor, retry: Retry, access: &Access) -> Blob {
    let transfers = transfer::Settings { retry, ..transfer::Settings::default() };
    let settings = Settings { transfers: transfers.clone(), ..Settings::default() };
    let client = Registry::new(Arc::new(registry.transport()), Hosts::default(), settings);
    let source = RepositoryProvider::new(pulling(&client, "registry.test/a"));
    Blob::new(layer.clone(), &[Arc::new(source)], transfers, access.clone())
}

struct Job {
    registry: TestRegistry,
    source: RegistrySource,
    notes: Arc<Notes>,
}

impl Job {
    async fn new(toxic: Toxic) -> Self {
        let registry = TestRegistry::in_memory(HOST).await;
        registry.seed_image("a", "1", &layers(1)).await;
        registry.add(toxic);
        let client = Registry::new(Arc::new(registry.transport()), Hosts::default(), Settings::default());
        let notes = Arc::new(Notes::default());
        let access = Access::anonymous().watched_by(Arc::<Notes>::clone(&notes));
        let repository = name("registry.test/a");
        let repository = client.repository(&repository, Scopes::pull(&repository), &access).unwrap();
        Self { registry, source: RegistrySource::new(repository), notes }
    }

    /// The outcome, the requests and the time it took.
    async fn run(&self) -> (Result<Manifest>, u64, Duration) {
        let began = Instant::now();
        let outcome = self.source.manifest(&tag("1")).await;
        (outcome, self.registry.requests(Kind::ManifestGet), began.elapsed())
    }
}

/// Row 26a: the wait asked for is waited for, in seconds or until a date.
#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for_in_both_forms() {
    for retry_after in [RetryAfter::Seconds(30), RetryAfter::Date(30)] {
        let effect = Effect::TooManyRequests { retry_after: Some(retry_after), document: true };
        let job = Job::new(Toxic::new(effect).times(1)).await;
        let (outcome, requests, took) = job.run().await;
        outcome.unwrap();
        assert_eq!(requests, 2);
        // A date has whole seconds.
        assert!((29..=33).contains(&took.as_secs()), "{took:?}");
        assert_eq!(job.notes.waits.lock().unwrap().len(), 1);
    }
}

/// Row 26a: not a request earlier than asked.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_time_asked_for() {
    let job = Job::new(Toxic::too_many_requests(Some(60)).times(1)).await;
    let ended = tokio::time::timeout(Duration::from_secs(59), job.run()).await;
    assert!(ended.is_err());
    assert_eq!(job.registry.counter().total(), 1);
}

/// Rows 22, 23a, 26b: six tries, each wait twice the one before, within its jitter.
#[tokio::test(start_paused = true)]
async fn without_retry_after_the_ladder_doubles_within_its_jitter() {
    for (toxic, shared) in [(Toxic::too_many_requests(None), true), (Toxic::status(503), false)] {
        let job = Job::new(toxic).await;
        let (outcome, requests, took) = job.run().await;
        assert!(outcome.unwrap_err().is_transient());
        assert_eq!(requests, 6);
        let waits = job.notes.waits.lock().unwrap().clone();
        assert_eq!(waits.len(), 5);
        for (nth, wait) in waits.iter().enumerate() {
            // Where the host has had enough of us its pauses grow instead, for all.
            let rung = Duration::from_millis(if shared { 500 } else { 500 << nth });
            assert!(*wait <= rung && *wait >= rung.mul_f64(0.7), "{nth}: {wait:?}");
        }
        // A host that has had enough of us is left alone by all for the whole of each rung. The clock has milliseconds.
        let waited = if shared { Duration::from_millis(500 * 31) } else { waits.iter().sum() };
        assert!(took >= waited && took <= waited + Duration::from_millis(5), "{took:?}, {waited:?}");
    }
}

/// Row 22: a blob is had if one of its tries succeeds, and not if one more would have been needed; "try once", too.
#[tokio::test(start_paused = true)]
async fn a_blob_is_tried_as_often_as_the_settings_say() {
    for tries in [1, 2, 6] {
        for failures in [tries - 1, tries] {
            let (registry, layer) = seeded(Toxic::status(503).times(failures)).await;
            let retry = Retry { tries, ..ladder() };
            let got = read(&blob_with(&registry, &layer, retry, &Access::anonymous())).await;
            assert_eq!(got.is_ok(), failures < tries, "{failures} of {tries}");
            assert_eq!(registry.counter().total(), u64::from(tries));
        }
    }
}

/// Row 24: nothing about a blob that cannot get better is tried twice.
#[tokio::test(start_paused = true)]
async fn what_is_final_about_a_blob_is_tried_once() {
    let document = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
    for (toxic, said) in [
        (answer(401, &[], document("UNAUTHORIZED")), "not authorised: 401"),
        (answer(403, &[], document("DENIED")), "not authorised: 403 Forbidden: DENIED"),
        (answer(400, &[], document("UNSUPPORTED")), "UNSUPPORTED"),
        (answer(405, &[], document("UNSUPPORTED")), "UNSUPPORTED"),
        (answer(404, &[], document("NAME_UNKNOWN")), "not found: NAME_UNKNOWN"),
        (answer(404, &[], document("BLOB_UNKNOWN")), "not found: BLOB_UNKNOWN"),
        (answer(501, &[], ""), "501"),
        (Toxic::new(Effect::Corrupt(20)), "digest is sha256:"),
    ] {
        let (registry, layer) = seeded(toxic).await;
        let began = Instant::now();
        let blob = blob_with(&registry, &layer, Retry::default(), &Access::anonymous());
        let error = blob.read_whole(1 << 20).await.unwrap_err();
        assert!(error.to_string().contains(said) && !error.is_transient(), "{error}");
        assert_eq!((registry.counter().total(), began.elapsed()), (1, Duration::ZERO), "{said}");
    }
}

/// A place whose disk is full after the first bytes.
#[derive(Debug)]
struct FullDisk;

#[async_trait]
impl Target for FullDisk {
    async fn resolve(&self, _: &Name) -> Result<Option<Digest>> {
        Ok(None)
    }
    async fn has_blob(&self, _: &Descriptor) -> Result<bool> {
        Ok(false)
    }
    async fn mount(&self, _: &Descriptor, _: &Origin) -> Result<Mounted> {
        Ok(Mounted::No { session: None })
    }
    async fn put_blob(&self, blob: &Blob, _: Option<String>) -> Result<()> {
        blob.read_from(0).await?.next().await.transpose()?;
        let full = io::Error::from(io::ErrorKind::StorageFull);
        Err(Error::io("write blob", blob.descriptor().digest(), "/full/data", full))
    }
    async fn put_manifest(&self, _: &Manifest, _: &Name) -> Result<()> {
        Ok(())
    }
    async fn finish(&self) -> Result<()> {
        Ok(())
    }
    fn origin(&self) -> Origin {
        Origin { host: "full".to_owned(), repository: "disk".to_owned() }
    }
}

/// Row 24: a full disk is no reason to ask the source again, nor another one.
#[tokio::test(start_paused = true)]
async fn a_full_disk_is_no_reason_to_read_again() {
    let (registry, layer) = seeded(Toxic::status(500).times(0)).await;
    let client = client(registry.transport());
    let sources = ["registry.test/a", "registry.test/b"]
        .map(|place| -> Arc<dyn Provider> { Arc::new(RepositoryProvider::new(pulling(&client, place))) });
    let (height, shared, access) = (0, 1, Access::anonymous());
    let (sources, target) = (sources.to_vec(), Arc::new(FullDisk));
    let wanted = Wanted { blob: layer, sources, target, height, shared, access };
    let error = client.transfers().bring(wanted).await.unwrap_err();
    assert!(matches!(error.root(), Error::Io { .. }), "{error}");
    assert!(error.to_string().contains("/full/data: "), "{error}");
    assert_eq!(registry.counter().total(), 1);
}

/// Row 25: whoever cancels is answered at once, and is told what was waited for and why.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_cancelled_says_that_it_was_one() {
    let (registry, layer) = seeded(Toxic::too_many_requests(Some(60))).await;
    let blob = blob_with(&registry, &layer, Retry::default(), &Access::anonymous());
    let cancelled = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        blob.cancelled().cancel();
        Instant::now()
    };
    let reading = async { (read(&blob).await.unwrap_err(), Instant::now()) };
    let ((error, ended), cancelled) = futures::join!(reading, cancelled);
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("wait before another try") && said.contains("429 Too Many Requests"), "{said}");
    assert_eq!(ended, cancelled);
    assert_eq!(registry.counter().total(), 1);
}

/// Row 26b: a host that says "at once" is not believed.
#[tokio::test(start_paused = true)]
async fn at_once_is_no_hot_loop() {
    let job = Job::new(Toxic::too_many_requests(Some(0))).await;
    let (outcome, requests, took) = job.run().await;
    assert!(outcome.is_err());
    assert_eq!(requests, 6);
    assert!(took > Duration::from_secs(5), "{took:?}");
}

/// Row 26a: a wait past the cap is an error that names it.
#[tokio::test(start_paused = true)]
async fn a_wait_past_the_cap_is_named_and_not_waited_for() {
    let job = Job::new(Toxic::too_many_requests(Some(3600))).await;
    let (outcome, requests, took) = job.run().await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }));
    assert!(error.to_string().contains("3600 s"), "{error}");
    assert_eq!((requests, took), (1, Duration::ZERO));
}

/// Row 26b: a quota that is used up is one try and says so.
#[tokio::test(start_paused = true)]
async fn a_used_up_quota_is_asked_once() {
    let document =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
    let job = Job::new(answer(429, &[], document)).await;
    let (outcome, requests, took) = job.run().await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::RateLimited { quota: true, .. }) && !error.is_transient());
    assert!(error.to_string().contains("quota used up: 429"), "{error}");
    assert!(error.to_string().contains("You have reached your pull rate limit"), "{error}");
    assert_eq!((requests, took), (1, Duration::ZERO));
}

/// Row 26b: a quota that fills up again soon is waited for.
#[tokio::test(start_paused = true)]
async fn a_quota_by_the_minute_fills_up_again() {
    let document =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"Quota exceeded for requests per minute"}]}"#;
    let job = Job::new(answer(429, &[], document).times(2)).await;
    let (outcome, requests, _) = job.run().await;
    outcome.unwrap();
    assert_eq!(requests, 3);
}

/// Row 27b: connections that end before or in the answer, and servers that say it is for now, are tried again.
///
/// BuildKit row 110: and what passes by is asked for again.
#[tokio::test(start_paused = true)]
async fn what_passes_by_is_tried_again() {
    for toxic in [
        Toxic::status(503),
        Toxic::status(500),
        Toxic::status(408),
        Toxic::new(Effect::Drop),
        Toxic::new(Effect::CutBody(9)),
    ] {
        let job = Job::new(toxic.clone().times(3)).await;
        let (outcome, requests, _) = job.run().await;
        outcome.unwrap();
        assert_eq!(requests, 4, "{toxic:?}");
    }
}

/// Row 22: what does not pass by is tried so often and no more.
#[tokio::test(start_paused = true)]
async fn what_does_not_pass_by_is_tried_six_times() {
    for toxic in [Toxic::status(503), Toxic::new(Effect::Drop), Toxic::new(Effect::CutBody(9))] {
        let job = Job::new(toxic.clone()).await;
        let (outcome, requests, _) = job.run().await;
        assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{toxic:?}");
        assert_eq!(requests, 6, "{toxic:?}");
    }
}

/// Row 24: what is final is tried once.
#[tokio::test(start_paused = true)]
async fn what_is_final_is_tried_once() {
    for toxic in [
        Toxic::status(400),
        Toxic::status(401),
        Toxic::status(403),
        Toxic::status(404),
        Toxic::status(451),
        Toxic::status(501),
        Toxic::new(Effect::Corrupt(20)),
    ] {
        let job = Job::new(toxic.clone()).await;
        let (outcome, requests, took) = job.run().await;
        let error = outcome.unwrap_err();
        assert!(!error.is_transient(), "{toxic:?}: {error}");
        assert_eq!((requests, took), (1, Duration::ZERO), "{toxic:?}");
    }
}

/// Row 25: who leaves while a retry waits leaves no request behind.
#[tokio::test(start_paused = true)]
async fn a_wait_that_nobody_wants_any_more_ends() {
    let job = Job::new(Toxic::status(503)).await;
    drop(tokio::time::timeout(Duration::from_millis(100), job.run()).await);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(job.registry.counter().total(), 1);
}

/// Row 23a: waits stay within jitter and cap.
#[test]
fn jitter_stays_within_its_bounds_and_is_not_always_the_same() {
    let broken = |retry_after| Error::Unavailable {
        what: lazyblob_remote::What::new("test", "it"),
        reason: String::new(),
        retry_after,
        transient: true,
    };
    let retry = Retry::default();
    let waits = |failures, asked: Option<u64>| -> Vec<Duration> {
        let error = broken(asked.map(Duration::from_secs));
        (0..200).map(|_| retry.wait_after(failures, &error).unwrap()).collect()
    };
    let ladder = waits(2, None);
    assert!(ladder.iter().all(|wait| (700..=1000).contains(&wait.as_millis())), "{ladder:?}");
    assert!(ladder.iter().any(|wait| *wait != ladder[0]));
    let asked = waits(2, Some(10));
    assert!(asked.iter().all(|wait| (10_000..=10_300).contains(&wait.as_millis())), "{asked:?}");
    assert!(retry.wait_after(6, &broken(None)).is_none());
    let steep = Retry { tries: u32::MAX, ..retry };
    assert!(steep.wait_after(u32::MAX - 1, &broken(None)).unwrap() <= retry.cap);
}
