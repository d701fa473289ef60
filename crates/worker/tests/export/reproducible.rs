//! The same inputs, the same bytes.

use lazyblob_cache::{GetOptions, ImmutableRef};
use lazyblob_remote::{Digest, request::Kind};
use lazyblob_worker::export::{ImageOptions, image};
use lazyblob_worker::{BaseImage, Error, Worker};

use crate::support::{World, access, close, made, name, part, plain};

const EPOCH: u64 = 1_000_000_000;

/// A new layer over the image, of which nothing is read for it.
async fn stacked(world: &World, worker: &Worker, mtime: u64) -> (ImmutableRef, BaseImage) {
    let (app, base) = world.app(worker).await;
    let over = made(worker, None, "over", mtime).await;
    let merged = worker.manager().merge(&[app, over], GetOptions::default()).await.unwrap();
    (merged.unwrap(), base)
}

async fn digest(world: &World, mtime: u64, options: &ImageOptions) -> (Digest, usize) {
    let (worker, _dir) = world.elsewhere().await;
    let (stacked, base) = stacked(world, &worker, mtime).await;
    let image = image(&worker, &[part(&stacked, Some(&base))], options, &access()).await.unwrap();
    let made = (image.digest().clone(), world.pulls());
    drop((stacked, base, image));
    close(worker).await;
    made
}

/// No clock is looked at: two processes with roots of their own make the same image.
#[tokio::test]
async fn two_processes_make_the_same_image() {
    let world = World::new().await;
    assert_eq!(digest(&world, 5, &plain()).await, digest(&world, 5, &plain()).await);
    assert_ne!(digest(&world, 5, &plain()).await, digest(&world, 6, &plain()).await, "times are part of it");
}

/// With SOURCE_DATE_EPOCH and rewritten times two builds at different times make the same image; layers of the base are
/// left as they are and lazy.
#[tokio::test]
async fn rewritten_times_do_not_tell_builds_apart() {
    let world = World::new().await;
    let options = ImageOptions { epoch: Some(EPOCH), rewrite_timestamp: true, ..plain() };
    let (first, pulls) = digest(&world, EPOCH + 77, &options).await;
    assert_eq!(pulls, 0, "the base stays lazy");
    assert_eq!(digest(&world, EPOCH + 12_345, &options).await, (first.clone(), 0));
    assert_eq!(digest(&world, EPOCH, &options).await, (first, 0), "what is not later is not changed");
    let unwritten = ImageOptions { rewrite_timestamp: false, ..options.clone() };
    let (one, other) =
        (digest(&world, EPOCH + 1, &unwritten).await, digest(&world, EPOCH + 2, &unwritten).await);
    assert_ne!(one, other, "layers have times of their own");
}

/// What is pushed with rewritten times is mounted where it can be, and says when it was made.
#[tokio::test]
async fn a_rewritten_image_is_pushed() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (stacked, base) = stacked(&world, &worker, EPOCH + 9).await;
    let options = ImageOptions { epoch: Some(EPOCH), rewrite_timestamp: true, ..plain() };
    let parts = [part(&stacked, Some(&base))];
    let image = image(&worker, &parts, &options, &access()).await.unwrap();
    image.push(&worker, &[name("other:1")], &access()).await.unwrap();
    assert_eq!(world.count(Kind::BlobGet), 0, "{:?}", world.registry.lines());
    let (manifest, config) = world.pushed("other:1").await;
    let digests = |layers: &[lazyblob_remote::Descriptor]| -> Vec<_> {
        layers.iter().map(|layer| layer.digest().clone()).collect()
    };
    assert_eq!(digests(&manifest.layers()[..3]), digests(world.image.manifest.layers()));
    assert_eq!(config["created"], "2001-09-09T01:46:40Z");
    for entry in config["history"].as_array().unwrap() {
        assert_eq!(entry["created"], "2001-09-09T01:46:40Z");
    }
    assert_eq!(config["history"][3]["created_by"], "write over", "who made it is not forgotten");
    drop((parts, stacked, base, image));
    close(worker).await;
}

/// Without a time there is nothing to rewrite to.
#[tokio::test]
async fn rewriting_needs_a_time() {
    let world = World::new().await;
    let worker = world.worker().await;
    let one = made(&worker, None, "one", 5).await;
    let options = ImageOptions { rewrite_timestamp: true, ..plain() };
    let error = image(&worker, &[part(&one, None)], &options, &access()).await.unwrap_err();
    assert!(
        matches!(error, Error::Failed { .. }) && error.to_string().contains("SOURCE_DATE_EPOCH"),
        "{error}"
    );
    drop(one);
    close(worker).await;
}
