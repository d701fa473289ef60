//! Layers are applied side by side and published in their order; what is not verified is never visible.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use lazyblob_cache::error::Mismatch;
use lazyblob_cache::manager::Settings;
use lazyblob_cache::snapshot::SnapshotKey;
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::image;
use lazyblob_cache::{Error, ImmutableRef};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, Image, TestRegistry, Toxic};
use lazyblob_remote::{Access, Manifest, digest, media};
use serde_json::json;

use crate::support::{
    Made, Packed, World, assert_idle, assert_tree_of, keys, kinds, layers, made, names, noise, snapshots,
    stack, until,
};

/// All files below a directory, with their sizes.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(status) if status.is_dir() => waiting.push(entry.path()),
                Ok(status) => found.push((entry.path(), status.len())),
                Err(_) => {}
            }
        }
    }
    found
}

/// Whether the whole of a layer's file is in `staging/`.
fn is_staged(root: &Path, layer: &str) -> bool {
    let name = format!("{layer}/data");
    files(&root.join("staging")).iter().any(|(path, size)| path.ends_with(&name) && *size == 60_000)
}

fn slowly(path: &str) -> Toxic {
    Toxic::new(Effect::Slow { piece: 500, pause: Duration::from_millis(15) }).on(Kind::BlobGet).path(path)
}

/// Row 69: layers are applied while one below is still being received, and none is visible before those below it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn layers_are_applied_side_by_side_and_published_in_order() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let [a, b, c] = made(["a", "b", "c"]);
        world.seed("app", &[&a, &b, &c]).await;
        world.registry.add(slowly(a.digest().as_ref()));
        let top = stack(&manager, &[&a, &b, &c], &world.handlers("app", &[&a, &b, &c])).await;
        let work = tokio::spawn({
            let top = top.clone();
            async move { top.extract(&Access::anonymous()).await }
        });
        until("the upper layers are applied", || {
            is_staged(world.root(), "b") && is_staged(world.root(), "c")
        })
        .await;
        until("the upper blobs are stored", || {
            [&b, &c].iter().all(|layer| manager.store().look(&layer.blob.descriptor).unwrap())
        })
        .await;
        assert!(!manager.store().look(&a.blob.descriptor).unwrap(), "the bottom one is still on its way");
        assert_eq!(snapshots(&manager), Vec::<SnapshotKey>::new(), "and so none is visible");
        let keys = keys(&top);
        // Whenever one is visible, so are those below.
        while !work.is_finished() {
            let visible: Vec<bool> =
                keys.iter().rev().map(|key| manager.snapshots().info(key).unwrap().is_some()).collect();
            let first = visible.iter().position(|visible| *visible).unwrap_or(visible.len());
            assert!(visible[first..].iter().all(|visible| *visible), "{visible:?}, the top one first");
            tokio::task::yield_now().await;
        }
        work.await.unwrap().unwrap();
        assert_eq!(snapshots(&manager).len(), 3);
        assert_tree_of(&top, &[&a, &b, &c]);
        drop(top);
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// Row 70: with one core, a layer whose bytes come slowly keeps none from being unpacked whose bytes are here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_download_holds_no_core() {
    let world = World::new().await;
    let settings = Settings { cpus: 1, ..Settings::default() };
    let manager = world.manager_with(&world.client, settings).await;
    let [b] = made(["b"]);
    let big = Tar::new().dir("a", 0o755).file("a/data", noise("a", 4_000_000)).end();
    let a = Made::of("a", big, Packed::Plain);
    world.seed("app", &[&a, &b]).await;
    let very_slow = Effect::Slow { piece: 20_000, pause: Duration::from_millis(100) };
    world.registry.add(Toxic::new(very_slow).path(a.digest().as_ref()));
    // The other one is asked for only when the first is being unpacked, and waits for bytes.
    let started = || {
        let received = files(&world.root().join("ingest"));
        !names(&world.root().join("staging")).is_empty()
            && received.iter().any(|(path, size)| path.ends_with("data") && *size > 0)
    };
    let slow = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
    let quick = stack(&manager, &[&b], &world.handlers("app", &[&b])).await;
    let work = tokio::spawn({
        let slow = slow.clone();
        async move { slow.extract(&Access::anonymous()).await }
    });
    until("the slow one is being unpacked", started).await;
    quick.extract(&Access::anonymous()).await.unwrap();
    assert_tree_of(&quick, &[&b]);
    assert!(!manager.store().look(&a.blob.descriptor).unwrap(), "the slow one is still on its way");
    assert!(!work.is_finished());
    work.abort();
    assert!(work.await.unwrap_err().is_cancelled());
    drop((slow, quick));
    manager.close().await.unwrap();
    drop(manager);
    assert_eq!(names(&world.root().join("staging")), Vec::<String>::new());
}

