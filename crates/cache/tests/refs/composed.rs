//! Merges, diffs, and how often something was used.

use std::time::Duration;

use lazyblob_cache::manager::Settings;
use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::record::RecordId;
use lazyblob_cache::{BlobChainId, ChainId, GetOptions, ImmutableRef, Manager};
use lazyblob_remote::Access;
use lazyblob_remote::testing::TestRegistry;
use tokio_util::sync::CancellationToken;

use crate::support::{Made, World, assert_tree_of, kinds, layers, made, source, stack, task, tree};

async fn merge(manager: &Manager, refs: &[ImmutableRef]) -> Option<ImmutableRef> {
    manager.merge(refs, GetOptions::default()).await.unwrap()
}

async fn counts(manager: &Manager) -> (usize, usize) {
    let usage = manager.usage(&[]).await.unwrap();
    let used = usage.entries.iter().filter(|entry| entry.in_use).count();
    (used, usage.entries.len() - used)
}

/// BuildKit row 35: nothing of nothing, of one that one, merges of merges flattened, and the counts of BuildKit's own
/// TestMergeOp.
#[tokio::test]
async fn merges() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let all = made(["a", "b", "c", "d", "e", "f"]);
        let every: Vec<&Made> = all.iter().collect();
        world.seed("app", &every).await;
        let handlers = world.handlers("app", &every);
        assert!(merge(&manager, &[]).await.is_none());
        let mut refs = Vec::new();
        for layer in &all {
            refs.push(stack(&manager, &[layer], &handlers).await);
        }
        let single = merge(&manager, &refs[..1]).await.unwrap();
        assert_eq!(single.id(), refs[0].id());
        drop(single);
        assert_eq!(counts(&manager).await, (6, 0));
        let three = merge(&manager, &refs[..3]).await.unwrap();
        assert_eq!(counts(&manager).await, (7, 0));
        let again = merge(&manager, &refs[..3]).await.unwrap();
        assert_eq!(again.id(), three.id(), "the same merge is the same record");
        let others = merge(&manager, &refs[3..]).await.unwrap();
        let nested = merge(&manager, &[three.clone(), others.clone()]).await.unwrap();
        assert_eq!(nested.record().kind.parents().count(), 6, "flattened");
        assert_eq!(counts(&manager).await, (9, 0));
        drop((refs, three, again, others));
        assert_eq!(counts(&manager).await, (7, 2), "the merges in between are not needed");
        assert!(world.registry.lines().is_empty(), "all of it is lazy");
        nested.extract(&Access::anonymous()).await.unwrap();
        assert_tree_of(&nested, &every);
        drop(nested);
        assert_eq!(counts(&manager).await, (0, 9));
        let pruned = manager.prune(&PruneOptions::default(), &CancellationToken::new()).await.unwrap();
        assert_eq!((pruned.records.len(), pruned.snapshots), (9, 6));
        assert_eq!(counts(&manager).await, (0, 0));
        manager.close().await.unwrap();
    }
}

/// BuildKit rows 5, 7, 35: a merge has the identity of its layers in their order. An image of the same blobs is another
/// ref, and shares no snapshot with it but those that are the same tree: the merge's layers were settled where they came from.
#[tokio::test]
async fn a_merge_is_the_chain_of_its_layers() {
    let world = World::new().await;
    let manager = world.manager().await;
    let all = made(["a", "b", "c", "d"]);
    let [a, b, c, d] = &all;
    let handlers = world.handlers("app", &[a, b, c, d]);
    let (one, other) = (stack(&manager, &[a, b], &handlers).await, stack(&manager, &[c, d], &handlers).await);
    let merged = merge(&manager, &[one.clone(), other.clone()]).await.unwrap();
    let chains = ChainId::of_stack(all.iter().map(|layer| &layer.blob.diff_id));
    assert_eq!(merged.chain().as_ref(), chains.last());
    let blobs = all.iter().skip(1).fold(BlobChainId::base(a.digest(), &a.blob.diff_id), |below, layer| {
        below.with(layer.digest(), &layer.blob.diff_id)
    });
    assert_eq!(merged.blob_chain(), Some(blobs));
    for single in [&one, &other] {
        assert_ne!(merged.blob_chain(), single.blob_chain());
    }
    let digests = |of: &ImmutableRef| -> Vec<_> {
        of.layers().iter().map(|layer| layer.blob().unwrap().descriptor.digest().clone()).collect()
    };
    assert_eq!(digests(&merged), all.each_ref().map(|layer| layer.digest().clone()));
    let flat = stack(&manager, &[a, b, c, d], &handlers).await;
    assert_eq!((flat.chain(), flat.blob_chain()), (merged.chain(), merged.blob_chain()));
    assert_ne!(flat.id(), merged.id());
    let back = merge(&manager, &[other.clone(), one.clone()]).await.unwrap();
    assert_ne!((back.id(), back.chain()), (merged.id(), merged.chain()), "the order counts");
    assert!(world.registry.lines().is_empty());
    drop((one, other, merged, flat, back));
    manager.close().await.unwrap();
}

