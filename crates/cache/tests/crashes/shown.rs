//! Trees that a process has open when it is killed.

use std::fs;
use std::path::Path;

use lazyblob_cache::GetOptions;
use lazyblob_cache::record::Retention;
use lazyblob_remote::Access;

use crate::other::{Other, Role};
use crate::support::{Kind, QUIET, World};

/// How many mounts there are below a directory.
fn mounts_below(dir: &Path) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(dir)).count()
}

async fn is_taken_away(world: &World, mounts: usize) {
    let _busy = QUIET.read().await;
    let dir = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(dir.path()).unwrap();
    let mut other = Other::start(world, &root, Role::Show { repository: "app0".to_owned() });
    other.does(1).await;
    assert_eq!(mounts_below(&root), mounts);
    // While it lives it keeps what it has.
    let manager = world.manager(&root).await;
    assert_eq!(mounts_below(&root), mounts);
    other.kill().await;
    assert_eq!(mounts_below(&root), mounts, "nobody was there to unmount them");
    manager.close().await.unwrap();
    drop(manager);
    let manager = world.manager(&root).await;
    assert_eq!(mounts_below(&root), 0);
    assert_eq!(fs::read_dir(root.join("mounts")).unwrap().count(), 0);
    // What was written is what it was, and goes on from there.
    let usage = manager.usage(&[]).await.unwrap();
    let mutable = usage.entries.iter().find(|entry| entry.record.mutable).unwrap();
    let retained = GetOptions { retention: Retention::Retain, ..GetOptions::default() };
    let mutable = manager.get_mutable(&mutable.record.id, retained).await.unwrap();
    let tree = mutable.tree().await.unwrap();
    assert_eq!(fs::read_to_string(tree.path().join("made")).unwrap(), "made");
    tree.close().await.unwrap();
    let made = mutable.commit().await.unwrap();
    let seen = made.view(&Access::anonymous()).await.unwrap();
    assert_eq!(fs::read_to_string(seen.path().join("made")).unwrap(), "made");
    drop((seen, made));
    manager.close().await.unwrap();
    assert_eq!(mounts_below(&root), 0);
}

/// The mounts of a process that was killed go with the next one, and what it wrote stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlays_of_one_that_was_killed() {
    let Some(world) = World::overlay("a process that has trees open is killed").await else { return };
    is_taken_away(&world, 2).await;
}

/// And copies likewise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_one_that_was_killed() {
    is_taken_away(&World::new(Kind::Plain).await, 0).await;
}
