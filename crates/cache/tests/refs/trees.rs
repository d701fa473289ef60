//! Trees of refs, as long as somebody has them open.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::record::Retention;
use lazyblob_cache::{Error, GetOptions, ImmutableRef, Manager, MutableRef, Result};
use lazyblob_remote::Access;
use lazyblob_remote::testing::not_run;
use tokio_util::sync::CancellationToken;

use crate::support::{Wanted, World, kinds, layers, names, text};

async fn new(manager: &Manager, parent: Option<&ImmutableRef>) -> Result<MutableRef> {
    let options = GetOptions { retention: Retention::Retain, ..GetOptions::default() };
    manager.new_mutable(parent, &Access::anonymous(), options).await
}

/// How many mounts there are below a directory.
pub(crate) fn mounts_below(dir: &Path) -> usize {
    let dir = fs::canonicalize(dir).unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table
        .lines()
        .filter(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at).starts_with(&dir)))
        .count()
}

/// A tree is written, committed, built on and looked at; nothing is left mounted.
#[tokio::test]
async fn a_tree_is_written_and_seen() {
    for wanted in kinds() {
        let world = World::of(Default::default(), &layers(), wanted).await;
        let manager = world.manager().await;
        let pulled = world.pull(&manager).await;
        let base = pulled.image.files().unwrap().unwrap();
        let seen = base.view(&Access::anonymous()).await.unwrap();
        assert_eq!(text(seen.path().join("etc/name")), "middle");
        assert!(!seen.path().join("etc/old").exists(), "a whiteout");
        if wanted == Wanted::Overlay {
            let error = fs::write(seen.path().join("new"), "").unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        }

        let active = new(&manager, Some(base)).await.unwrap();
        let tree = active.tree().await.unwrap();
        let again = active.tree().await.unwrap();
        assert_eq!(tree.path(), again.path(), "all trees of a ref are one");
        fs::write(tree.path().join("etc/name"), "mine").unwrap();
        fs::remove_file(tree.path().join("bin/sh")).unwrap();
        assert_eq!(text(again.path().join("etc/name")), "mine");
        tree.close().await.unwrap();
        assert_eq!(text(again.path().join("etc/name")), "mine", "somebody has it open");
        again.close().await.unwrap();
        // A second time: what the kernel remembers of the first one is not in the way.
        let tree = active.tree().await.unwrap();
        assert_eq!(text(tree.path().join("etc/name")), "mine");
        tree.close().await.unwrap();
        let committed = active.commit().await.unwrap();
        let child = new(&manager, Some(&committed)).await.unwrap();
        let tree = child.tree().await.unwrap();
        assert_eq!(text(tree.path().join("etc/name")), "mine");
        assert!(fs::symlink_metadata(tree.path().join("bin/sh")).is_err());
        assert_eq!(text(seen.path().join("etc/name")), "middle", "the base is as it was");
        tree.close().await.unwrap();
        seen.close().await.unwrap();
        assert_eq!(mounts_below(world.root()), 0);
        drop((committed, child, pulled));
        manager.close().await.unwrap();
        assert_eq!(names(&world.root().join("mounts")), Vec::<String>::new());
    }
}

/// No mount where the directory of the changes is the tree.
#[tokio::test]
async fn nothing_is_mounted_that_need_not_be() {
    for wanted in kinds() {
        let world = World::of(Default::default(), &layers(), wanted).await;
        let manager = world.manager().await;
        let active = new(&manager, None).await.unwrap();
        let tree = active.tree().await.unwrap();
        assert_eq!(tree.path(), active.directory().await.unwrap());
        assert_eq!(mounts_below(world.root()), 0);
        fs::write(tree.path().join("file"), "kept").unwrap();
        tree.close().await.unwrap();
        let committed = active.commit().await.unwrap();
        let seen = committed.view(&Access::anonymous()).await.unwrap();
        assert_eq!(text(seen.path().join("file")), "kept");
        assert_eq!(
            mounts_below(world.root()),
            usize::from(wanted == Wanted::Overlay),
            "a layer alone is mounted"
        );
        seen.close().await.unwrap();
        drop(committed);
        manager.close().await.unwrap();
    }
}

