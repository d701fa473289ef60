//! Two processes at once, and more.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lazyblob_cache::prune::{PruneOptions, Pruned};
use lazyblob_cache::{GetOptions, Manager};
use lazyblob_remote::request::Kind as Request;
use lazyblob_remote::{Access, Reference};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::other::{Other, Role};
use crate::support::{IMAGES, Kind, LARGE, LARGE_SIZE, QUIET, SAVED, World, assembled, keys, soaks, tree};

/// Nobody waits longer, for whomever.
const SOON: Duration = Duration::from_secs(1);

fn extracting(repository: &str, to: Option<PathBuf>) -> Role {
    Role::Extract { repository: repository.to_owned(), blobs: false, to }
}

async fn prune(manager: &Manager) -> Pruned {
    let all = PruneOptions { all: true, ..PruneOptions::default() };
    manager.prune(&all, &CancellationToken::new()).await.unwrap()
}

async fn remove(manager: &Manager, world: &World, repository: &str) {
    let name: Reference = format!("{}/{repository}:1", world.registry.host()).parse().unwrap();
    manager.remove_name(&name).await.unwrap();
}

/// Waits for something that happens soon.
async fn until(what: &str, mut happens: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !happens().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The maker of a blob, or of its tree, is killed: who waits for it goes on where it was, and soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_one_that_is_killed_goes_on_with_a_range() {
    let _quiet = QUIET.write().await;
    let world = World::new(Kind::Plain).await;
    for blobs in [true, false] {
        world.registry.reset();
        let dir = tempfile::tempdir().unwrap();
        let role = Role::Extract { repository: LARGE.to_owned(), blobs, to: None };
        let mut other = Other::start(&world, dir.path(), role);
        other.does(1).await;
        let manager = world.manager(dir.path()).await;
        let top = world.pull(&manager, LARGE).await.image.top.unwrap();
        let ingests = manager.store().ingests().clone();
        until("a third of the blob", async || {
            let partials = ingests.list().await.unwrap();
            partials.first().is_some_and(|partial| partial.offset > LARGE_SIZE as u64 / 3)
        })
        .await;
        let access = Access::anonymous();
        let work =
            async { if blobs { top.unlazy(&access).await.map(drop) } else { top.extract(&access).await } };
        let killing = async {
            // Long enough for the work to have come to where it waits.
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(
                world.registry.requests(Request::BlobGet),
                2,
                "one config, one layer, and nobody else asks"
            );
            other.kill().await;
            let killed = Instant::now();
            until("another request", async || world.registry.requests(Request::BlobGet) == 3).await;
            killed.elapsed()
        };
        let (worked, waited) = tokio::join!(work, killing);
        worked.unwrap();
        assert!(waited < SOON, "{waited:?}");
        let ranges = world.registry.log().into_iter().filter_map(|entry| entry.range);
        let ranges: Vec<String> = ranges.collect();
        assert_eq!(ranges.len(), 1, "{ranges:?}");
        // What was on its way is lost, and what was not saved: sockets hold some of it.
        let once = world.registry.traffic().bytes_out();
        let most = LARGE_SIZE as u64 + 2 * SAVED + (512 << 10);
        println!("blobs: {blobs}: waited {waited:?}, {once} bytes served of {LARGE_SIZE}, {ranges:?}");
        assert!(once < most, "{once} bytes for {LARGE_SIZE}: {ranges:?}");
        if !blobs {
            let stack = keys(&top);
            let whole = &world.trees[&stack[0].as_chain().unwrap()];
            assembled(&manager, &stack).assert_equals(whole);
        }
        drop(top);
        manager.close().await.unwrap();
    }
}

/// Somebody writes to the database all the time: whoever else wants something has it within a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_for_seconds_delays_nobody() {
    let _quiet = QUIET.write().await;
    let time = Duration::from_secs(if soaks() { 60 } else { 3 });
    let world = World::new(Kind::Plain).await;
    let dir = tempfile::tempdir().unwrap();
    let manager = world.manager(dir.path()).await;
    let mut other = Other::start(&world, dir.path(), Role::Busy);
    other.does(1).await;
    let (begun, mut took) = (Instant::now(), [const { Vec::new() }; 3]);
    let mut number = 0;
    while begun.elapsed() < time {
        let asked = Instant::now();
        manager.names().await.unwrap();
        let named = Instant::now();
        manager.usage(&[]).await.unwrap();
        let used = Instant::now();
        world.pull(&manager, &format!("app{}", number % IMAGES)).await;
        for (all, took) in took.iter_mut().zip([named - asked, used - named, used.elapsed()]) {
            all.push(took);
        }
        number += 1;
    }
    took.iter_mut().for_each(|all| all.sort_unstable());
    let slowest = took.each_ref().map(|all| all[all.len() - 1]);
    println!("{number} times; the slowest names, usage and pull: {slowest:?}");
    // A machine that is busy with other things may have no time for us once.
    let most = took.map(|all| all[all.len().saturating_sub(2)]);
    assert!(most.iter().all(|took| *took <= SOON), "{most:?}");
    other.kill().await;
    manager.close().await.unwrap();
}

