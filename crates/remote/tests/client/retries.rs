//! When a request is sent again, how long after, and when it is not.

use std::sync::Arc;
use std::time::Duration;

use lazyblob_remote::endpoint::Source;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::{RegistrySource, Settings};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, RetryAfter, TestRegistry, Toxic};
use lazyblob_remote::transfer::Retry;
use lazyblob_remote::{Access, Error, Manifest, Registry, Result, Scopes};
use tokio::time::Instant;

use crate::support::{Notes, answer, layers, name, tag};

const HOST: &str = "registry.test";

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
    let job = Job::new(Toxic::too_many_requests(None)).await;
    let (outcome, requests, _) = job.run().await;
    assert!(matches!(outcome, Err(Error::RateLimited { quota: false, .. })));
    assert_eq!(requests, 6);
    let waits = job.notes.waits.lock().unwrap().clone();
    assert_eq!(waits.len(), 5);
    for (nth, wait) in waits.iter().enumerate() {
        let rung = Duration::from_millis(500 << nth);
        assert!(*wait <= rung && *wait >= rung.mul_f64(0.7), "{nth}: {wait:?}");
    }
}

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
    assert!(error.to_string().contains("You have reached your pull rate limit"), "{error}");
    assert_eq!((requests, took), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_quota_by_the_minute_fills_up_again() {
    let document =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"Quota exceeded for requests per minute"}]}"#;
    let job = Job::new(answer(429, &[], document).times(2)).await;
    let (outcome, requests, _) = job.run().await;
    outcome.unwrap();
    assert_eq!(requests, 3);
}

/// Row 27b: what passes by is tried again.
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
