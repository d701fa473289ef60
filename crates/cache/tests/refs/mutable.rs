//! Refs that may change, what is committed of them, and who may have them.

use std::fs;
use std::time::Duration;

use lazyblob_cache::manager::Settings;
use lazyblob_cache::prune::{Filter, PruneOptions};
use lazyblob_cache::record::{RecordId, Retention};
use lazyblob_cache::snapshot::SnapshotKey;
use lazyblob_cache::{Error, GetOptions, ImmutableRef, Manager, MutableRef};
use lazyblob_remote::Access;
use lazyblob_remote::testing::TestRegistry;
use tokio_util::sync::CancellationToken;

use crate::support::{World, kinds, layers, made, snapshots, stack, text, tree};

fn retained() -> GetOptions {
    GetOptions { retention: Retention::Retain, ..GetOptions::default() }
}

async fn new(manager: &Manager, parent: Option<&ImmutableRef>, options: GetOptions) -> MutableRef {
    manager.new_mutable(parent, &Access::anonymous(), options).await.unwrap()
}

async fn get(manager: &Manager, id: &RecordId) -> Result<ImmutableRef, Error> {
    manager.get(id, GetOptions::default()).await
}

async fn get_mutable(manager: &Manager, id: &RecordId) -> Result<MutableRef, Error> {
    manager.get_mutable(id, retained()).await
}

/// Records in use, and the others.
async fn counts(manager: &Manager) -> (usize, usize) {
    let usage = manager.usage(&[]).await.unwrap();
    let used = usage.entries.iter().filter(|entry| entry.in_use).count();
    (used, usage.entries.len() - used)
}

fn is_locked(error: &Error) -> bool {
    matches!(error.root(), Error::Locked { .. })
}

async fn prune(manager: &Manager, options: &PruneOptions) -> lazyblob_cache::prune::Pruned {
    manager.prune(options, &CancellationToken::new()).await.unwrap()
}

