//! What prune takes, what it leaves, and that what it leaves works.

use std::fs;
use std::time::Duration;

use lazyblob_cache::prune::{Filter, PruneOptions, Pruned, Space};
use lazyblob_cache::record::RecordId;
use lazyblob_cache::{Error, GetOptions, Manager};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::TestRegistry;
use lazyblob_remote::{Access, Reference};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Made, World, assert_idle, assert_tree_of, kinds, layers, made, names, read_lazily, snapshots, stack,
    stored, task, tree,
};

async fn prune(manager: &Manager, options: &PruneOptions) -> Pruned {
    manager.prune(options, &CancellationToken::new()).await.unwrap()
}

fn all() -> PruneOptions {
    PruneOptions { all: true, ..PruneOptions::default() }
}

fn figures(pruned: &Pruned) -> (usize, usize, u64, u64) {
    (pruned.records.len(), pruned.lightened.len(), pruned.blobs, pruned.snapshots)
}

async fn ids(manager: &Manager) -> Vec<RecordId> {
    let usage = manager.usage(&[]).await.unwrap();
    let mut ids: Vec<_> = usage.entries.into_iter().map(|entry| entry.record.id).collect();
    ids.sort();
    ids
}

fn app() -> Reference {
    "registry.test/app:1".parse().unwrap()
}

/// BuildKit row 40: what is held stays, with all below; parents go with their last child. Blobs and snapshots go with
/// them. As BuildKit's own TestSnapshotExtract and TestPrune.
#[tokio::test]
async fn what_is_held_stays_and_parents_go_with_children() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let [a, b] = made(["a", "b"]);
        for layer in [&a, &b] {
            manager.store().put(&layer.blob.descriptor, layer.bytes.clone()).await.unwrap();
        }
        let parent = manager.get_by_blob(a.blob.clone(), None, GetOptions::default()).await.unwrap();
        let child = manager.get_by_blob(b.blob.clone(), Some(&parent), GetOptions::default()).await.unwrap();
        let sizes: Vec<u64> =
            manager.usage(&[]).await.unwrap().entries.iter().map(|entry| entry.size).collect();
        assert_eq!(sizes.iter().sum::<u64>(), (a.bytes.len() + b.bytes.len()) as u64, "blobs alone");
        assert!(snapshots(&manager).is_empty());
        child.extract(&Access::anonymous()).await.unwrap();
        assert_eq!((snapshots(&manager).len(), stored(world.root()).len()), (2, 2));
        assert_eq!(figures(&prune(&manager, &all()).await), (0, 0, 0, 0));
        let id = parent.id();
        drop(parent);
        assert_eq!(figures(&prune(&manager, &all()).await), (0, 0, 0, 0), "its child needs it");
        let parent = manager.get(&id, GetOptions::default()).await.unwrap();
        drop(child);
        assert_eq!(figures(&prune(&manager, &PruneOptions { dry_run: true, ..all() }).await), (1, 0, 1, 1));
        assert_eq!(ids(&manager).await.len(), 2, "nothing was removed");
        let pruned = prune(&manager, &all()).await;
        assert_eq!(figures(&pruned), (1, 0, 1, 1));
        assert!(pruned.bytes >= b.bytes.len() as u64 + 60_000, "{}", pruned.bytes);
        parent.extract(&Access::anonymous()).await.unwrap();
        assert_tree_of(&parent, &[&a]);
        drop(parent);
        assert_eq!(figures(&prune(&manager, &PruneOptions::default()).await), (1, 0, 1, 1));
        assert!(snapshots(&manager).is_empty() && stored(world.root()).is_empty());
        assert_eq!(figures(&prune(&manager, &all()).await), (0, 0, 0, 0));
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
        assert_eq!(names(&world.root().join("trash")), Vec::<String>::new());
    }
}

