//! What a copy tells who watches it, held against the contract.

use std::sync::Arc;

use lazyblob_remote::progress::State;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, ProgressChecker, TestRegistry, Toxic};
use lazyblob_remote::{Access, Progress};

use crate::support::{bytes, client, copy, layers};

/// Row 90: whatever becomes of a blob, its states come in the legal order and end once; positions rise, over a cut
/// connection too.
#[tokio::test(start_paused = true)]
async fn every_blob_of_a_copy_has_a_legal_life() {
    let registry = TestRegistry::in_memory("registry.test").await;
    let mut blobs = layers(2);
    blobs.push(bytes(300_000));
    let image = registry.seed_image("a", "1", &blobs).await;
    let large = image.layers().max_by_key(|layer| layer.size()).unwrap().clone();
    registry.seed_blob("b", blobs[0].clone()).await;
    registry.add(Toxic::new(Effect::RefuseMount).on(Kind::Mount));
    registry
        .add(Toxic::new(Effect::CutBody(100_000)).on(Kind::BlobGet).path(large.digest().as_ref()).times(1));
    let checker = Arc::new(ProgressChecker::new());
    let access = Access::anonymous().watched_by(Arc::clone(&checker) as Arc<dyn Progress>);
    let client = client(registry.transport());

    let report =
        copy(&client, ("registry.test/a", "1"), ("registry.test/b", "1"), &access).run().await.unwrap();

    checker.assert_ended();
    assert_eq!(report.blobs.len(), 4);
    let ends: Vec<_> =
        report.blobs.iter().map(|(blob, _)| *checker.states(blob.digest()).last().unwrap()).collect();
    assert!(ends.contains(&State::Present) && ends.contains(&State::Done), "{ends:?}");
    for (blob, _) in &report.blobs {
        let positions = checker.positions(blob.digest());
        let moved = checker.states(blob.digest()).contains(&State::Uploading);
        assert_eq!(positions.last().map(|(_, position)| *position), moved.then(|| blob.size()));
    }
}

/// Row 90: a blob that cannot be had has an end too.
#[tokio::test(start_paused = true)]
async fn a_blob_that_cannot_be_had_has_failed() {
    let registry = TestRegistry::in_memory("registry.test").await;
    let image = registry.seed_image("a", "1", &layers(1)).await;
    let layer = image.layers().next().unwrap().clone();
    registry.add(Toxic::new(Effect::RefuseMount).on(Kind::Mount));
    registry.add(Toxic::status(403).on(Kind::BlobGet).path(layer.digest().as_ref()));
    let checker = Arc::new(ProgressChecker::new());
    let access = Access::anonymous().watched_by(Arc::clone(&checker) as Arc<dyn Progress>);
    let client = client(registry.transport());

    let failed = copy(&client, ("registry.test/a", "1"), ("registry.test/b", "1"), &access).run().await;

    assert!(failed.is_err());
    checker.assert_legal();
    assert_eq!(checker.states(layer.digest()).last(), Some(&State::Failed));
}
