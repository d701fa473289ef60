//! What a prune says of itself, before and afterwards, and what it leaves alone for want of knowing.

use std::fs;

use lazyblob_cache::metadata::Space as Rows;
use lazyblob_cache::prune::{PruneOptions, Pruned, Space};
use lazyblob_cache::record::Retention;
use lazyblob_cache::verify::{Object, Problem, VerifyOptions};
use lazyblob_cache::{GetOptions, Manager};
use lazyblob_remote::testing::TestRegistry;
use lazyblob_remote::{Access, Reference, digest};
use oci_spec::image::Descriptor;
use tokio_util::sync::CancellationToken;

use crate::support::{World, kinds, layers, made, names, snapshots, stack, stored};

async fn prune(manager: &Manager, options: &PruneOptions) -> Pruned {
    manager.prune(options, &CancellationToken::new()).await.unwrap()
}

fn all() -> PruneOptions {
    PruneOptions { all: true, ..PruneOptions::default() }
}

/// All that it says, but for the records themselves.
fn told(pruned: &Pruned) -> (usize, usize, u64, u64, u64, u64) {
    let Pruned { records, lightened, blobs, snapshots, partials, bytes, .. } = pruned;
    (records.len(), lightened.len(), *blobs, *snapshots, *partials, *bytes)
}

/// A dry run says what the next run does: records, what becomes lazy, blobs and trees of nobody, bytes. What was in the
/// trash before is told apart.
#[tokio::test]
async fn a_dry_run_tells_what_would_go() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let image = world.pull(&manager).await.image;
        image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
        let [a, b] = made(["a", "b"]);
        for layer in [&a, &b] {
            manager.store().put(&layer.blob.descriptor, layer.bytes.clone()).await.unwrap();
        }
        let other = stack(&manager, &[&a, &b], &world.handlers("app", &[])).await;
        other.extract(&Access::anonymous()).await.unwrap();
        let orphan = vec![1; 5000];
        let nobodys = Descriptor::new("x".into(), 5000, digest::sha256(&orphan));
        manager.store().put(&nobodys, orphan.into()).await.unwrap();
        let dead = world.root().join("staging/dead.0123456789abcdef");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("file"), vec![1; 70_000]).unwrap();
        let before = world.root().join("trash/before");
        fs::write(&before, vec![1; 300_000]).unwrap();
        let sees = || (snapshots(&manager).len(), stored(world.root()).len());
        let all_there = sees();

        for (options, expected) in [(PruneOptions::default(), (0, 0, 1, 1, 0)), (all(), (0, 0, 0, 0, 0))] {
            let dry = PruneOptions { dry_run: true, ..options.clone() };
            let would = prune(&manager, &dry).await;
            let (records, lazy, blobs, trees, partials, bytes) = told(&would);
            assert_eq!((records, lazy, blobs, trees, partials), expected, "{options:?}");
            let is_first = !options.all;
            if is_first {
                assert_eq!(sees(), all_there);
                assert!(dead.exists() && before.exists(), "nothing was removed");
                assert!((75_000..100_000).contains(&bytes), "{bytes}");
            }
            assert_eq!(would.trash >= 300_000, is_first);
            let done = prune(&manager, &options).await;
            assert_eq!(told(&done), told(&would), "{options:?}");
            assert_eq!(done.trash, would.trash);
        }
        drop(other);
        let would = prune(&manager, &PruneOptions { dry_run: true, ..all() }).await;
        let (records, lazy, blobs, trees, partials, bytes) = told(&would);
        assert_eq!((records, lazy, blobs, trees, partials), (2, 0, 2, 2, 0));
        assert!(bytes >= (a.bytes.len() + b.bytes.len()) as u64, "{bytes}");
        assert_eq!(told(&prune(&manager, &all()).await), told(&would));
        drop(image);
        let would = prune(&manager, &PruneOptions { dry_run: true, ..all() }).await;
        assert_eq!(told(&would).1, 3, "they would become lazy");
        assert_eq!(told(&prune(&manager, &all()).await), told(&would));
        let app: Reference = "registry.test/app:1".parse().unwrap();
        manager.remove_name(&app).await.unwrap();
        let would = prune(&manager, &PruneOptions { dry_run: true, ..all() }).await;
        assert_eq!((would.records.len(), would.blobs), (3, 2), "manifest and config go with the name");
        assert_eq!(told(&prune(&manager, &all()).await), told(&would));
        manager.close().await.unwrap();
    }
}