fn wrong_diff_id(error: &Error) -> bool {
    matches!(error.root(), Error::Integrity { mismatch: Mismatch::DiffId { .. }, .. })
}

/// Rows 69, 71a: one layer that is not what its config says spoils all above it; the error names it, nothing of it is
/// visible, and nothing is left of the others' work.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_diff_id_publishes_nothing_above() {
    for wanted in kinds() {
        for wrong in 0..3 {
            let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
            let manager = world.manager().await;
            let mut all = made(["a", "b", "c"]);
            all[wrong].blob.diff_id = digest::sha256(b"something else");
            let every: Vec<&Made> = all.iter().collect();
            world.seed("app", &every).await;
            let top = stack(&manager, &every, &world.handlers("app", &every)).await;
            let access = Access::anonymous();
            let outcomes = futures::future::join_all((0..4).map(|_| top.extract(&access))).await;
            for outcome in outcomes {
                let error = outcome.unwrap_err();
                assert!(wrong_diff_id(&error), "{error}");
                assert!(error.to_string().contains(all[wrong].digest().as_ref()), "{error}");
            }
            let visible = snapshots(&manager);
            for key in &keys(&top)[wrong..] {
                assert!(!visible.contains(key), "{wanted:?}: layer {wrong} is wrong, {key} is visible");
            }
            // The same again, of what is here by now.
            assert!(wrong_diff_id(&top.extract(&access).await.unwrap_err()));
            drop(top);
            manager.close().await.unwrap();
            drop(manager);
            assert_eq!(names(&world.root().join("staging")), Vec::<String>::new());
            assert_eq!(names(&world.root().join("live")), Vec::<String>::new());
        }
    }
}

/// Row 69: a layer that cannot be had ends the work on all others, and the next try goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_layer_that_cannot_be_had_ends_the_others() {
    for gone in 0..3 {
        let world = World::new().await;
        let manager = world.manager().await;
        let all = made(["a", "b", "c"]);
        let every: Vec<&Made> = all.iter().collect();
        let there: Vec<&Made> =
            every.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, layer)| *layer).collect();
        world.seed("app", &there).await;
        let top = stack(&manager, &every, &world.handlers("app", &every)).await;
        let access = Access::anonymous();
        let error = top.extract(&access).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert!(error.to_string().contains(every[gone].digest().as_ref()), "{error}");
        let visible = snapshots(&manager);
        assert!(keys(&top)[gone..].iter().all(|key| !visible.contains(key)));
        until("nothing is staged", || names(&world.root().join("staging")).is_empty()).await;
        world.seed("app", &[every[gone]]).await;
        top.extract(&access).await.unwrap();
        assert_tree_of(&top, &every);
        drop(top);
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// Row 71b: a config that does not fit the manifest is refused before any layer is asked for.
#[tokio::test]
async fn a_config_of_other_layers_is_refused_at_once() {
    let world = World::new().await;
    let mut wrong = image(&layers());
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [digest::sha256(b"one").to_string()] },
    });
    let config = Bytes::from(config.to_string());
    wrong.blobs[0].1 = config.clone();
    wrong.blobs[0].0.set_digest(digest::sha256(&config));
    wrong.blobs[0].0.set_size(config.len() as u64);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": wrong.blobs[0].0,
        "layers": wrong.blobs[1..].iter().map(|(descriptor, _)| descriptor).collect::<Vec<_>>(),
    });
    let manifest =
        Manifest::parse(Bytes::from(manifest.to_string()), Some(media::OCI_MANIFEST), None, "a test's");
    let wrong = Image { manifest: manifest.unwrap(), blobs: wrong.blobs };
    world.registry.seed("wrong", "1", &wrong).await;
    world.registry.reset();
    let manager = world.manager().await;
    let pull = world.pull_of("registry.test/wrong:1");
    let error = manager.pull(pull, &Access::anonymous()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("3 layers") && error.to_string().contains("1 diffIDs"), "{error}");
    assert_eq!(world.registry.lines().len(), 2, "manifest and config: {:?}", world.registry.lines());
    assert!(manager.names().await.unwrap().is_empty(), "it got no name");
    assert!(manager.usage(&[]).await.unwrap().entries.is_empty(), "and no records");
    manager.close().await.unwrap();
}

