//! Refs by their blobs: what is shared, what is missing, and who says so.

use lazyblob_cache::manager::NewLayer;
use lazyblob_cache::record::{LayerBlob, RecordType};
use lazyblob_cache::snapshot::SnapshotKey;
use lazyblob_cache::testing::images::Packed;
use lazyblob_cache::{BlobChainId, ChainId, DescHandlers, Error, GetOptions, ImmutableRef, Manager};
use lazyblob_remote::{Access, Digest, digest};

use crate::support::{Made, World, at, made, source, stack};

fn missing(error: &Error) -> Vec<(Digest, Vec<String>)> {
    let Error::NeedsRemoteProviders { missing } = error.root() else { panic!("{error}") };
    let mut named: Vec<_> = missing
        .iter()
        .map(|missing| {
            let hints = missing.hints.iter().map(ToString::to_string).collect();
            (missing.descriptor.digest().clone(), hints)
        })
        .collect();
    named.sort_by(|one, other| one.0.as_ref().cmp(other.0.as_ref()));
    named
}

fn sorted(layers: &[&Made], hint: Option<&str>) -> Vec<(Digest, Vec<String>)> {
    let hints: Vec<String> = hint.map(|hint| at(hint).to_string()).into_iter().collect();
    let mut digests: Vec<_> = layers.iter().map(|layer| (layer.digest().clone(), hints.clone())).collect();
    digests.sort_by(|one, other| one.0.as_ref().cmp(other.0.as_ref()));
    digests
}

async fn records(manager: &Manager) -> usize {
    manager.usage(&[]).await.unwrap().entries.len()
}

/// BuildKit rows 1, 2: what no handler brings and is not here is named, all of it, and nothing is written down.
#[tokio::test]
async fn what_nobody_brings_is_named_and_nothing_is_made() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, b, c] = made(["a", "b", "c"]);
    let options = GetOptions { handlers: world.handlers("app", &[&b]), ..GetOptions::default() };
    let layers = [&a, &b, &c].map(|layer| layer.seen(Some("app"))).to_vec();
    let error = manager.import(layers, None, options).await.unwrap_err();
    assert_eq!(missing(&error), sorted(&[&a, &c], Some("app")));
    assert!(error.to_string().starts_with("2 blobs are missing"), "{error}");
    assert_eq!(records(&manager).await, 0);
    // A blob that is here needs no handler, and one that a handler brings need not be here.
    manager.store().put(&a.blob.descriptor, a.bytes.clone()).await.unwrap();
    let bottom = manager.get_by_blob(a.blob.clone(), None, GetOptions::default()).await.unwrap();
    let options = GetOptions { handlers: world.handlers("app", &[&b]), ..GetOptions::default() };
    let top = manager.get_by_blob(b.blob.clone(), Some(&bottom), options).await.unwrap();
    assert!(!bottom.is_lazy().await.unwrap() && top.is_lazy().await.unwrap());
    assert_eq!(world.registry.lines(), Vec::<String>::new(), "nobody was asked");
    drop((bottom, top));
    manager.close().await.unwrap();
}

/// A family of refs over lazy layers: a ▸ b, a ▸ c, their merge, and what makes b of a.
struct Family {
    layers: [Made; 3],
    chain: ImmutableRef,
    merge: ImmutableRef,
    diff: ImmutableRef,
}

async fn family(world: &World, manager: &Manager) -> Family {
    let layers = made(["a", "b", "c"]);
    let [a, b, c] = &layers;
    let handlers = world.handlers("app", &[a, b, c]);
    let options = || GetOptions { handlers: handlers.clone(), ..GetOptions::default() };
    let seen = |layer: &Made| layer.seen(Some("app"));
    let bottom = manager.import(vec![seen(a)], None, options()).await.unwrap();
    let chain = manager.import(vec![seen(b)], Some(&bottom), options()).await.unwrap();
    let other = manager.import(vec![seen(c)], Some(&bottom), options()).await.unwrap();
    let merge = manager.merge(&[chain.clone(), other], GetOptions::default()).await.unwrap().unwrap();
    let diff = manager.diff(Some(&bottom), Some(&chain), GetOptions::default()).await.unwrap();
    Family { layers, chain, merge, diff }
}