/// BuildKit rows 28, 29, 30, 31: the life of a mutable ref, as BuildKit's own TestManager has it.
#[tokio::test]
async fn a_mutable_ref_and_what_becomes_of_it() {
    let world = World::new().await;
    let manager = world.manager().await;
    let unknown = RecordId::parse("0123456789abcdef0123456789abcdef").unwrap();
    assert!(get(&manager, &unknown).await.unwrap_err().is_not_found());
    assert!(get_mutable(&manager, &unknown).await.unwrap_err().is_not_found());

    let active = new(&manager, None, retained()).await;
    let id = active.id();
    assert_eq!(counts(&manager).await, (1, 0));
    fs::write(active.directory().await.unwrap().join("file"), "one").unwrap();
    assert!(is_locked(&get_mutable(&manager, &id).await.unwrap_err()));
    assert!(is_locked(&get(&manager, &id).await.unwrap_err()), "not even to commit it");

    let committed = active.commit().await.unwrap();
    assert_eq!(counts(&manager).await, (2, 0), "both of the pair are one tree in use");
    assert!(is_locked(&get_mutable(&manager, &id).await.unwrap_err()));
    drop(committed);
    assert_eq!(counts(&manager).await, (0, 2));
    assert!(snapshots(&manager).is_empty(), "nothing was copied");

    let active = get_mutable(&manager, &id).await.unwrap();
    assert_eq!(counts(&manager).await, (1, 0), "what was committed of it is gone");
    fs::write(active.directory().await.unwrap().join("file"), "two").unwrap();
    let committed = active.commit().await.unwrap();
    committed.finalize().await.unwrap();
    committed.finalize().await.unwrap();
    assert!(get_mutable(&manager, &id).await.unwrap_err().is_not_found());
    let error = get_mutable(&manager, &committed.id()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert_eq!(snapshots(&manager).len(), 1);
    let second = get(&manager, &committed.id()).await.unwrap();
    assert_eq!(counts(&manager).await, (1, 0), "two handles count once");

    let child = new(&manager, Some(&committed), retained()).await;
    let committed_id = committed.id();
    drop((committed, second));
    assert_eq!(counts(&manager).await, (2, 0), "a child keeps its parent");
    fs::write(child.directory().await.unwrap().join("other"), "three").unwrap();
    let top = child.commit().await.unwrap();
    top.finalize().await.unwrap();
    let (dir, _) = tree(&top);
    assert_eq!(text(dir.path().join("tree/file")), "two");
    assert_eq!(text(dir.path().join("tree/other")), "three");
    drop(top);
    assert_eq!(counts(&manager).await, (0, 2));

    let pruned = prune(&manager, &PruneOptions::default()).await;
    assert_eq!(pruned.records.len(), 2);
    assert_eq!(counts(&manager).await, (0, 0));
    assert!(snapshots(&manager).is_empty());
    assert!(get(&manager, &committed_id).await.unwrap_err().is_not_found());
    manager.close().await.unwrap();
}

/// BuildKit row 31: the tree goes with its handle unless it is to be retained.
#[tokio::test]
async fn what_is_not_retained_goes_with_its_handle() {
    let world = World::new().await;
    let settings = Settings { linger: Duration::from_millis(1), ..Settings::default() };
    let manager = world.manager_with(&world.client, settings).await;
    let kept = new(&manager, None, retained()).await;
    let dropped = new(&manager, None, GetOptions::default()).await;
    let ids = (kept.id(), dropped.id());
    drop((kept, dropped));
    // Whoever writes next takes it along.
    prune(&manager, &PruneOptions { dry_run: true, ..PruneOptions::default() }).await;
    assert!(get_mutable(&manager, &ids.1).await.unwrap_err().is_not_found());
    drop(get_mutable(&manager, &ids.0).await.unwrap());
    // One that is taken up again at once stays.
    let again = new(&manager, None, GetOptions::default()).await;
    let id = again.id();
    let committed = again.commit().await.unwrap();
    drop(committed);
    assert!(get(&manager, &id).await.is_ok());
    manager.close().await.unwrap();
}

/// BuildKit row 28: as BuildKit's own TestLazyCommit, two restarts included.
#[tokio::test]
async fn a_commit_is_lazy_across_restarts() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let active = new(&manager, None, retained()).await;
        let mutable = active.id();
        fs::write(active.directory().await.unwrap().join("file"), "kept").unwrap();
        let committed = active.commit().await.unwrap();
        let immutable = committed.id();
        drop(committed);
        // Asked for as if it were immutable, it is what was committed of it.
        assert_eq!(get(&manager, &mutable).await.unwrap().id(), immutable);
        manager.close().await.unwrap();
        drop(manager);

        let manager = world.process().await;
        let again = get(&manager, &immutable).await.unwrap();
        assert!(is_locked(&get_mutable(&manager, &mutable).await.unwrap_err()));
        drop(again);
        let active = get_mutable(&manager, &mutable).await.unwrap();
        assert_eq!(text(active.directory().await.unwrap().join("file")), "kept");
        assert!(get(&manager, &immutable).await.unwrap_err().is_not_found());
        let committed = active.commit().await.unwrap();
        let immutable = committed.id();
        drop(committed);
        manager.close().await.unwrap();
        drop(manager);

        let manager = world.process().await;
        let again = get(&manager, &immutable).await.unwrap();
        again.finalize().await.unwrap();
        assert!(get_mutable(&manager, &mutable).await.unwrap_err().is_not_found());
        let (dir, _) = tree(&again);
        assert_eq!(text(dir.path().join("tree/file")), "kept");
        drop(again);
        manager.close().await.unwrap();
    }
}