/// Of several who merge the same at once one writes it, and all of them say where they saw it.
#[tokio::test]
async fn the_same_merge_asked_for_at_once_is_one_record() {
    let world = World::new().await;
    let manager = world.manager().await;
    let all = made(["a", "b"]);
    let [a, b] = &all;
    let handlers = world.handlers("app", &[a, b]);
    let refs = [stack(&manager, &[a], &handlers).await, stack(&manager, &[b], &handlers).await];
    let options = |name: &str| GetOptions {
        image_ref: Some(format!("registry.test/{name}:1")),
        sources: vec![source(name)],
        ..GetOptions::default()
    };
    let merged = tokio::join!(
        manager.merge(&refs, options("one")),
        manager.merge(&refs, options("two")),
        manager.merge(&refs, options("three")),
    );
    let merged = [merged.0, merged.1, merged.2].map(|merged| merged.unwrap().unwrap());
    assert!(merged.iter().all(|each| each.id() == merged[0].id()));
    assert_eq!(counts(&manager).await, (3, 0));
    let written = manager.usage(&[]).await.unwrap().entries;
    let written = &written.iter().find(|entry| entry.record.id == merged[0].id()).unwrap().record;
    for record in [written, &*merged[0].record()] {
        for name in ["one", "two", "three"] {
            assert!(record.sources.contains(&source(name)), "{name}: {record:?}");
            assert!(record.image_refs.contains(&format!("registry.test/{name}:1")), "{name}: {record:?}");
        }
    }
    let diffs = tokio::join!(
        manager.diff(Some(&refs[0]), Some(&refs[1]), GetOptions::default()),
        manager.diff(Some(&refs[0]), Some(&refs[1]), GetOptions::default()),
    );
    let diffs = [diffs.0.unwrap(), diffs.1.unwrap()];
    assert_eq!(diffs[0].id(), diffs[1].id());
    drop((refs, merged, diffs));
    manager.close().await.unwrap();
}

/// What dropped handles have left is written though one who was to write it was not waited for.
#[tokio::test]
async fn a_write_that_is_given_up_loses_nothing_of_what_was_left() {
    let world = World::new().await;
    let settings = Settings { linger: Duration::from_secs(3600), ..Settings::default() };
    let manager = world.manager_with(&world.client, settings).await;
    let [a] = made(["a"]);
    let used = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
    let idle = manager.new_mutable(None, &Access::anonymous(), GetOptions::default()).await.unwrap();
    let (used_id, idle_id) = (used.id(), idle.id());
    drop((used, idle));
    // The database is busy, so that who asks has to wait.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let busy = task({
        let database = manager.database().clone();
        async move {
            let wait = move |_: &mut lazyblob_cache::metadata::Transaction<'_>| {
                gone.recv().unwrap();
                Ok(())
            };
            database.write(wait).await
        }
    });
    let unknown = RecordId::parse("0123456789abcdef0123456789abcdef").unwrap();
    tokio::task::yield_now().await;
    {
        let mut asked = std::pin::pin!(manager.get(&unknown, GetOptions::default()));
        assert!(futures::poll!(asked.as_mut()).is_pending());
    }
    go.send(()).unwrap();
    busy.await.unwrap().unwrap();
    let usage = manager.usage(&[]).await.unwrap();
    let entries: Vec<_> =
        usage.entries.iter().map(|entry| (&entry.record.id, entry.last_use.count)).collect();
    assert_eq!(entries, [(&used_id, 1)], "and not {idle_id}");
    manager.close().await.unwrap();
}