/// BuildKit row 2: over all ancestors, through merges and diffs, each blob once, with where it was seen.
#[tokio::test]
async fn everything_missing_below_is_named_once() {
    let world = World::new().await;
    let manager = world.manager().await;
    let family = family(&world, &manager).await;
    let [a, b, c] = &family.layers;
    let of = async |id: &ImmutableRef, handlers: DescHandlers| {
        let options = GetOptions { handlers, ..GetOptions::default() };
        manager.get(&id.id(), options).await
    };
    // The first handles live, and know a way; it is theirs.
    let none = DescHandlers::none;
    let app = Some("app");
    assert_eq!(missing(&of(&family.chain, none()).await.unwrap_err()), sorted(&[a, b], app));
    assert_eq!(missing(&of(&family.merge, none()).await.unwrap_err()), sorted(&[a, b, c], app));
    assert_eq!(missing(&of(&family.diff, none()).await.unwrap_err()), sorted(&[a, b], app));
    let some = world.handlers("app", &[a, c]);
    assert_eq!(missing(&of(&family.merge, some).await.unwrap_err()), sorted(&[b], app));
    let all = of(&family.merge, world.handlers("app", &[a, b, c])).await.unwrap();
    assert_eq!(all.id(), family.merge.id());
    assert_eq!(world.registry.lines(), Vec::<String>::new());
    drop((all, family));
    manager.close().await.unwrap();
}

/// A blob that is in a ref twice is missing once.
#[tokio::test]
async fn a_layer_that_occurs_twice_is_missing_once() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a] = made(["a"]);
    manager.store().put(&a.blob.descriptor, a.bytes.clone()).await.unwrap();
    let twice = stack(&manager, &[&a, &a], &DescHandlers::none()).await;
    assert_eq!(twice.layers().len(), 2);
    manager.store().remove(a.digest()).unwrap();
    let access = Access::anonymous();
    let expected = sorted(&[&a], None);
    assert_eq!(missing(&twice.unlazy(&access).await.unwrap_err()), expected);
    assert_eq!(missing(&twice.extract(&access).await.unwrap_err()), expected);
    assert_eq!(missing(&manager.get(&twice.id(), GetOptions::default()).await.unwrap_err()), expected);
    drop(twice);
    manager.close().await.unwrap();
}

/// BuildKit rows 5, 6, 7: the same blobs all the way down are the same record; another compression of the same content is
/// another record with the same snapshot; the identities are the hashes they should be.
#[tokio::test]
async fn records_are_shared_by_blobs_and_snapshots_by_content() {
    let world = World::new().await;
    let manager = world.manager().await;
    let (gzip, plain) = (Made::new("a", Packed::Gzip), Made::new("a", Packed::Plain));
    let top = Made::new("b", Packed::Zstd);
    assert_eq!(gzip.blob.diff_id, plain.blob.diff_id);
    let handlers = world.handlers("app", &[&gzip, &plain, &top]);
    let one = stack(&manager, &[&gzip, &top], &handlers).await;
    let again = stack(&manager, &[&gzip, &top], &handlers).await;
    // Both lazy, and of the same content: neither stands in the other's way.
    let other = stack(&manager, &[&plain, &top], &handlers).await;
    assert_eq!(one.id(), again.id());
    assert_ne!(one.id(), other.id());
    assert_eq!(one.record().snapshot, other.record().snapshot);
    assert_eq!(one.chain(), other.chain());
    assert_ne!(one.blob_chain(), other.blob_chain());
    assert_eq!(records(&manager).await, 4);

    let hash = |text: String| digest::sha256(text.as_bytes());
    let chain = hash(format!("{} {}", gzip.blob.diff_id, top.blob.diff_id));
    assert_eq!(one.chain().unwrap(), ChainId::from_digest(chain.clone()));
    assert_eq!(one.record().snapshot, Some(SnapshotKey::chain(&ChainId::from_digest(chain))));
    let (bottom, above) = (
        hash(format!("{} {}", gzip.digest(), gzip.blob.diff_id)),
        hash(format!("{} {}", top.digest(), top.blob.diff_id)),
    );
    assert_eq!(one.blob_chain().unwrap().digest(), &hash(format!("{bottom} {above}")));
    let found = manager.find_by_blob_chain(&one.blob_chain().unwrap()).await.unwrap();
    assert_eq!(found, [one.id()]);
    let mut by_chain = manager.find_by_chain(&one.chain().unwrap()).await.unwrap();
    let mut both = vec![one.id(), other.id()];
    by_chain.sort();
    both.sort();
    assert_eq!(by_chain, both);
    let nobody = BlobChainId::base(top.digest(), &top.blob.diff_id);
    assert!(manager.find_by_blob_chain(&nobody).await.unwrap().is_empty());
    drop((one, again, other));
    manager.close().await.unwrap();
}