/// Row 72: for a snapshot that is there no byte is fetched, whatever lies above or below.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_unpacked_needs_no_bytes() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let [a, b, c] = made(["a", "b", "c"]);
        world.seed("app", &[&a, &b, &c]).await;
        let handlers = world.handlers("app", &[&a, &b, &c]);
        let lower = stack(&manager, &[&a, &b], &handlers).await;
        lower.extract(&Access::anonymous()).await.unwrap();
        for layer in [&a, &b] {
            manager.store().remove(layer.digest()).unwrap();
        }
        world.registry.reset();
        let top = stack(&manager, &[&a, &b, &c], &handlers).await;
        top.extract(&Access::anonymous()).await.unwrap();
        assert_eq!([&a, &b, &c].map(|layer| world.gets(layer.digest())), [0, 0, 1]);
        assert_tree_of(&top, &[&a, &b, &c]);
        // A hole in the middle: one snapshot is gone, and only its blob is fetched.
        let key = keys(&top)[1].clone();
        manager.snapshots().remove(&key).unwrap();
        top.extract(&Access::anonymous()).await.unwrap();
        assert_eq!([&a, &b, &c].map(|layer| world.gets(layer.digest())), [0, 1, 1]);
        assert_tree_of(&top, &[&a, &b, &c]);
        drop((lower, top));
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// Who withdraws at any moment leaves nothing behind, and whoever comes then finds nothing in his way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_withdraws_leaves_nothing_behind() {
    let world = World::new().await;
    let manager = world.manager().await;
    let all = made(["a", "b", "c"]);
    let every: Vec<&Made> = all.iter().collect();
    world.seed("app", &every).await;
    let handlers = world.handlers("app", &every);
    let extract = |top: ImmutableRef| async move { top.extract(&Access::anonymous()).await };
    for polls in 1..40_u32 {
        let top = stack(&manager, &every, &handlers).await;
        let mut work = Box::pin(extract(top.clone()));
        let mut left = polls;
        let done = std::future::poll_fn(|context| {
            left -= 1;
            let polled = work.as_mut().poll(context).map(Some);
            if left == 0 && polled.is_pending() { std::task::Poll::Ready(None) } else { polled }
        })
        .await;
        drop(work);
        if let Some(done) = done {
            done.unwrap();
        }
        // At once, while the other may still be on its way out.
        top.extract(&Access::anonymous()).await.unwrap();
        assert_tree_of(&top, &every);
        for key in keys(&top) {
            manager.snapshots().remove(&key).unwrap();
        }
        if polls % 2 == 0 {
            all.iter().for_each(|layer| drop(manager.store().remove(layer.digest()).unwrap()));
        }
    }
    manager.close().await.unwrap();
    drop(manager);
    assert_idle(world.root());
}