/// The last one is on top, and its whiteouts hide what lies below.
#[tokio::test]
async fn the_tree_of_a_merge() {
    use lazyblob_cache::testing::Tar;
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let packed = super::support::Packed::Gzip;
        let low = Tar::new().dir("d", 0o755).file("d/old", "old").file("d/who", "low").end();
        let low = Made::of("low", low, packed);
        let high = Tar::new().dir("d", 0o700).file("d/who", "high").whiteout("d/", "old").end();
        let high = Made::of("high", high, packed);
        world.seed("app", &[&low, &high]).await;
        let handlers = world.handlers("app", &[&low, &high]);
        let (bottom, top) =
            (stack(&manager, &[&low], &handlers).await, stack(&manager, &[&high], &handlers).await);
        let merged = merge(&manager, &[bottom, top]).await.unwrap();
        let access = Access::anonymous();
        futures::future::try_join_all((0..4).map(|_| merged.extract(&access))).await.unwrap();
        let (dir, made) = tree(&merged);
        assert_eq!(made.names(), ["d", "d/who"], "{wanted:?}");
        assert_eq!(made.get("d").unwrap().mode, 0o700);
        assert_eq!(super::support::text(dir.path().join("tree/d/who")), "high");
        drop(merged);
        manager.close().await.unwrap();
    }
}

/// An image of the same blobs as a merge is unpacked as an image: what a layer leaves to those below is settled with them.
#[tokio::test]
async fn an_image_is_not_taken_for_a_merge_of_its_blobs() {
    use lazyblob_cache::testing::Tar;
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let packed = super::support::Packed::Gzip;
        let low = Made::of("low", Tar::new().dir("d", 0o700).file("d/file", "low").end(), packed);
        let high = Made::of("high", Tar::new().file("d/other", "x").link("d/link", "d/file").end(), packed);
        world.seed("app", &[&low, &high]).await;
        let handlers = world.handlers("app", &[&low, &high]);
        let (bottom, alone) =
            (stack(&manager, &[&low], &handlers).await, stack(&manager, &[&high], &handlers).await);
        let merged = merge(&manager, &[bottom, alone]).await.unwrap();
        let error = merged.extract(&Access::anonymous()).await.unwrap_err();
        assert!(error.to_string().contains("d/link"), "by itself it links to nothing: {error}");
        let image = stack(&manager, &[&low, &high], &handlers).await;
        image.extract(&Access::anonymous()).await.unwrap();
        let (_dir, made) = tree(&image);
        assert_eq!(made.names(), ["d", "d/file", "d/link", "d/other"], "{wanted:?}");
        assert_eq!(made.get("d").unwrap().mode, 0o700, "{wanted:?}");
        drop((merged, image));
        manager.close().await.unwrap();
    }
}

/// Refs on top of merges and refs below them, made at once by two who share nothing but the root: each waits only for what
/// it stands on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_and_chains_do_not_wait_for_each_other() {
    for _ in 0..8 {
        let world = World::new().await;
        let all = made(["a", "b", "c", "top"]);
        let [a, b, c, top] = &all;
        world.seed("app", &[a, b, c, top]).await;
        let handlers = world.handlers("app", &[a, b, c, top]);
        let (one, other) = (world.process().await, world.process().await);
        let (ab, ac) = (stack(&one, &[a, b], &handlers).await, stack(&one, &[a, c], &handlers).await);
        let merged = merge(&one, &[ab, ac]).await.unwrap();
        let options = GetOptions { handlers: handlers.clone(), ..GetOptions::default() };
        let on_merge = one.get_by_blob(top.blob.clone(), Some(&merged), options).await.unwrap();
        let chains = [stack(&other, &[a, c], &handlers).await, stack(&other, &[a, b], &handlers).await];
        let access = Access::anonymous();
        let both = async {
            futures::try_join!(
                on_merge.extract(&access),
                chains[0].extract(&access),
                chains[1].extract(&access)
            )
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), both).await;
        ended.expect("nobody waits for ever").unwrap();
        drop((merged, on_merge, chains));
        one.close().await.unwrap();
        other.close().await.unwrap();
    }
}

