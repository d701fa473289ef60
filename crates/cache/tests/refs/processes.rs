//! Several processes on one root, as managers that share nothing in memory.

use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::record::Retention;
use lazyblob_cache::{Error, GetOptions};
use lazyblob_remote::Access;
use lazyblob_remote::testing::TestRegistry;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Made, World, assert_idle, assert_tree_of, kinds, layers, made, read_lazily, stack, task,
};

/// Six processes unpack one chain at once: one GET for each blob.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_share_one_transfer() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let all = made(["a", "b", "c"]);
        let every: Vec<&Made> = all.iter().collect();
        world.seed("app", &every).await;
        let mut managers = Vec::new();
        for _ in 0..6 {
            managers.push(world.process().await);
        }
        let work = managers.iter().map(|manager| {
            let (manager, all) = (manager.clone(), all.clone());
            let handlers = world.handlers("app", &every);
            task(async move {
                let every: Vec<&Made> = all.iter().collect();
                let top = stack(&manager, &every, &handlers).await;
                top.extract(&Access::anonymous()).await.unwrap();
                assert_tree_of(&top, &every);
                top.id()
            })
        });
        let ids: Vec<_> =
            futures::future::join_all(work).await.into_iter().map(|done| done.unwrap()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "one record, whoever made it");
        for layer in &all {
            assert_eq!(world.gets(layer.digest()), 1, "{:?}", world.registry.lines());
        }
        for manager in &managers {
            manager.close().await.unwrap();
        }
        drop(managers);
        assert_idle(world.root());
    }
}

/// What one process knows to be here another one may prune while nobody has it open; whoever opens it again looks.
#[tokio::test]
async fn what_another_process_has_pruned_is_lazy() {
    let world = World::new().await;
    let (one, other) = (world.process().await, world.process().await);
    let image = world.pull(&one).await.image;
    let access = Access::anonymous();
    assert_eq!(image.top.as_ref().unwrap().unlazy(&access).await.unwrap(), 3);
    drop(image);
    let all = PruneOptions { all: true, ..PruneOptions::default() };
    let pruned = other.prune(&all, &CancellationToken::new()).await.unwrap();
    assert_eq!((pruned.records.len(), pruned.lightened.len(), pruned.blobs), (0, 3, 3));
    let reference = "registry.test/app:1".parse().unwrap();
    let image = one.open_image(&reference, None, &access).await.unwrap();
    let top = image.top.clone().unwrap();
    assert!(top.is_lazy().await.unwrap());
    assert_eq!(top.unlazy(&access).await.unwrap(), 3);
    drop((image, top));
    one.close().await.unwrap();
    other.close().await.unwrap();
}

/// A chain that is unpacked stays so: the next process needs neither handlers nor requests, and reads the blobs from here.
#[tokio::test]
async fn what_is_unpacked_is_so_for_the_next_process() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.process().await;
        let [a, b] = made(["a", "b"]);
        world.seed("app", &[&a, &b]).await;
        let top = stack(&manager, &[&a, &b], &world.handlers("app", &[&a, &b])).await;
        top.extract(&Access::anonymous()).await.unwrap();
        let id = top.id();
        drop(top);
        manager.close().await.unwrap();
        drop(manager);
        world.registry.reset();
        let manager = world.process().await;
        let top = manager.get(&id, GetOptions::default()).await.unwrap();
        top.extract(&Access::anonymous()).await.unwrap();
        assert_tree_of(&top, &[&a, &b]);
        assert!(read_lazily(&top, &b, &Access::anonymous()).await.unwrap() == b.bytes);
        assert!(world.registry.lines().is_empty());
        drop(top);
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// BuildKit row 29: a tree that may change has one owner, among all processes.
#[tokio::test]
async fn a_mutable_ref_has_one_owner_in_all_processes() {
    let world = World::new().await;
    let (one, other) = (world.process().await, world.process().await);
    let options = || GetOptions { retention: Retention::Retain, ..GetOptions::default() };
    let active = one.new_mutable(None, &Access::anonymous(), options()).await.unwrap();
    let id = active.id();
    let error = other.get_mutable(&id, options()).await.unwrap_err();
    assert!(matches!(error.root(), Error::Locked { .. }), "{error}");
    let error = other.get(&id, GetOptions::default()).await.unwrap_err();
    assert!(matches!(error.root(), Error::Locked { .. }), "{error}");
    drop(active);
    let taken = other.get_mutable(&id, options()).await.unwrap();
    let error = one.get_mutable(&id, options()).await.unwrap_err();
    assert!(matches!(error.root(), Error::Locked { .. }), "{error}");
    let committed = taken.commit().await.unwrap();
    let error = one.get_mutable(&id, options()).await.unwrap_err();
    assert!(matches!(error.root(), Error::Locked { .. }), "{error}");
    drop(committed);
    drop(one.get_mutable(&id, options()).await.unwrap());
    one.close().await.unwrap();
    other.close().await.unwrap();
}

/// What is not retained goes with its handle, but not the tree that another process has taken up meanwhile.
#[tokio::test]
async fn a_tree_that_another_process_has_taken_up_is_not_removed() {
    let world = World::new().await;
    let (one, other) = (world.process().await, world.process().await);
    let active = one.new_mutable(None, &Access::anonymous(), GetOptions::default()).await.unwrap();
    let id = active.id();
    drop(active);
    let taken = other.get_mutable(&id, GetOptions::default()).await.unwrap();
    // Writes what the first handle has left.
    one.close().await.unwrap();
    let third = world.process().await;
    let error = third.get_mutable(&id, GetOptions::default()).await.unwrap_err();
    assert!(matches!(error.root(), Error::Locked { .. }), "{error}");
    assert!(taken.directory().await.unwrap().is_dir());
    drop(taken);
    other.close().await.unwrap();
    let error = third.get_mutable(&id, GetOptions::default()).await.unwrap_err();
    assert!(error.is_not_found(), "it went with its last handle: {error}");
    third.close().await.unwrap();
}
