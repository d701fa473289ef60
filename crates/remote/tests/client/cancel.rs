//! A copy that nobody wants any more ends, and sends nothing further.

use std::time::Duration;

use lazyblob_remote::Access;
use lazyblob_remote::copy::{Copy, Options};
use lazyblob_remote::registry::{RegistrySource, RegistryTarget};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, TestRegistry, Toxic};

use crate::support::{bytes, client, pulling, pushing, tag, tagged};

async fn dropped_midway(toxic: Toxic) {
    let (from, to) = (TestRegistry::in_memory("from.test").await, TestRegistry::in_memory("to.test").await);
    let blobs: Vec<_> = (0..8).map(|nth| bytes(100_000 + nth)).collect();
    from.seed_image("a", "1", &blobs).await;
    from.add(toxic.clone().on(Kind::BlobGet));
    to.add(toxic.on(Kind::Upload));
    let client = client(from.transport().with(&to));
    let job = Copy::new(
        std::sync::Arc::new(RegistrySource::new(pulling(&client, "from.test/a"))),
        tag("1"),
        std::sync::Arc::new(RegistryTarget::new(pushing(&client, "to.test/b"))),
        vec![tag("1")],
        Access::anonymous(),
        client.transfers().clone(),
    )
    .with_options(Options::default());

    let ended = tokio::time::timeout(Duration::from_secs(2), job.run()).await;

    assert!(ended.is_err(), "it was over before it could be dropped");
    client.transfers().close().await;
    let sent = (client.stats().requests.total(), to.traffic().bytes_in());
    assert!(client.stats().requests.of(Kind::BlobGet) > 0);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((client.stats().requests.total(), to.traffic().bytes_in()), sent);
    assert_eq!(client.stats().requests.of(Kind::ManifestPut), 0);
    assert_eq!(tagged(&to, "b", "1").await, None);
}

#[tokio::test(start_paused = true)]
async fn while_bytes_move() {
    dropped_midway(Toxic::new(Effect::Slow { piece: 1000, pause: Duration::from_millis(100) })).await;
}

#[tokio::test(start_paused = true)]
async fn while_a_host_says_nothing() {
    dropped_midway(Toxic::new(Effect::Hang)).await;
}

#[tokio::test(start_paused = true)]
async fn while_a_retry_waits() {
    dropped_midway(Toxic::too_many_requests(Some(60))).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_ends_the_others() {
    let (from, to) = (TestRegistry::in_memory("from.test").await, TestRegistry::in_memory("to.test").await);
    let blobs: Vec<_> = (0..8).map(|nth| bytes(100_000 + nth)).collect();
    let image = from.seed_image("a", "1", &blobs).await;
    let last = image.layers().nth(2).unwrap().digest().to_string();
    from.add(Toxic::status(404).on(Kind::BlobGet).path(last));
    from.add(Toxic::new(Effect::Hang).on(Kind::BlobGet));
    let client = client(from.transport().with(&to));
    let job = Copy::new(
        std::sync::Arc::new(RegistrySource::new(pulling(&client, "from.test/a"))),
        tag("1"),
        std::sync::Arc::new(RegistryTarget::new(pushing(&client, "to.test/b"))),
        vec![tag("1")],
        Access::anonymous(),
        client.transfers().clone(),
    );

    let error = job.run().await.unwrap_err();

    assert!(error.is_not_found(), "{error}");
    client.transfers().close().await;
    assert_eq!(to.requests(Kind::ManifestPut), 0);
}
