//! What a ref says of itself, and what it takes.

use lazyblob_cache::layer::Algorithm;
use lazyblob_cache::layer::{Compression, Family, LayerType};
use lazyblob_cache::prune::{Filter, PruneOptions};
use lazyblob_cache::record::Source;
use lazyblob_cache::refs::BlobOptions;
use lazyblob_cache::{GetOptions, ImmutableRef, Manager};
use lazyblob_remote::{Access, Provider as _};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Made, Packed, World, assert_tree_of, at, keys, made, read_lazily, remove_behind_our_back, snapshots,
    stack, stored,
};

async fn prune_all(manager: &Manager) -> lazyblob_cache::prune::Pruned {
    let options = PruneOptions { all: true, ..PruneOptions::default() };
    manager.prune(&options, &CancellationToken::new()).await.unwrap()
}

/// BuildKit rows 12, 16, 20: size, digest and where it was seen are told of a lazy blob without a request; it is lazy until
/// its blob is here, and again when somebody has removed it.
#[tokio::test]
async fn a_lazy_ref_says_what_it_is_without_a_request() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, b] = made(["a", "b"]);
    world.seed("app", &[&a, &b]).await;
    let layers = vec![a.seen(Some("mirror/app")), b.seen(None)];
    let options = GetOptions { handlers: world.handlers("app", &[&a, &b]), ..GetOptions::default() };
    let top = manager.import(layers, None, options).await.unwrap();
    let access = Access::anonymous();
    let remote = top.remote(&access).unwrap();
    let described: Vec<_> = remote.descriptors.iter().map(|one| (one.digest().clone(), one.size())).collect();
    let made = [&a, &b].map(|layer| (layer.digest().clone(), layer.bytes.len() as u64));
    assert_eq!(described, made);
    for layer in [&a, &b] {
        let info = remote.provider.info(&layer.blob.descriptor).await.unwrap();
        assert_eq!(info.size, Some(layer.bytes.len() as u64));
    }
    assert_eq!(remote.provider.seen_at(&a.blob.descriptor), [at("app"), at("mirror/app")]);
    assert_eq!(remote.provider.seen_at(&b.blob.descriptor), [at("app")]);
    assert!(top.is_lazy().await.unwrap());
    assert_eq!(world.registry.lines(), Vec::<String>::new());

    read_lazily(&top, &a, &access).await.unwrap();
    assert!(top.is_lazy().await.unwrap(), "one is still elsewhere");
    assert_eq!(remote.provider.unlazy().await.unwrap(), 1, "the other one");
    assert!(!top.is_lazy().await.unwrap());
    assert_eq!(world.registry.lines().len(), 2);
    drop((remote, top));
    manager.close().await.unwrap();
    drop(manager);
    remove_behind_our_back(world.root(), b.digest());
    let manager = world.process().await;
    let top = stack(&manager, &[&a, &b], &world.handlers("app", &[&a, &b])).await;
    assert!(top.is_lazy().await.unwrap(), "it is lazy again");
    drop(top);
    manager.close().await.unwrap();
}

/// Row 75: the places a blob was seen in are kept, each once, in the order they were seen in; a port is part of a place.
#[tokio::test]
async fn places_are_kept_once_with_their_ports() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a] = made(["a"]);
    let at = |host: &str| Source { host: host.to_owned(), repository: "team/app".to_owned() };
    let (plain, one, other) = (at("registry.test"), at("registry.test:5000"), at("registry.test:5001"));
    let options = |sources: &[&Source]| GetOptions {
        handlers: world.handlers("app", &[&a]),
        sources: sources.iter().map(|source| (*source).clone()).collect(),
        ..GetOptions::default()
    };
    let seen = options(&[&one, &plain, &one]);
    let first = manager.get_by_blob(a.blob.clone(), None, seen).await.unwrap();
    let seen = options(&[&plain, &other, &one]);
    let again = manager.get_by_blob(a.blob.clone(), None, seen).await.unwrap();
    assert_eq!(again.record().sources, [one.clone(), plain.clone(), other.clone()]);
    let id = first.id();
    drop((first, again));
    manager.close().await.unwrap();
    drop(manager);
    let manager = world.process().await;
    assert_eq!(manager.record(&id).await.unwrap().unwrap().sources, [one, plain, other]);
    manager.close().await.unwrap();
}

