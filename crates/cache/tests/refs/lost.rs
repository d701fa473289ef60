//! Refs that could not be made durable.

use std::sync::atomic::Ordering;

use lazyblob_cache::layer::{Algorithm, Compression, Family, LayerType};
use lazyblob_cache::refs::BlobOptions;
use lazyblob_cache::{Error, GetOptions};
use lazyblob_remote::Access;

use crate::closing::held;
use crate::support::World;

/// Nobody is told that a lost ref is durable, whoever was told before: not who asks for the ref, for all, or for its build;
/// and no blob is made of it. What is made afterwards is none of it.
#[tokio::test]
async fn a_lost_ref_is_never_said_to_be_durable() {
    let world = World::new().await;
    let (manager, held) = held(&world).await;
    let access = Access::anonymous();
    let kept = manager.new_mutable(None, &access, GetOptions::default()).await.unwrap();
    let kept = kept.commit().await.unwrap();
    kept.finalize().await.unwrap();
    let begun = manager.now();
    // From here on nothing becomes durable, whenever it is tried.
    held.full.store(true, Ordering::SeqCst);
    let base = manager.new_mutable(Some(&kept), &access, GetOptions::default()).await.unwrap();
    let base = base.commit().await.unwrap();
    let top = manager.new_mutable(Some(&base), &access, GetOptions::default()).await.unwrap();
    let top = top.commit().await.unwrap();
    let layer = LayerType { family: Family::Oci, algorithm: Algorithm::Gzip, foreign: false };
    let options = BlobOptions { layer, compression: Compression::GZIP, threads: 1 };
    let full = |error: Error| match error.root() {
        Error::Io { source, .. } => assert_eq!(source.kind(), std::io::ErrorKind::StorageFull),
        other => panic!("{other}"),
    };
    full(top.make_blobs(&options, &access).await.unwrap_err());
    held.full.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        full(manager.settle().await.unwrap_err());
        full(manager.settle_since(begun).await.unwrap_err());
        full(base.finalize().await.unwrap_err());
        full(top.extract(&access).await.unwrap_err());
    }
    full(top.make_blobs(&options, &access).await.unwrap_err());
    assert!(top.layers().iter().all(|layer| layer.blob().is_none()), "nothing was made of it");
    let after = manager.now();
    let other = manager.new_mutable(Some(&kept), &access, GetOptions::default()).await.unwrap();
    other.commit().await.unwrap().make_blobs(&options, &access).await.unwrap();
    manager.settle_since(after).await.unwrap();
    let ids = [base.id(), top.id()];
    drop((top, base));
    for id in ids {
        assert!(manager.record(&id).await.unwrap().is_none(), "nothing speaks of it");
    }
    full(manager.close().await.unwrap_err());
}