/// BuildKit rows 6, 13: what unpacks to the same is unpacked once, whichever blob it comes from.
#[tokio::test]
async fn the_other_compression_needs_no_unpacking_and_no_bytes() {
    let world = World::new().await;
    let manager = world.manager().await;
    let (gzip, plain) = (Made::new("a", Packed::Gzip), Made::new("a", Packed::Plain));
    world.seed("app", &[&gzip, &plain]).await;
    let handlers = world.handlers("app", &[&gzip, &plain]);
    let one = stack(&manager, &[&gzip], &handlers).await;
    one.extract(&Access::anonymous()).await.unwrap();
    let other = stack(&manager, &[&plain], &handlers).await;
    other.extract(&Access::anonymous()).await.unwrap();
    assert_eq!((world.gets(gzip.digest()), world.gets(plain.digest())), (1, 0));
    assert!(other.is_lazy().await.unwrap(), "its blob is still elsewhere");
    // Its tree is here, so nobody need know a way to its blob.
    manager.get(&other.id(), GetOptions::default()).await.unwrap();
    drop((one, other));
    manager.close().await.unwrap();
}

/// BuildKit row 29: a parent that no chain names cannot have a child by blob.
#[tokio::test]
async fn a_parent_without_a_blob_is_invalid() {
    let world = World::new().await;
    let manager = world.manager().await;
    let made_here = manager.new_mutable(None, &Access::anonymous(), GetOptions::default()).await.unwrap();
    let parent = made_here.commit().await.unwrap();
    let before = records(&manager).await;
    let [a] = made(["a"]);
    let options = GetOptions { handlers: world.handlers("app", &[&a]), ..GetOptions::default() };
    let error = manager.get_by_blob(a.blob.clone(), Some(&parent), options).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("has no blob"), "{error}");
    // The parent was finalized for it: its mutable twin is gone, and no child came.
    assert_eq!((before, records(&manager).await), (2, 1));
    let error = manager.import(Vec::new(), None, GetOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    drop(parent);
    manager.close().await.unwrap();
}