/// BuildKit rows 40, 46: what has a name stays; with `all` it becomes lazy, and works again.
#[tokio::test]
async fn what_has_a_name_becomes_lazy_and_works_again() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let image = world.pull(&manager).await.image;
        image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
        assert_eq!(figures(&prune(&manager, &all()).await), (0, 0, 0, 0), "somebody has it open");
        drop(image);
        assert_eq!(figures(&prune(&manager, &PruneOptions::default()).await), (0, 0, 0, 0), "it has a name");
        let before = ids(&manager).await;
        assert_eq!(figures(&prune(&manager, &all()).await), (0, 3, 3, 3));
        assert_eq!(ids(&manager).await, before, "its records stay");
        assert_eq!(stored(world.root()).len(), 2, "manifest and config");
        assert!(snapshots(&manager).is_empty());
        assert_eq!(figures(&prune(&manager, &all()).await), (0, 0, 0, 0));
        world.registry.reset();
        let image = manager.open_image(&app(), None, &Access::anonymous()).await.unwrap();
        let top = image.top.clone().unwrap();
        assert!(top.is_lazy().await.unwrap());
        assert!(world.registry.lines().is_empty());
        top.extract(&Access::anonymous()).await.unwrap();
        assert_eq!(world.registry.lines().len(), 3, "one GET for each: {:?}", world.registry.lines());
        assert_eq!(tree(&top).1.names(), ["bin", "bin/run", "bin/sh", "etc", "etc/name"]);
        drop((image, top));
        // Without its name nothing of it is needed.
        manager.remove_name(&app()).await.unwrap();
        let pruned = prune(&manager, &PruneOptions::default()).await;
        assert_eq!((pruned.records.len(), pruned.blobs, pruned.snapshots), (3, 5, 3));
        assert!(stored(world.root()).is_empty() && snapshots(&manager).is_empty());
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
        assert_eq!(names(&world.root().join("trash")), Vec::<String>::new());
    }
}

/// What was made here, or came from a place that nobody finds again, is not made lazy.
#[tokio::test]
async fn what_cannot_be_had_again_is_kept() {
    let world = World::new().await;
    let manager = world.manager().await;
    drop(world.pull(&manager).await);
    manager.close().await.unwrap();
    drop(manager);
    // The same blobs, and a record of the bottom one that is known to be nowhere.
    let manager = world.process().await;
    let (descriptor, bytes) = world.image.blobs[1].clone();
    manager.store().put(&descriptor, bytes).await.unwrap();
    let diff_id = lazyblob_remote::digest::sha256(b"another diffID: another record of the same blob");
    let blob = lazyblob_cache::record::LayerBlob { descriptor: descriptor.clone(), diff_id };
    let options = GetOptions { image_ref: Some("x.test/kept:1".to_owned()), ..GetOptions::default() };
    let kept = manager.get_by_blob(blob, None, options).await.unwrap();
    // In use by a record that knows no way to it: it is not taken from under that.
    assert_eq!(prune(&manager, &all()).await.blobs, 0);
    assert!(manager.store().look(&descriptor).unwrap());
    drop(kept);
    // Now it goes: nobody needs that record, and the image can have the blob again.
    let pruned = prune(&manager, &all()).await;
    assert_eq!(pruned.records.len(), 1);
    prune(&manager, &all()).await;
    assert!(!manager.store().look(&descriptor).unwrap());
    let image = manager.open_image(&app(), None, &Access::anonymous()).await.unwrap();
    image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
    drop(image);
    manager.close().await.unwrap();
}