/// The bytes of a ref's own blob and snapshot that are here, those it shares, and those of its blob that are not.
async fn figures(manager: &Manager, of: &ImmutableRef) -> (u64, u64, u64) {
    let usage = manager.usage(&[Filter::Id(of.id())]).await.unwrap();
    let [entry] = &usage.entries[..] else { panic!("{usage:?}") };
    (entry.size, entry.shared_size, entry.lazy_size)
}

/// BuildKit row 38: a size is what is here, at the moment of asking; it is the same in the next process.
#[tokio::test]
async fn sizes_follow_what_comes_and_goes() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, b] = made(["a", "b"]);
    world.seed("app", &[&a, &b]).await;
    let handlers = world.handlers("app", &[&a, &b]);
    let top = stack(&manager, &[&a, &b], &handlers).await;
    let blob = b.bytes.len() as u64;
    assert_eq!(figures(&manager, &top).await, (0, 0, blob));
    top.unlazy(&Access::anonymous()).await.unwrap();
    assert_eq!(figures(&manager, &top).await, (blob, 0, 0));
    top.extract(&Access::anonymous()).await.unwrap();
    let (size, shared, lazy) = figures(&manager, &top).await;
    assert!(size >= blob + 60_000 && (shared, lazy) == (0, 0), "{size}");
    let totals = manager.usage(&[]).await.unwrap().totals;
    assert_eq!((totals.blobs, totals.lazy, totals.reclaimable), (a.bytes.len() as u64 + blob, 0, 0));
    // Another process sees the same, and what was removed since.
    remove_behind_our_back(world.root(), b.digest());
    let other = world.process().await;
    let there = other.get(&top.id(), GetOptions::default()).await.unwrap();
    assert_eq!(figures(&other, &there).await, (size - blob, 0, blob));
    drop((top, there));
    let totals = manager.usage(&[]).await.unwrap().totals;
    assert!(totals.reclaimable >= 120_000, "{totals:?}");
    other.close().await.unwrap();
    manager.close().await.unwrap();
}

/// BuildKit row 39: what is in use, by itself or by what stands on it, in this process and in another; what belongs to
/// several records; what was used last comes first; and the filters.
#[tokio::test]
async fn usage_tells_what_is_in_use_and_what_is_shared() {
    let world = World::new().await;
    let manager = world.manager().await;
    let (gzip, plain) = (Made::new("a", Packed::Gzip), Made::new("a", Packed::Plain));
    let [b] = made(["b"]);
    world.seed("app", &[&gzip, &plain, &b]).await;
    let handlers = world.handlers("app", &[&gzip, &plain, &b]);
    let one = stack(&manager, &[&gzip, &b], &handlers).await;
    let other = stack(&manager, &[&plain], &handlers).await;
    let bottom = stack(&manager, &[&gzip], &handlers).await;
    one.extract(&Access::anonymous()).await.unwrap();
    let (bottom_id, top_id, other_id) = (bottom.id(), one.id(), other.id());
    let (_, shared, lazy) = figures(&manager, &other).await;
    assert!(shared >= 60_000, "its tree is the other one's, too: {shared}");
    assert_eq!(lazy, plain.bytes.len() as u64);
    drop((bottom, other));
    let ids = async |filters: &[&str]| {
        let filters: Vec<Filter> = filters.iter().map(|filter| filter.parse().unwrap()).collect();
        let usage = manager.usage(&filters).await.unwrap();
        usage.entries.into_iter().map(|entry| entry.record.id).collect::<Vec<_>>()
    };
    let mut in_use = ids(&["inuse=true"]).await;
    in_use.sort();
    let mut expected = vec![bottom_id.clone(), top_id.clone()];
    expected.sort();
    assert_eq!(in_use, expected, "the bottom one by what stands on it");
    assert_eq!(ids(&["inuse=false"]).await, [other_id.clone()]);
    assert_eq!(ids(&["lazy=true"]).await, [other_id.clone()]);
    assert_eq!(ids(&[&format!("parent={bottom_id}")]).await, [top_id.clone()]);
    assert_eq!(ids(&["inuse=true", "lazy=true"]).await, []);
    assert_eq!(ids(&["shared=true"]).await, [], "nothing has a name");
    assert_eq!(ids(&["type=regular"]).await.len(), 3);
    let process = world.process().await;
    let theirs = process.get(&other_id, GetOptions { handlers, ..GetOptions::default() }).await.unwrap();
    assert_eq!(ids(&["inuse=true"]).await.len(), 3, "another process holds the third");
    drop((theirs, one));
    process.close().await.unwrap();
    assert_eq!(ids(&["inuse=true"]).await, []);
    manager.close().await.unwrap();
}