/// BuildKit row 36: what makes a ref of another that it stands on is the layers in between; their blobs stay what they
/// are, and stay lazy.
#[tokio::test]
async fn diffs() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let all = made(["a", "b", "c"]);
        let [a, b, c] = &all;
        world.seed("app", &[a, b, c]).await;
        let handlers = world.handlers("app", &[a, b, c]);
        let bottom = stack(&manager, &[a], &handlers).await;
        let middle = stack(&manager, &[a, b], &handlers).await;
        let top = stack(&manager, &[a, b, c], &handlers).await;
        let diff = async |lower: Option<&ImmutableRef>, upper: Option<&ImmutableRef>| {
            manager.diff(lower, upper, GetOptions::default()).await.unwrap()
        };
        let digests = |of: &ImmutableRef| -> Vec<_> {
            of.layers().iter().map(|layer| layer.blob().unwrap().descriptor.digest().clone()).collect()
        };
        let single = diff(Some(&bottom), Some(&middle)).await;
        assert_eq!(digests(&single), [b.digest().clone()]);
        assert_eq!(single.chain(), Some(ChainId::base(&b.blob.diff_id)), "as if it were a bottom layer");
        assert_ne!(single.blob_chain(), middle.blob_chain());
        let several = diff(Some(&bottom), Some(&top)).await;
        assert_eq!(digests(&several), [b.digest().clone(), c.digest().clone()]);
        assert_eq!(counts(&manager).await, (6, 0), "three layers, two diffs of one each, and their merge");
        let whole = diff(None, Some(&top)).await;
        assert_eq!(digests(&whole), digests(&top));
        let again = diff(Some(&bottom), Some(&middle)).await;
        assert_eq!(again.id(), single.id());
        drop((bottom, middle, top));
        assert!(world.registry.lines().is_empty());
        let access = Access::anonymous();
        single.extract(&access).await.unwrap();
        assert_tree_of(&single, &[b]);
        several.extract(&access).await.unwrap();
        assert_tree_of(&several, &[b, c]);
        whole.extract(&access).await.unwrap();
        assert_tree_of(&whole, &[a, b, c]);
        for layer in &all {
            assert_eq!(world.gets(layer.digest()), 1);
        }
        drop((single, several, whole, again));
        manager.close().await.unwrap();
    }
}

/// BuildKit row 36: what makes a ref of itself is nothing, and nothing is a tree too.
#[tokio::test]
async fn a_diff_of_nothing() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a] = made(["a"]);
    let one = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
    let same = manager.diff(Some(&one), Some(&one), GetOptions::default()).await.unwrap();
    let none = manager.diff(None, None, GetOptions::default()).await.unwrap();
    for empty in [&same, &none] {
        empty.extract(&Access::anonymous()).await.unwrap();
        assert_eq!(tree(empty).1.names(), Vec::<&str>::new());
        assert!(!empty.is_lazy().await.unwrap());
    }
    assert!(world.registry.lines().is_empty(), "nothing is fetched for it");
    drop((one, same, none));
    manager.close().await.unwrap();
}

/// BuildKit row 30: the last handle that counts makes a use; clones and those that say so do not count.
#[tokio::test]
async fn uses_are_counted_with_the_last_handle() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a] = made(["a"]);
    let first = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
    let id = first.id();
    let last_use = async || {
        let usage = manager.usage(&[]).await.unwrap();
        usage.entries.iter().find(|entry| entry.record.id == id).unwrap().last_use
    };
    let new = last_use().await;
    assert_eq!(new.count, 0);
    let second = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
    let clone = first.clone();
    drop(first);
    assert_eq!(last_use().await, new, "one that counts is left");
    drop(second);
    let used = last_use().await;
    assert_eq!(used.count, 1);
    assert!(used.at >= new.at);
    drop(clone);
    assert_eq!(last_use().await, used, "a clone is no use");
    let handlers = world.handlers("app", &[&a]);
    let unused = GetOptions { handlers: handlers.clone(), unused: true, ..GetOptions::default() };
    drop(manager.get(&id, unused).await.unwrap());
    assert_eq!(last_use().await, used);
    drop(manager.get(&id, GetOptions { handlers, ..GetOptions::default() }).await.unwrap());
    assert_eq!(last_use().await.count, 2);
    // What is dropped and not asked for is written by close.
    drop(stack(&manager, &[&a], &world.handlers("app", &[&a])).await);
    manager.close().await.unwrap();
    drop(manager);
    let manager = world.process().await;
    let usage = manager.usage(&[]).await.unwrap();
    assert_eq!(usage.entries[0].last_use.count, 3);
    manager.close().await.unwrap();
}