/// BuildKit row 40: filters, age and space each spare what they should.
#[tokio::test]
async fn filters_age_and_space_spare_what_they_should() {
    let world = World::new().await;
    let manager = world.manager().await;
    let all_layers = made(["a", "b", "c", "d"]);
    let mut made_ids = Vec::new();
    for layer in &all_layers {
        manager.store().put(&layer.blob.descriptor, layer.bytes.clone()).await.unwrap();
        let options = GetOptions { description: Some(layer.name.clone()), ..GetOptions::default() };
        made_ids.push(manager.get_by_blob(layer.blob.clone(), None, options).await.unwrap().id());
        // Used one after the other, a millisecond apart at least.
        manager.usage(&[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let older = PruneOptions { older_than: Some(Duration::from_secs(3600)), ..PruneOptions::default() };
    assert_eq!(figures(&prune(&manager, &older).await), (0, 0, 0, 0));
    let named = |name: &str| PruneOptions {
        filters: vec![Filter::Description(name.to_owned()), Filter::InUse(false)],
        ..PruneOptions::default()
    };
    assert_eq!(figures(&prune(&manager, &named("nobody")).await), (0, 0, 0, 0));
    assert_eq!(figures(&prune(&manager, &named("c")).await), (1, 0, 1, 0));
    assert!(!ids(&manager).await.contains(&made_ids[2]));
    // Of three, so much may stay as two take: the one used longest ago goes.
    let two = (all_layers[1].bytes.len() + all_layers[3].bytes.len()) as u64;
    let space = |max_used| PruneOptions {
        space: Space { max_used: Some(max_used), ..Space::default() },
        ..PruneOptions::default()
    };
    assert_eq!(figures(&prune(&manager, &space(10 * two)).await), (0, 0, 0, 0));
    assert_eq!(figures(&prune(&manager, &space(two)).await), (1, 0, 1, 0));
    let left = ids(&manager).await;
    assert!(!left.contains(&made_ids[0]) && left.len() == 2, "the oldest one");
    assert_eq!(figures(&prune(&manager, &space(two)).await), (0, 0, 0, 0), "just enough");
    assert_eq!(figures(&prune(&manager, &space(0)).await), (2, 0, 2, 0));
    manager.close().await.unwrap();
}

/// Row 76: a partial blob stays for who goes on with it, and goes with a prune that does not spare it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn partial_blobs() {
    use lazyblob_remote::testing::{Effect, Toxic};
    let world = World::new().await;
    let manager = world.manager().await;
    let a = Made::of("a", super::support::noise("a", 3_000_000), super::support::Packed::Plain);
    world.seed("app", &[&a]).await;
    world.registry.add(Toxic::new(Effect::CutBody(2_000_000)).on(Kind::BlobGet).times(1));
    world.registry.add(Toxic::new(Effect::Hang).on(Kind::BlobGet).after(1).times(1));
    let opened = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
    let access = Access::anonymous();
    let mut work = Box::pin(opened.unlazy(&access));
    tokio::select! {
        _ = &mut work => panic!("it hangs"),
        () = super::support::until("it hangs", || world.registry.requests(Kind::BlobGet) == 2) => {}
    }
    assert_eq!(prune(&manager, &all()).await.partials, 0, "somebody is at it");
    drop(work);
    let ingests = manager.store().ingests();
    while ingests.list().await.unwrap().iter().any(|partial| partial.in_use) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let young = PruneOptions { older_than: Some(Duration::from_secs(3600)), ..all() };
    assert_eq!(prune(&manager, &young).await.partials, 0);
    let pruned = prune(&manager, &PruneOptions::default()).await;
    assert_eq!((pruned.partials, pruned.bytes), (1, 2_000_000));
    assert!(names(&world.root().join("ingest")).is_empty());
    assert_eq!(opened.unlazy(&access).await.unwrap(), 1, "from its beginning");
    drop(opened);
    manager.close().await.unwrap();
}

/// Row 76: prune beside work in another process removes nothing it needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn prune_beside_work_in_another_process() {
    use lazyblob_remote::testing::{Effect, Toxic};
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let (worker, pruner) = (world.process().await, world.process().await);
        let all_layers = made(["a", "b", "c", "d"]);
        let every: Vec<&Made> = all_layers.iter().collect();
        world.seed("app", &every).await;
        let slow = Effect::Slow { piece: 4000, pause: Duration::from_millis(10) };
        world.registry.add(Toxic::new(slow).on(Kind::BlobGet));
        let handlers = world.handlers("app", &every);
        let work = task({
            let (worker, all_layers) = (worker.clone(), all_layers.clone());
            async move {
                let every: Vec<&Made> = all_layers.iter().collect();
                let top = stack(&worker, &every, &handlers).await;
                top.extract(&Access::anonymous()).await.unwrap();
                for layer in &every {
                    assert!(read_lazily(&top, layer, &Access::anonymous()).await.unwrap() == layer.bytes);
                }
                assert_tree_of(&top, &every);
                top
            }
        });
        let mut rounds = 0;
        while !work.is_finished() {
            let pruned = prune(&pruner, &all()).await;
            assert_eq!(figures(&pruned), (0, 0, 0, 0));
            assert_eq!(pruned.partials, 0);
            rounds += 1;
        }
        assert!(rounds > 1, "it was pruned while there was work");
        let top = work.await.unwrap();
        for layer in &every {
            assert_eq!(world.gets(layer.digest()), 1, "nothing was fetched twice");
        }
        drop(top);
        let pruned = prune(&pruner, &all()).await;
        assert_eq!(figures(&pruned), (4, 0, 4, 4), "what nobody holds any more goes");
        worker.close().await.unwrap();
        pruner.close().await.unwrap();
        drop((worker, pruner));
        assert_idle(world.root());
    }
}

