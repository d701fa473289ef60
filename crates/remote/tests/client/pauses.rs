//! A host that asks to be left alone is left alone by everything that goes on at the same time.

use std::time::Duration;

use lazyblob_remote::Access;
use lazyblob_remote::endpoint::Source;
use lazyblob_remote::registry::RegistrySource;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{TestRegistry, Toxic};
use tokio::time::Instant;

use crate::support::{blob, client, copy, layers, pulling, read, tag};

/// Rows 26a, 26b: one answer of 429 holds up every job at that host for the time asked for, and none elsewhere.
#[tokio::test(start_paused = true)]
async fn all_jobs_leave_the_host_alone_together() {
    let (busy, other) =
        (TestRegistry::in_memory("busy.test").await, TestRegistry::in_memory("other.test").await);
    let image = busy.seed_image("a", "1", &layers(2)).await;
    for registry in [&busy, &other] {
        registry.seed_image("b", "1", &layers(2)).await;
    }
    busy.add(Toxic::too_many_requests(Some(60)).times(1));
    let client = client(busy.transport().with(&other));
    let (first, second) = (pulling(&client, "busy.test/a"), pulling(&client, "busy.test/b"));
    let layers: Vec<_> = image.layers().cloned().collect();
    let began = Instant::now();

    let job = async {
        read(&blob(&first, &layers[0])).await.unwrap();
        began.elapsed()
    };
    let later = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        futures::future::try_join3(
            async { read(&blob(&first, &layers[1])).await.map(drop) },
            async { second.get_manifest(&tag("1")).await.map(drop) },
            async { second.head_blob(&layers[0]).await.map(drop) },
        )
        .await
        .unwrap();
        began.elapsed()
    };
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        pulling(&client, "other.test/b").get_manifest(&tag("1")).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(57_999)).await;
        assert_eq!(busy.counter().total(), 1, "{:?}", busy.lines());
    };
    let (job, later, ()) = futures::join!(job, later, meanwhile);

    // The one that was answered adds its jitter.
    assert!((60_000..=61_000).contains(&job.as_millis()), "{job:?}");
    assert!((60_000..=60_005).contains(&later.as_millis()), "{later:?}");
    assert_eq!(busy.counter().total(), 1 + 4);
}

/// Row 26a: while a pause is longer than anybody waits, nobody asks, and everybody is told how long it is.
#[tokio::test(start_paused = true)]
async fn a_pause_that_is_too_long_costs_no_further_request() {
    let registry = TestRegistry::in_memory("busy.test").await;
    let image = registry.seed_image("a", "1", &layers(2)).await;
    registry.add(Toxic::too_many_requests(Some(3600)).times(1));
    let client = client(registry.transport());
    let place = pulling(&client, "busy.test/a");
    for layer in image.layers() {
        let error = read(&blob(&place, layer)).await.unwrap_err().to_string();
        assert!(error.contains("rate limited") && error.contains("for 3600 s"), "{error}");
    }
    assert_eq!(registry.counter().total(), 1);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(read(&blob(&place, image.config())).await.is_ok());
}

/// Row 26b: twenty blobs and a host that has had enough are a handful of requests for each rung of one ladder.
#[tokio::test(start_paused = true)]
async fn a_crowd_asks_as_one() {
    let (from, to) = (TestRegistry::in_memory("busy.test").await, TestRegistry::in_memory("to.test").await);
    from.seed_image("a", "1", &layers(20)).await;
    from.add(Toxic::too_many_requests(None).on(Kind::BlobGet));
    let client = crate::support::client_with_defaults(from.transport().with(&to));
    let access = Access::anonymous();
    let job = copy(&client, ("busy.test/a", "1"), ("to.test/b", "1"), &access);

    assert!(tokio::time::timeout(Duration::from_secs(7), job.run()).await.is_err());

    // At 0, 0.5, 1.5 and 3.5 s, as many each time as may be under way at one host.
    let requests = from.requests(Kind::BlobGet);
    assert!((4..=4 * 6).contains(&requests), "{requests}");
    assert_eq!(to.requests(Kind::Upload), 0);
    client.close().await;
}

/// Rows 26b, 27a: a mirror that is left alone is passed over, so that the upstream is asked at once.
#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_left_alone_is_passed_over() {
    let scene = crate::mirrors::scene("", false).await;
    scene.one.add(Toxic::too_many_requests(Some(60)));
    let began = Instant::now();
    scene.pull().await.unwrap();
    assert_eq!((scene.totals(), began.elapsed()), ([1, 3, 0], Duration::ZERO));
}

/// Rows 26b, 58a: that it cannot be asked for now does not mean that nobody has it.
#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_left_alone_is_not_the_image_s_absence() {
    let scene = crate::mirrors::scene("", true).await;
    scene.one.add(Toxic::too_many_requests(Some(60)).times(1));
    scene.two.add(Toxic::status(404));
    let place = pulling(&scene.client, "up.test/a");
    for _ in 0..2 {
        let error = place.get_manifest(&tag("1")).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("60 s"), "{error}");
    }
    assert_eq!(scene.totals(), [1, 2, 0]);
    let began = Instant::now();
    RegistrySource::new(place).manifest(&tag("1")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(scene.totals(), [2, 3, 0]);
}