/// BuildKit row 24: a layer compressed otherwise is a record of its own: it goes without the other, and leaves the tree
/// that both have.
#[tokio::test]
async fn another_compression_goes_by_itself() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, b] = made(["a", "b"]);
    world.seed("app", &[&a, &b]).await;
    let top = stack(&manager, &[&a, &b], &world.handlers("app", &[&a, &b])).await;
    top.extract(&Access::anonymous()).await.unwrap();
    let options = BlobOptions {
        layer: LayerType::new(Family::Oci, Algorithm::Zstd),
        compression: Compression::ZSTD,
        threads: 1,
    };
    let converted = top.converted(&options, &Access::anonymous()).await.unwrap();
    assert_eq!(stored(world.root()).len(), 4);
    assert_eq!(keys(&converted), keys(&top));
    drop(converted);
    let pruned = prune_all(&manager).await;
    assert_eq!((pruned.records.len(), pruned.blobs, pruned.snapshots), (2, 2, 0));
    assert_eq!((stored(world.root()).len(), snapshots(&manager).len()), (2, 2));
    // The other way about: the first ones go, the converted ones stay.
    let converted = top.converted(&options, &Access::anonymous()).await.unwrap();
    drop(top);
    let pruned = prune_all(&manager).await;
    assert_eq!((pruned.records.len(), pruned.blobs, pruned.snapshots), (2, 2, 0));
    converted.extract(&Access::anonymous()).await.unwrap();
    assert_tree_of(&converted, &[&a, &b]);
    assert_eq!(world.registry.lines().len(), 2, "each was fetched once");
    drop(converted);
    prune_all(&manager).await;
    assert!(stored(world.root()).is_empty() && snapshots(&manager).is_empty());
    manager.close().await.unwrap();
}

/// BuildKit row 11: two records ask for one blob, which comes once. Each of them holds it: when the one that began goes and
/// all is pruned, from another process, the other one has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_joins_holds_what_comes() {
    let world = World::new().await;
    let (manager, other) = (world.manager().await, world.process().await);
    let [a, b] = made(["a", "b"]);
    world.seed("app", &[&a, &b]).await;
    let handlers = world.handlers("app", &[&a, &b]);
    let first = stack(&manager, &[&a], &handlers).await;
    let second = stack(&manager, &[&b, &a], &handlers).await;
    assert_ne!(first.id(), second.id());
    let access = Access::anonymous();
    let (one, two) = tokio::join!(first.unlazy(&access), second.unlazy(&access));
    one.unwrap();
    two.unwrap();
    assert_eq!((world.gets(a.digest()), world.gets(b.digest())), (1, 1));
    drop(first);
    assert_eq!(prune_all(&other).await.records.len(), 1);
    assert_eq!(stored(world.root()).len(), 2);
    assert!(!second.is_lazy().await.unwrap());
    second.extract(&access).await.unwrap();
    assert_eq!((world.gets(a.digest()), world.gets(b.digest())), (1, 1));
    drop(second);
    prune_all(&other).await;
    assert!(stored(world.root()).is_empty());
    other.close().await.unwrap();
    manager.close().await.unwrap();
}