/// A handle in one process keeps what it stands on from a prune in another, and a name taken by one is known to the other.
#[tokio::test]
async fn processes_see_each_other() {
    let world = World::new().await;
    let (one, other) = (world.process().await, world.process().await);
    let image = world.pull(&one).await.image;
    image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
    world.registry.reset();
    let there = other.open_image(&app(), None, &Access::anonymous()).await.unwrap();
    assert_eq!(there.top.as_ref().unwrap().id(), image.top.as_ref().unwrap().id());
    there.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
    assert!(!there.top.as_ref().unwrap().is_lazy().await.unwrap());
    assert!(world.registry.lines().is_empty(), "what one has pulled the other has");
    drop(there);
    one.remove_name(&app()).await.unwrap();
    assert!(other.named(&app()).await.unwrap_err().is_not_found());
    assert_eq!(figures(&prune(&other, &all()).await), (0, 0, 0, 0), "one of them has it open");
    assert_tree_names(&image);
    drop(image);
    assert_eq!(figures(&prune(&other, &all()).await), (3, 0, 5, 3));
    // The other one does not believe that it is still there.
    let error = one.open_image(&app(), None, &Access::anonymous()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let image = world.pull(&one).await.image;
    let top = image.top.clone().unwrap();
    top.extract(&Access::anonymous()).await.unwrap();
    assert_tree_names(&image);
    drop((image, top));
    one.close().await.unwrap();
    other.close().await.unwrap();
}

fn assert_tree_names(image: &lazyblob_cache::image::Image) {
    let names = ["bin", "bin/run", "bin/sh", "etc", "etc/name"];
    assert_eq!(tree(image.top.as_ref().unwrap()).1.names(), names);
}

/// What prune leaves is what a rebuilt database knows: the journal is in step.
#[tokio::test]
async fn a_lost_database_is_made_anew() {
    let world = World::new().await;
    let manager = world.manager().await;
    let image = world.pull(&manager).await.image;
    let [a, b] = made(["a", "b"]);
    drop(stack(&manager, &[&a, &b], &world.handlers("app", &[&a, &b])).await);
    image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
    drop(image);
    assert_eq!(prune(&manager, &PruneOptions::default()).await.records.len(), 2);
    let before = ids(&manager).await;
    manager.close().await.unwrap();
    drop(manager);
    fs::remove_dir_all(world.root().join("meta")).unwrap();
    let manager = world.process().await;
    assert_eq!(ids(&manager).await, before);
    world.registry.reset();
    let image = manager.open_image(&app(), None, &Access::anonymous()).await.unwrap();
    let top = image.top.clone().unwrap();
    top.extract(&Access::anonymous()).await.unwrap();
    assert!(world.registry.lines().is_empty(), "all of it is here: {:?}", world.registry.lines());
    assert_tree_names(&image);
    drop((image, top));
    assert_eq!(figures(&prune(&manager, &all()).await), (0, 3, 3, 3));
    manager.close().await.unwrap();
    drop(manager);
    // Lost again, and lazy this time.
    fs::remove_dir_all(world.root().join("meta")).unwrap();
    let manager = world.process().await;
    let image = manager.open_image(&app(), None, &Access::anonymous()).await.unwrap();
    assert!(image.top.as_ref().unwrap().is_lazy().await.unwrap());
    image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
    assert_tree_names(&image);
    drop(image);
    manager.close().await.unwrap();
}

/// Without database and hints, what is on disk is there, and what is not is lazy, to be had where its name says.
#[tokio::test]
async fn lost_hints_too() {
    for unpacked in [true, false] {
        let world = World::new().await;
        let manager = world.manager().await;
        let image = world.pull(&manager).await.image;
        if unpacked {
            image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
        }
        drop(image);
        manager.close().await.unwrap();
        drop(manager);
        for dir in ["meta", "hints"] {
            fs::remove_dir_all(world.root().join(dir)).unwrap();
        }
        world.registry.reset();
        let manager = world.process().await;
        assert_eq!(manager.names().await.unwrap().len(), 1);
        let image = manager.open_image(&app(), None, &Access::anonymous()).await.unwrap();
        let top = image.top.clone().unwrap();
        assert_eq!(top.is_lazy().await.unwrap(), !unpacked);
        assert!(world.registry.lines().is_empty());
        top.extract(&Access::anonymous()).await.unwrap();
        assert_eq!(world.registry.lines().len(), if unpacked { 0 } else { 3 });
        assert_tree_names(&image);
        drop((image, top));
        manager.close().await.unwrap();
    }
}

/// BuildKit row 44: a ref one of whose parents is gone is gone; its other parents are as they were, and prune takes all.
#[tokio::test]
async fn a_broken_parent_breaks_its_children_alone() {
    use lazyblob_cache::metadata::Space as Rows;
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, b] = made(["a", "b"]);
    let handlers = world.handlers("app", &[&a, &b]);
    let (one, other) = (stack(&manager, &[&a], &handlers).await, stack(&manager, &[&b], &handlers).await);
    let merged = manager.merge(&[one.clone(), other.clone()], GetOptions::default()).await.unwrap().unwrap();
    let (one_id, other_id, merged_id) = (one.id(), other.id(), merged.id());
    drop((one, other, merged));
    let gone = one_id.clone();
    let removed = manager.database().write(move |rows| {
        rows.delete(&Rows::recoverable("record"), gone.as_str().as_bytes());
        Ok(())
    });
    removed.await.unwrap();
    manager.close().await.unwrap();
    drop(manager);
    let manager = world.process().await;
    let options = || GetOptions { handlers: handlers.clone(), ..GetOptions::default() };
    for id in [&one_id, &merged_id] {
        let error = manager.get(id, options()).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
    drop(manager.get(&other_id, options()).await.unwrap());
    let usage = manager.usage(&[]).await.unwrap();
    assert!(usage.entries.iter().all(|entry| !entry.in_use), "nobody holds anything");
    // Whoever asks for the same merge gets one that is whole.
    let again = stack(&manager, &[&a], &handlers).await;
    let other = manager.get(&other_id, options()).await.unwrap();
    let merged =
        manager.merge(&[again.clone(), other.clone()], GetOptions::default()).await.unwrap().unwrap();
    assert_ne!(merged.id(), merged_id);
    drop((again, other, merged));
    prune(&manager, &PruneOptions::default()).await;
    assert_eq!(ids(&manager).await, Vec::<RecordId>::new());
    manager.close().await.unwrap();
}