/// What a process has a handle on is pruned by none; when it is dead it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_pins_until_its_process_dies() {
    let _busy = QUIET.read().await;
    let world = World::new(Kind::Plain).await;
    let dir = tempfile::tempdir().unwrap();
    let mut other = Other::start(&world, dir.path(), extracting("app0", None));
    other.does(2).await;
    let manager = world.manager(dir.path()).await;
    remove(&manager, &world, "app0").await;
    let pruned = prune(&manager).await;
    assert_eq!((pruned.records.len(), pruned.snapshots, pruned.blobs), (0, 0, 0), "it is in use");
    let chains = world.chains(&world.digests()[0]);
    let stack: Vec<_> = chains.iter().map(lazyblob_cache::snapshot::SnapshotKey::chain).collect();
    assembled(&manager, &stack).assert_equals(&world.tree(&world.digests()[0]));
    other.kill().await;
    let pruned = prune(&manager).await;
    assert_eq!((pruned.records.len(), pruned.snapshots, pruned.blobs), (3, 3, 5));
    assert_eq!(manager.store().list().unwrap(), []);
    assert!(manager.snapshots().list().unwrap().is_empty());
    manager.close().await.unwrap();
}

/// However many want it, it comes once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_extract_one_image_and_fetch_it_once() {
    let _busy = QUIET.read().await;
    let world = World::new(Kind::Plain).await;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let trees: Vec<PathBuf> =
        (0..if soaks() { 20 } else { 8 }).map(|number| dir.path().join(number.to_string())).collect();
    let others: Vec<Other> = trees
        .iter()
        .map(|to| {
            std::fs::create_dir(to).unwrap();
            Other::start(&world, &root, extracting("app1", Some(to.clone())))
        })
        .collect();
    for other in others {
        let status = other.ends().await;
        assert!(status.success(), "{status}");
    }
    let digest = &world.digests()[1];
    let expected = world.tree(digest);
    let same = |to: &Path| tree(to).assert_equals(&expected);
    trees.iter().for_each(|to| same(to));
    let once: u64 = world.image(digest).blobs.iter().map(|(blob, _)| blob.size()).sum();
    assert_eq!(world.registry.traffic().bytes_out(), once, "{:#?}", world.registry.lines());
    assert_eq!(world.registry.requests(Request::BlobGet), 4, "a config and three layers");
}

/// What a process prepares is not taken for what a dead one has left, whoever opens the root or prunes it meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sweeps_what_is_being_prepared() {
    let _busy = QUIET.read().await;
    let world = World::new(Kind::Plain).await;
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (world.manager(dir.path()).await, world.manager(dir.path()).await);
    let top = world.pull(&ours, "app2").await.image.top.unwrap();
    top.extract(&Access::anonymous()).await.unwrap();
    let stop = CancellationToken::new();
    let sweeping = async {
        let mut sweeps = 0;
        while !stop.is_cancelled() {
            let (locks, trash) = (theirs.root().staging_locks().clone(), theirs.root().trash().clone());
            tokio::task::spawn_blocking(move || locks.sweep(&trash)).await.unwrap().unwrap();
            sweeps += 1;
        }
        sweeps
    };
    let preparing = async {
        for _ in 0..4 {
            let options = GetOptions::default();
            let mutable = ours.new_mutable(Some(&top), &Access::anonymous(), options).await.unwrap();
            let directory = mutable.directory().await.unwrap();
            tree(&directory).assert_equals(&world.tree(&world.digests()[2]));
            std::fs::write(directory.join("made"), "it").unwrap();
            mutable.commit().await.unwrap().finalize().await.unwrap();
        }
        stop.cancel();
    };
    let (sweeps, ()) = tokio::join!(sweeping, preparing);
    assert!(sweeps > 4, "{sweeps}");
    drop(top);
    ours.close().await.unwrap();
    theirs.close().await.unwrap();
}

/// What is committed while another process prunes has its tree, whatever that one had looked at before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_prunes_the_tree_of_what_is_being_committed() {
    let _busy = QUIET.read().await;
    let world = World::new(Kind::Plain).await;
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (world.manager(dir.path()).await, world.manager(dir.path()).await);
    let prunes = watch::Sender::new(0_u32);
    let pruning = async {
        for _ in 0..if soaks() { 200 } else { 20 } {
            prune(&theirs).await;
            prunes.send_modify(|prunes| *prunes += 1);
        }
    };
    // Several, so that the database is theirs for longer than it takes to make and commit something.
    let committing = (0..4).map(|_| async {
        let mut pruned = prunes.subscribe();
        let access = Access::anonymous();
        loop {
            let mutable = ours.new_mutable(None, &access, GetOptions::default()).await.unwrap();
            std::fs::write(mutable.directory().await.unwrap().join("made"), "it").unwrap();
            let made = mutable.commit().await.unwrap();
            // Whoever had looked before has pruned by then.
            pruned.mark_unchanged();
            pruned.changed().await.unwrap();
            made.finalize().await.unwrap();
            assert!(assembled(&ours, &keys(&made)).get("made").is_some());
        }
    });
    tokio::select! {
        () = pruning => {}
        _ = futures::future::join_all(committing) => {}
    }
    ours.close().await.unwrap();
    theirs.close().await.unwrap();
}