/// A ref whose tree is open is not committed, and one whose trees were only dropped is.
#[tokio::test]
async fn an_open_tree_is_not_committed() {
    for wanted in kinds() {
        let world = World::of(Default::default(), &layers(), wanted).await;
        let manager = world.manager().await;
        let pulled = world.pull(&manager).await;
        let base = pulled.image.files().unwrap().unwrap();
        let active = new(&manager, Some(base)).await.unwrap();
        let id = active.id();
        let tree = active.tree().await.unwrap();
        let error = active.commit().await.unwrap_err();
        assert!(matches!(error.root(), Error::Locked { .. }), "{error}");
        fs::write(tree.path().join("file"), "kept").unwrap();
        drop(tree);
        let retained = GetOptions { retention: Retention::Retain, ..GetOptions::default() };
        let active = manager.get_mutable(&id, retained).await.unwrap();
        drop(active.tree().await.unwrap());
        let committed = active.commit().await.unwrap();
        assert_eq!(mounts_below(world.root()), 0, "it is unmounted before it is committed");
        committed.finalize().await.unwrap();
        let seen = committed.view(&Access::anonymous()).await.unwrap();
        assert_eq!(text(seen.path().join("file")), "kept");
        drop(seen);
        drop((committed, pulled));
        manager.close().await.unwrap();
        assert_eq!(mounts_below(world.root()), 0, "who closes waits for what was dropped");
    }
}

/// What is shown is not pruned, though nobody has a ref on it any more.
#[tokio::test]
async fn what_is_shown_is_not_pruned() {
    for wanted in kinds() {
        let world = World::of(Default::default(), &layers(), wanted).await;
        let manager = world.manager().await;
        let active = new(&manager, None).await.unwrap();
        fs::write(active.directory().await.unwrap().join("file"), "kept").unwrap();
        let below = active.commit().await.unwrap();
        let active = new(&manager, Some(&below)).await.unwrap();
        let (seen, tree) = (below.view(&Access::anonymous()).await.unwrap(), active.tree().await.unwrap());
        drop((below, active));
        let all = PruneOptions { all: true, ..PruneOptions::default() };
        let other = world.process().await;
        for manager in [&manager, &other] {
            let pruned = manager.prune(&all, &CancellationToken::new()).await.unwrap();
            assert_eq!((pruned.records.len(), pruned.snapshots), (0, 0));
        }
        assert_eq!(text(seen.path().join("file")), "kept");
        assert_eq!(text(tree.path().join("file")), "kept");
        seen.close().await.unwrap();
        tree.close().await.unwrap();
        let pruned = manager.prune(&all, &CancellationToken::new()).await.unwrap();
        assert_eq!(pruned.records.len(), 2);
        other.close().await.unwrap();
        manager.close().await.unwrap();
    }
}

/// A tree that is in use while it is closed is out of sight, and whoever closes it is told.
#[tokio::test]
async fn who_closes_what_is_in_use_is_told() {
    if !kinds().contains(&Wanted::Overlay) {
        return not_run("closing a tree that is in use", "overlayfs does not work here");
    }
    let world = World::of(Default::default(), &layers(), Wanted::Overlay).await;
    let manager = world.manager().await;
    let pulled = world.pull(&manager).await;
    let base = pulled.image.files().unwrap().unwrap();
    let active = new(&manager, Some(base)).await.unwrap();
    let tree = active.tree().await.unwrap();
    let held = fs::File::open(tree.path().join("etc/name")).unwrap();
    let error = tree.close().await.unwrap_err();
    assert!(matches!(error.root(), Error::Locked { .. }), "{error}");
    assert_eq!(mounts_below(world.root()), 0);
    drop(held);
    // One that is only read goes at once, and who reads reads on.
    let seen = base.view(&Access::anonymous()).await.unwrap();
    let held = fs::File::open(seen.path().join("etc/name")).unwrap();
    seen.close().await.unwrap();
    assert!(held.metadata().unwrap().size() > 0);
    drop((active, held, pulled));
    manager.close().await.unwrap();
}

