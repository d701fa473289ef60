//! Blobs made of trees and of other blobs.

use lazyblob_cache::layer::{Algorithm, Compression, Family, LayerType};
use lazyblob_cache::refs::BlobOptions;
use lazyblob_cache::{GetOptions, ImmutableRef, Manager};
use lazyblob_remote::Access;
use lazyblob_remote::request::Kind;

use crate::support::World;

const ZSTD: BlobOptions = BlobOptions {
    layer: LayerType { family: Family::Oci, algorithm: Algorithm::Zstd, foreign: false },
    compression: Compression::ZSTD,
    threads: 1,
};

/// A ref of one file on top of `parent`.
async fn made(manager: &Manager, parent: Option<&ImmutableRef>, content: &str) -> ImmutableRef {
    let access = Access::anonymous();
    let mutable = manager.new_mutable(parent, &access, GetOptions::default()).await.unwrap();
    std::fs::write(mutable.directory().await.unwrap().join("made"), content).unwrap();
    mutable.commit().await.unwrap()
}

/// BuildKit rows 21, 23, 28: a committed tree has no blob until one is asked for, and then the chain of those below.
#[tokio::test]
async fn a_tree_becomes_a_layer_of_its_image() {
    let world = World::new().await;
    let manager = world.manager().await;
    let top = world.pull(&manager).await.image.top.unwrap();
    let made = made(&manager, Some(&top), "here").await;
    assert!(made.layers().last().unwrap().blob().is_none());
    assert!(made.remote(&Access::anonymous()).is_err(), "there is nothing to push yet");
    made.make_blobs(&ZSTD, &Access::anonymous()).await.unwrap();
    let blob = made.layers().last().unwrap().blob().unwrap();
    assert_eq!(made.chain().unwrap(), top.chain().unwrap().with(&blob.diff_id));
    assert_eq!(made.remote(&Access::anonymous()).unwrap().descriptors.len(), 4);
    assert!(manager.store().holds(&blob.descriptor).await.unwrap());
    let again = manager.find_by_blob_chain(&made.blob_chain().unwrap()).await.unwrap();
    assert_eq!(again, [made.id()]);
    drop((made, top));
    manager.close().await.unwrap();
}

/// BuildKit rows 25, 26: what is compressed as wanted stays lazy, the rest is fetched, and all of it unpacks to the same.
#[tokio::test]
async fn a_conversion_fetches_only_what_it_converts() {
    let world = World::new().await;
    let manager = world.manager().await;
    let top = world.pull(&manager).await.image.top.unwrap();
    world.registry.reset();
    let converted = top.converted(&ZSTD, &Access::anonymous()).await.unwrap();
    assert_eq!(world.registry.requests(Kind::BlobGet), 2, "{:?}", world.registry.lines());
    assert_eq!(converted.chain(), top.chain(), "it unpacks to the same");
    assert_ne!(converted.blob_chain(), top.blob_chain());
    let last = converted.layers().last().unwrap().blob().unwrap();
    assert!(!manager.store().holds(&last.descriptor).await.unwrap(), "it was zstd already");
    let keys = |of: &ImmutableRef| {
        of.layers().iter().map(|layer| layer.record().snapshot.clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&converted), keys(&top), "snapshots are shared");
    converted.extract(&Access::anonymous()).await.unwrap();
    world.registry.reset();
    top.extract(&Access::anonymous()).await.unwrap();
    assert_eq!(world.registry.lines(), Vec::<String>::new());
    drop((converted, top));
    manager.close().await.unwrap();
}

/// BuildKit row 36: what two unrelated trees differ in is a layer of its own.
#[tokio::test]
async fn unrelated_trees_are_compared() {
    let world = World::new().await;
    let manager = world.manager().await;
    let (one, other) = (made(&manager, None, "one").await, made(&manager, None, "other").await);
    let diff = manager.diff(Some(&one), Some(&other), GetOptions::default()).await.unwrap();
    diff.extract(&Access::anonymous()).await.unwrap();
    let key = diff.layers()[0].record().snapshot.clone().unwrap();
    let tree = manager.snapshots().directory(&key).unwrap();
    assert_eq!(std::fs::read(tree.join("made")).unwrap(), b"other");
    let nothing = manager.diff(Some(&one), Some(&one), GetOptions::default()).await.unwrap();
    nothing.extract(&Access::anonymous()).await.unwrap();
    drop((one, other, diff, nothing));
    manager.close().await.unwrap();
}

/// Many who ask at once for what stands on the same layers have each layer packed once, as the first of them says; who
/// leaves does not keep the others from it.
#[tokio::test]
async fn a_layer_is_packed_once_whoever_asks() {
    let world = World::new().await;
    let (manager, held) = crate::closing::held(&world).await;
    let base = made(&manager, None, "below").await;
    let mut tops = Vec::new();
    for at in 0..8 {
        tops.push(made(&manager, Some(&base), &format!("above {at}")).await);
    }
    for top in &tops {
        top.finalize().await.unwrap();
    }
    held.packed.lock().unwrap().clear();
    let gzip = BlobOptions {
        layer: LayerType { algorithm: Algorithm::Gzip, ..ZSTD.layer },
        compression: Compression::GZIP,
        threads: 1,
    };
    let access = Access::anonymous();
    let mut leaves = Box::pin(tops[0].make_blobs(&ZSTD, &access));
    assert!(futures::poll!(&mut leaves).is_pending());
    let all = tops.iter().enumerate().map(|(at, top)| {
        let options = if at % 2 == 0 { &ZSTD } else { &gzip };
        top.make_blobs(options, &access)
    });
    let all = futures::future::try_join_all(all);
    let left = async move { drop(leaves) };
    let (done, ()) = futures::join!(all, left);
    done.unwrap();
    let mut packed = held.packed.lock().unwrap().clone();
    packed.sort();
    let times = packed.len();
    packed.dedup();
    assert_eq!((times, packed.len()), (9, 9), "each layer once");
    let below = base.layers()[0].blob().unwrap();
    assert!(tops.iter().all(|top| top.layers()[0].blob().as_ref() == Some(&below)), "one blob for all");
    drop((base, tops));
    manager.close().await.unwrap();
}