/// BuildKit rows 18, 19, 32: names and places are added to what is there, without duplicates; the rest describes new
/// records only.
#[tokio::test]
async fn names_and_places_are_added_and_descriptions_are_not_changed() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a] = made(["a"]);
    let options = |name: &str, repository: &str| GetOptions {
        handlers: world.handlers("app", &[&a]),
        image_ref: Some(name.to_owned()),
        sources: vec![source(repository)],
        ..GetOptions::default()
    };
    let first = manager.get_by_blob(a.blob.clone(), None, options("x.test/a:1", "a")).await.unwrap();
    assert_eq!(first.record().description, "pulled from x.test/a:1");
    let other = GetOptions {
        description: Some("other".to_owned()),
        record_type: RecordType::Internal,
        created: Some(7),
        ..options("x.test/a:2", "b")
    };
    let second = manager.get_by_blob(a.blob.clone(), None, other).await.unwrap();
    let third = manager.get_by_blob(a.blob.clone(), None, options("x.test/a:1", "a")).await.unwrap();
    let fourth = manager.get(&first.id(), options("x.test/a:3", "c")).await.unwrap();
    let stored = manager.record(&first.id()).await.unwrap().unwrap();
    for record in [first.record(), second.record(), third.record(), fourth.record()] {
        assert_eq!(*record, stored, "all handles see the same record");
    }
    assert_eq!(stored.image_refs, ["x.test/a:1", "x.test/a:2", "x.test/a:3"]);
    assert_eq!(stored.sources, ["a", "b", "c"].map(source));
    assert_eq!(
        (stored.description.as_str(), stored.record_type),
        ("pulled from x.test/a:1", RecordType::Regular)
    );
    assert_ne!(stored.created, 7);
    drop((first, second, third, fourth));
    manager.close().await.unwrap();
    drop(manager);
    let manager = world.manager().await;
    let again = manager.find_by_chain(&ChainId::base(&a.blob.diff_id)).await.unwrap();
    assert_eq!(manager.record(&again[0]).await.unwrap(), Some(stored), "and so does the next run");
    manager.close().await.unwrap();
}

/// BuildKit row 3: what the parent's handle knows of the way to a blob is good for a child made of it.
#[tokio::test]
async fn a_parents_handlers_are_good_for_its_children() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, b, c] = made(["a", "b", "c"]);
    let parent = stack(&manager, &[&a], &world.handlers("app", &[&a, &b])).await;
    let child = manager.get_by_blob(b.blob.clone(), Some(&parent), GetOptions::default()).await.unwrap();
    assert!(child.handlers().has(a.digest()) && child.handlers().has(b.digest()));
    let error = manager.get_by_blob(c.blob.clone(), Some(&parent), GetOptions::default()).await.unwrap_err();
    assert_eq!(missing(&error), sorted(&[&c], None));
    drop((parent, child));
    manager.close().await.unwrap();
}

/// `unlazy` in the options fetches at once, and what cannot be fetched leaves a record that can be asked for again.
#[tokio::test]
async fn unlazy_at_once() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, gone] = made(["a", "gone"]);
    world.seed("app", &[&a]).await;
    let options = || GetOptions {
        handlers: world.handlers("app", &[&a, &gone]),
        unlazy: Some(Access::anonymous()),
        ..GetOptions::default()
    };
    let here = manager.get_by_blob(a.blob.clone(), None, options()).await.unwrap();
    assert!(!here.is_lazy().await.unwrap());
    let error = manager.get_by_blob(gone.blob.clone(), None, options()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let lazy = GetOptions { unlazy: None, ..options() };
    let again = manager.get_by_blob(gone.blob.clone(), None, lazy).await.unwrap();
    assert!(again.is_lazy().await.unwrap());
    assert_eq!(records(&manager).await, 2);
    drop((here, again));
    manager.close().await.unwrap();
}

/// Who imports the same chain at the same time gets the same records.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_imports_make_one_chain() {
    let world = World::new().await;
    let manager = world.manager().await;
    let layers = made(["a", "b", "c"]);
    let [a, b, c] = &layers;
    let handlers = world.handlers("app", &[a, b, c]);
    let all: Vec<&Made> = layers.iter().collect();
    let refs = futures::future::join_all((0..20).map(|_| stack(&manager, &all, &handlers))).await;
    assert!(refs.iter().all(|each| each.id() == refs[0].id()));
    assert_eq!(records(&manager).await, 3);
    let blobs: Vec<LayerBlob> = refs[0].layers().iter().filter_map(|layer| layer.blob()).collect();
    assert_eq!(blobs, layers.clone().map(|layer| layer.blob).to_vec());
    let new: Vec<NewLayer> = layers.iter().map(|layer| layer.seen(None)).collect();
    assert_eq!(new.len(), 3);
    drop(refs);
    manager.close().await.unwrap();
}
