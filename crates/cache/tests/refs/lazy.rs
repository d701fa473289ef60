//! Pulling a name pulls no layer; reading a layer pulls it once.

use lazyblob_cache::snapshot::Keep;
use lazyblob_remote::Access;
use lazyblob_remote::request::Kind;
use tokio_util::sync::CancellationToken;

use crate::support::{World, assert_tree_of, keys, made, read_lazily, remove_behind_our_back, stack};

/// BuildKit row 95: two requests, and none of them for a layer; the same again is one.
#[tokio::test]
async fn a_pull_is_a_manifest_and_a_config() {
    let world = World::new().await;
    let manager = world.manager().await;
    let pulled = world.pull(&manager).await;
    assert!(!pulled.unchanged);
    assert_eq!(world.registry.lines().len(), 2, "{:?}", world.registry.lines());
    assert!(pulled.image.top.as_ref().unwrap().is_lazy().await.unwrap());
    assert_eq!(pulled.image.root.digest(), world.image.manifest.digest());
    let again = world.pull(&manager).await;
    assert!(again.unchanged);
    assert_eq!(world.registry.lines().len(), 3, "{:?}", world.registry.lines());
    let ids = [&pulled, &again].map(|pulled| pulled.image.top.as_ref().unwrap().id());
    assert_eq!(ids[0], ids[1], "the same blobs are the same record");
    manager.close().await.unwrap();
}

/// BuildKit rows 13, 15, 17: each blob is fetched once, by whoever needs it first, and unpacked in its order.
#[tokio::test]
async fn extracting_fetches_each_blob_once() {
    let world = World::new().await;
    let manager = world.manager().await;
    let pulled = world.pull(&manager).await;
    let top = pulled.image.top.unwrap();
    world.registry.reset();
    top.extract(&Access::anonymous()).await.unwrap();
    assert_eq!(world.registry.requests(Kind::BlobGet), 3, "{:?}", world.registry.lines());
    top.extract(&Access::anonymous()).await.unwrap();
    assert_eq!(top.unlazy(&Access::anonymous()).await.unwrap(), 0);
    assert_eq!(world.registry.lines().len(), 3, "nothing is asked twice");
    let out = tempfile::tempdir().unwrap();
    let stack: Vec<_> = top.layers().iter().map(|layer| layer.record().snapshot.clone().unwrap()).collect();
    manager.snapshots().assemble(&stack, out.path(), Keep::as_able(), &CancellationToken::new()).unwrap();
    assert_eq!(std::fs::read(out.path().join("etc/name")).unwrap(), b"middle");
    assert!(!out.path().join("etc/old").exists(), "it has a whiteout");
    assert_eq!(std::fs::read_link(out.path().join("bin/sh")).unwrap().to_str(), Some("run"));
    drop(top);
    manager.close().await.unwrap();
}

/// Laziness survives the process: hints make handlers again.
#[tokio::test]
async fn a_lazy_ref_survives_a_restart() {
    let world = World::new().await;
    let manager = world.manager().await;
    drop(world.pull(&manager).await);
    manager.close().await.unwrap();
    drop(manager);
    let manager = world.manager().await;
    world.registry.reset();
    let reference = "registry.test/app:1".parse().unwrap();
    let image = manager.open_image(&reference, None, &Access::anonymous()).await.unwrap();
    let top = image.top.unwrap();
    assert!(top.is_lazy().await.unwrap());
    assert_eq!(world.registry.lines(), Vec::<String>::new(), "opening it asks nobody");
    assert_eq!(top.unlazy(&Access::anonymous()).await.unwrap(), 3);
    assert_eq!(world.registry.requests(Kind::BlobGet), 3);
    assert!(!top.is_lazy().await.unwrap());
    drop(top);
    manager.close().await.unwrap();
}

/// BuildKit row 14: what somebody has removed of a root is fetched and made again, by the very handle that found it there.
#[tokio::test]
async fn what_was_removed_behind_our_back_is_made_again() {
    let world = World::new().await;
    let manager = world.manager().await;
    let [a, b] = made(["a", "b"]);
    world.seed("app", &[&a, &b]).await;
    let access = Access::anonymous();
    let top = stack(&manager, &[&a, &b], &world.handlers("app", &[&a, &b])).await;
    top.extract(&access).await.unwrap();
    remove_behind_our_back(world.root(), b.digest());
    assert!(read_lazily(&top, &b, &access).await.unwrap() == b.bytes);
    assert_eq!((world.gets(a.digest()), world.gets(b.digest())), (1, 2));
    // The snapshot is gone: it is made of the blob, without a request.
    let key = keys(&top)[1].clone();
    std::fs::remove_dir_all(manager.snapshots().directory(&key).unwrap().parent().unwrap()).unwrap();
    top.extract(&access).await.unwrap();
    assert_tree_of(&top, &[&a, &b]);
    assert_eq!((world.gets(a.digest()), world.gets(b.digest())), (1, 2));
    // Both are gone.
    std::fs::remove_dir_all(manager.snapshots().directory(&key).unwrap().parent().unwrap()).unwrap();
    remove_behind_our_back(world.root(), b.digest());
    top.extract(&access).await.unwrap();
    assert_tree_of(&top, &[&a, &b]);
    assert_eq!((world.gets(a.digest()), world.gets(b.digest())), (1, 3));
    drop(top);
    manager.close().await.unwrap();
}