/// BuildKit row 43: a crash after the snapshot has its name and before the rows say so. The tree that was finalized is
/// not taken back.
#[tokio::test]
async fn half_finalized_is_finalized() {
    for how in ["get", "finalize", "get mutable", "prune"] {
        let world = World::new().await;
        let manager = world.manager().await;
        let active = new(&manager, None, retained()).await;
        let mutable = active.id();
        fs::write(active.directory().await.unwrap().join("file"), "kept").unwrap();
        let committed = active.commit().await.unwrap();
        let (immutable, key) = (committed.id(), committed.record().snapshot.clone().unwrap());
        drop(committed);
        let trees = manager.snapshots();
        let active = trees.active(&SnapshotKey::record(mutable.as_str()).unwrap()).unwrap().unwrap();
        trees.commit(&active, &key, &CancellationToken::new()).unwrap();
        manager.close().await.unwrap();
        drop(manager);

        let manager = world.process().await;
        match how {
            "finalize" => get(&manager, &immutable).await.unwrap().finalize().await.unwrap(),
            "get mutable" => {
                let error = get_mutable(&manager, &mutable).await.unwrap_err();
                assert!(error.is_not_found(), "{error}");
            }
            "prune" => {
                let held = get(&manager, &immutable).await.unwrap();
                let pruned = prune(&manager, &PruneOptions { all: true, ..PruneOptions::default() }).await;
                assert_eq!(pruned.snapshots, 0);
                held.finalize().await.unwrap();
            }
            _ => {}
        }
        let again = get(&manager, &immutable).await.unwrap();
        again.finalize().await.unwrap();
        let (dir, _) = tree(&again);
        assert_eq!(text(dir.path().join("tree/file")), "kept", "{how}");
        assert!(get_mutable(&manager, &mutable).await.unwrap_err().is_not_found());
        assert_eq!(counts(&manager).await, (1, 0));
        drop(again);
        manager.close().await.unwrap();
    }
}

/// What was committed of a mutable ref may be pruned; the mutable one is as it was, and can be committed again.
#[tokio::test]
async fn a_mutable_ref_outlives_what_was_committed_of_it() {
    let world = World::new().await;
    let manager = world.manager().await;
    let active = new(&manager, None, retained()).await;
    let mutable = active.id();
    fs::write(active.directory().await.unwrap().join("file"), "kept").unwrap();
    let immutable = active.commit().await.unwrap().id();
    let filters = vec![Filter::Mutable(false)];
    let pruned = prune(&manager, &PruneOptions { filters, ..PruneOptions::default() }).await;
    assert_eq!(
        pruned.records.iter().map(|entry| entry.record.id.clone()).collect::<Vec<_>>(),
        [immutable.clone()]
    );
    assert!(get(&manager, &immutable).await.unwrap_err().is_not_found());
    let again = get(&manager, &mutable).await.unwrap();
    assert_ne!(again.id(), immutable);
    again.finalize().await.unwrap();
    let (dir, _) = tree(&again);
    assert_eq!(text(dir.path().join("tree/file")), "kept");
    drop(again);
    manager.close().await.unwrap();
}

/// A commit that is dropped at any point has happened or has not: never is one tree two refs' that do not know of each
/// other.
#[tokio::test]
async fn a_commit_that_is_dropped_has_happened_or_has_not() {
    let world = World::new().await;
    let manager = world.manager().await;
    for polls in 1..12 {
        let active = new(&manager, None, retained()).await;
        let mutable = active.id();
        let mut commit = Box::pin(active.commit());
        let mut left = polls;
        let done = std::future::poll_fn(|context| {
            left -= 1;
            let polled = commit.as_mut().poll(context).map(Some);
            if left == 0 && polled.is_pending() { std::task::Poll::Ready(None) } else { polled }
        })
        .await;
        drop(commit);
        drop(done);
        // What was under way is written before this is read.
        let usage = manager.usage(&[]).await.unwrap();
        let twins: Vec<_> =
            usage.entries.iter().filter(|entry| entry.record.twin.as_ref() == Some(&mutable)).collect();
        let own = usage.entries.iter().find(|entry| entry.record.id == mutable).unwrap();
        match twins.as_slice() {
            [] => assert_eq!(own.record.twin, None, "after {polls} polls"),
            [twin] => assert_eq!(own.record.twin.as_ref(), Some(&twin.record.id), "after {polls} polls"),
            many => panic!("{many:?}"),
        }
    }
    manager.close().await.unwrap();
}