/// What may be changed has a size, counts for a limit, and is told as what it is; so is what waits to be deleted.
#[tokio::test]
async fn trees_that_may_be_changed_have_a_size() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let options = GetOptions { retention: Retention::Retain, ..GetOptions::default() };
        let active = manager.new_mutable(None, &Access::anonymous(), options).await.unwrap();
        fs::write(active.directory().await.unwrap().join("cache"), vec![1; 1_000_000]).unwrap();
        fs::write(world.root().join("trash/waits"), vec![1; 50_000]).unwrap();
        let usage = manager.usage(&[]).await.unwrap();
        let [entry] = usage.entries.as_slice() else { panic!("{:?}", usage.entries) };
        assert!((1_000_000..1_100_000).contains(&entry.size), "{}", entry.size);
        assert_eq!(usage.totals.mutable, entry.size);
        assert_eq!((usage.totals.snapshots, usage.totals.reclaimable), (0, 0));
        assert!((50_000..60_000).contains(&usage.totals.trash), "{:?}", usage.totals);
        drop(active);
        let usage = manager.usage(&[]).await.unwrap();
        assert_eq!(usage.totals.reclaimable, usage.totals.mutable);
        let keep = |bytes| PruneOptions {
            space: Space { max_used: Some(bytes), ..Space::default() },
            ..PruneOptions::default()
        };
        assert_eq!(prune(&manager, &keep(2_000_000)).await.records.len(), 0, "it fits");
        let would = prune(&manager, &PruneOptions { dry_run: true, ..keep(500_000) }).await;
        assert!(told(&would).5 >= 1_000_000, "{would:?}");
        let done = prune(&manager, &keep(500_000)).await;
        assert_eq!((told(&done), done.records.len()), (told(&would), 1));
        assert_eq!(manager.usage(&[]).await.unwrap().totals.mutable, 0);
        manager.close().await.unwrap();
    }
}

/// One row that cannot be read stops nobody: what it may refer to is kept, and `verify` names it.
#[tokio::test]
async fn a_record_that_cannot_be_read_is_left_alone() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, b, c] = made(["a", "b", "c"]);
    for layer in [&a, &b, &c] {
        manager.store().put(&layer.blob.descriptor, layer.bytes.clone()).await.unwrap();
    }
    let handlers = world.handlers("app", &[]);
    let top = stack(&manager, &[&a, &b], &handlers).await;
    let other = stack(&manager, &[&c], &handlers).await;
    top.extract(&Access::anonymous()).await.unwrap();
    let id = top.id();
    drop((top, other));
    // What the handles have left is written.
    assert_eq!(manager.usage(&[]).await.unwrap().entries.len(), 3);
    let key = id.to_string();
    let broken = manager.database().write(move |rows| {
        rows.put(&Rows::recoverable("record"), key.as_bytes(), b"{ not a record".to_vec())
    });
    broken.await.unwrap();
    let usage = manager.usage(&[]).await.unwrap();
    assert_eq!(usage.entries.len(), 2, "the others are told");
    let would = prune(&manager, &PruneOptions { dry_run: true, ..all() }).await;
    let pruned = prune(&manager, &all()).await;
    assert_eq!((pruned.records.len(), pruned.blobs, pruned.snapshots), (1, 1, 0), "the other goes");
    assert_eq!((would.blobs, would.snapshots), (1, 0));
    let kept = stored(world.root()).len();
    assert_eq!((kept, snapshots(&manager).len()), (2, 2), "what it stands on and refers to stays");

    let verify = |repair| {
        let manager = manager.clone();
        async move { manager.verify(VerifyOptions { repair }, &Access::anonymous()).await.unwrap().problems }
    };
    let problems = verify(false).await;
    let [problem] = problems.as_slice() else { panic!("{problems:#?}") };
    assert_eq!(problem.object, Object::Record(id.to_string()));
    let problems = verify(true).await;
    assert!(problems.iter().all(Problem::is_repaired), "{problems:#?}");
    assert_eq!(verify(false).await, []);
    let pruned = prune(&manager, &all()).await;
    assert_eq!((pruned.records.len(), pruned.blobs, pruned.snapshots), (1, 2, 2));
    assert!(names(&world.root().join("trash")).is_empty());
    manager.close().await.unwrap();
}