/// Another process finds a tree that is open here locked.
#[tokio::test]
async fn one_process_shows_a_tree() {
    for wanted in kinds() {
        let world = World::of(Default::default(), &layers(), wanted).await;
        let manager = world.manager().await;
        let active = new(&manager, None).await.unwrap();
        let tree = active.tree().await.unwrap();
        let key = lazyblob_cache::snapshot::SnapshotKey::record(active.id().as_str()).unwrap();
        let other = world.process().await;
        let upper = other.snapshots().active(&key).unwrap().unwrap();
        let error = other.mounter().keep_unmounted(&upper).unwrap_err();
        assert!(matches!(error.root(), Error::Locked { .. }), "{error}");
        tree.close().await.unwrap();
        drop(other.mounter().keep_unmounted(&upper).unwrap());
        other.close().await.unwrap();
        drop(active);
        manager.close().await.unwrap();
    }
}

/// What makes a committed tree a snapshot is not synced: where a power cut takes the file that says so, what the tree was
/// before says it.
#[tokio::test]
async fn a_snapshot_is_one_without_what_a_power_cut_may_take() {
    for wanted in kinds() {
        let world = World::of(Default::default(), &layers(), wanted).await;
        let (manager, access) = (world.manager().await, Access::anonymous());
        let active = new(&manager, None).await.unwrap();
        fs::write(active.directory().await.unwrap().join("file"), "kept").unwrap();
        let below = active.commit().await.unwrap();
        manager.settle().await.unwrap();
        let child = new(&manager, Some(&below)).await.unwrap();
        let key = below.record().snapshot.clone().unwrap();
        let whole = manager.snapshots().info(&key).unwrap().unwrap();
        let path = manager.snapshots().directory(&key).unwrap().parent().unwrap().to_owned();
        let settled = wanted == Wanted::Plain;
        assert_eq!(path.join("active.json").exists(), !settled);
        if settled {
            // It was synced as soon as it was made.
            drop((child, below));
            manager.close().await.unwrap();
            continue;
        }
        fs::write(path.join("info.json"), "").unwrap();
        let found = manager.snapshots().info(&key).unwrap().unwrap();
        assert_eq!((&found.parent, found.usage), (&whole.parent, whole.usage));
        assert_eq!(manager.snapshots().list().unwrap().len(), 1, "prune finds it");
        let seen = below.view(&access).await.unwrap();
        assert_eq!(text(seen.path().join("file")), "kept");
        seen.close().await.unwrap();
        drop((child, below));
        manager.close().await.unwrap();
    }
}

/// Another process sees all that was committed here, without anybody asking for it to be durable.
#[tokio::test]
async fn another_process_sees_what_is_durable_soon() {
    for wanted in kinds() {
        let world = World::of(Default::default(), &layers(), wanted).await;
        let manager = world.manager().await;
        let active = new(&manager, None).await.unwrap();
        fs::write(active.directory().await.unwrap().join("file"), "kept").unwrap();
        let committed = active.commit().await.unwrap();
        let other = world.process().await;
        let found = other.get(&committed.id(), GetOptions::default()).await.unwrap();
        drop(committed);
        manager.settle().await.unwrap();
        let seen = found.view(&Access::anonymous()).await.unwrap();
        assert_eq!(text(seen.path().join("file")), "kept");
        seen.close().await.unwrap();
        drop(found);
        other.close().await.unwrap();
        manager.close().await.unwrap();
    }
}