/// BuildKit row 29: of many who want it at once, one gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_want_it_one_gets_it() {
    let world = World::new().await;
    let manager = world.manager().await;
    let id = new(&manager, None, retained()).await.id();
    for _ in 0..50 {
        let tries = (0..8).map(|_| {
            let (manager, id) = (manager.clone(), id.clone());
            tokio::spawn(async move { get_mutable(&manager, &id).await })
        });
        let outcomes = futures::future::join_all(tries).await;
        let (won, lost): (Vec<_>, Vec<_>) =
            outcomes.into_iter().map(|outcome| outcome.unwrap()).partition(Result::is_ok);
        assert_eq!(won.len(), 1, "and the others wait their turn");
        assert!(lost.into_iter().all(|lost| is_locked(&lost.unwrap_err())));
    }
    manager.close().await.unwrap();
}

/// What was committed needs not be finalized by hand before it is extracted or stood on.
#[tokio::test]
async fn what_is_committed_can_be_stood_on() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let active = new(&manager, None, retained()).await;
        fs::write(active.directory().await.unwrap().join("file"), "below").unwrap();
        let below = active.commit().await.unwrap();
        let active = new(&manager, Some(&below), retained()).await;
        fs::write(active.directory().await.unwrap().join("other"), "above").unwrap();
        let above = active.commit().await.unwrap();
        above.extract(&Access::anonymous()).await.unwrap();
        assert_eq!(tree(&above).1.names(), ["file", "other"]);
        assert_eq!(counts(&manager).await, (2, 0));
        drop((below, above));
        manager.close().await.unwrap();
    }
}

/// A mutable ref on a lazy one unpacks it first, on behalf of who asks, and keeps it.
#[tokio::test]
async fn a_mutable_ref_on_a_lazy_one() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let [a, b] = made(["a", "b"]);
        world.seed("app", &[&a, &b]).await;
        let parent = stack(&manager, &[&a, &b], &world.handlers("app", &[&a, &b])).await;
        let active = new(&manager, Some(&parent), retained()).await;
        drop(parent);
        assert_eq!((world.gets(a.digest()), world.gets(b.digest())), (1, 1));
        fs::write(active.directory().await.unwrap().join("new"), "new").unwrap();
        let pruned = prune(&manager, &PruneOptions { all: true, ..PruneOptions::default() }).await;
        assert_eq!(
            (pruned.records.len(), pruned.lightened.len(), pruned.blobs, pruned.snapshots),
            (0, 0, 0, 0)
        );
        let top = active.commit().await.unwrap();
        top.finalize().await.unwrap();
        let (dir, tree) = tree(&top);
        assert_eq!(text(dir.path().join("tree/new")), "new");
        assert_eq!(text(dir.path().join("tree/who")), "b");
        assert_eq!(tree.names(), ["a", "a/data", "b", "b/data", "new", "who"]);
        drop(top);
        manager.close().await.unwrap();
    }
}

/// A parent that cannot be had leaves nothing behind.
#[tokio::test]
async fn a_mutable_ref_on_what_cannot_be_had_is_none() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [gone] = made(["gone"]);
    let parent = stack(&manager, &[&gone], &world.handlers("app", &[&gone])).await;
    let error = manager.new_mutable(Some(&parent), &Access::anonymous(), retained()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(counts(&manager).await, (1, 0));
    assert!(manager.snapshots().actives().unwrap().is_empty());
    drop(parent);
    manager.close().await.unwrap();
}
