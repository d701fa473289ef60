//! Snapshots are held against their layers: what was changed is found, and what settling moved is no damage.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use lazyblob_cache::GetOptions;
use lazyblob_cache::layer::{Algorithm, Compression, Family, LayerType};
use lazyblob_cache::record::Retention;
use lazyblob_cache::refs::BlobOptions;
use lazyblob_cache::testing::{Tar, adversarial};
use lazyblob_cache::verify::{Object, Repair};
use lazyblob_remote::Access;

use crate::support::{Cache, kinds};
use crate::trees::layers;
use crate::verify::{only, repair, verify};

const GZIP: BlobOptions = BlobOptions {
    layer: LayerType { family: Family::Oci, algorithm: Algorithm::Gzip, foreign: false },
    compression: Compression::GZIP,
    threads: 1,
};

/// A cache with all snapshots and blobs of one image.
async fn unpacked(wanted: lazyblob_cache::snapshot::Wanted, tars: &[Vec<u8>]) -> Cache {
    let cache = Cache::kept_as(wanted).await;
    let image = cache.pull(tars).await;
    if let Some(top) = &image.top {
        top.unlazy(&Access::anonymous()).await.unwrap();
        top.extract(&Access::anonymous()).await.unwrap();
    }
    cache
}

/// Entries behind links are moved, targets of links are copied up, and nothing of that is told.
#[tokio::test]
async fn what_was_settled_is_no_damage() {
    for wanted in kinds() {
        let (mut compared, mut all) = (0, 0);
        for (name, tars) in adversarial::images() {
            let cache = unpacked(wanted, &tars).await;
            let verified = verify(&cache.manager).await;
            assert_eq!(verified.problems, [], "{name}, {wanted:?}");
            (compared, all) = (compared + verified.compared, all + verified.snapshots);
        }
        assert!(all > 20 && compared * 10 >= all * 9, "{compared} of {all} could be told");
        let cache = unpacked(wanted, &layers()).await;
        let verified = verify(&cache.manager).await;
        assert_eq!(verified.problems, []);
        assert_eq!((verified.snapshots, verified.compared), (3, 3));
        // Without its blob a tree is counted, and no more.
        let stored = cache.manager.store().list().unwrap();
        for blob in stored {
            cache.manager.store().remove(&blob.digest).unwrap();
        }
        assert_eq!(verify(&cache.manager).await.compared, 0);
    }
}

/// What was made here is held against the blob that was made of it.
#[tokio::test]
async fn what_was_made_here_is_no_damage() {
    for wanted in kinds() {
        let cache = unpacked(wanted, &layers()).await;
        let image = cache.pull_seeded().await;
        let options = GetOptions { retention: Retention::Retain, ..GetOptions::default() };
        let access = Access::anonymous();
        let mutable = cache.manager.new_mutable(image.top.as_ref(), &access, options).await.unwrap();
        let tree = mutable.directory().await.unwrap();
        fs::create_dir(tree.join("new")).unwrap();
        fs::write(tree.join("new/tool"), vec![3; 300_000]).unwrap();
        fs::set_permissions(tree.join("new/tool"), Permissions::from_mode(0o4711)).unwrap();
        fs::hard_link(tree.join("new/tool"), tree.join("new/again")).unwrap();
        symlink("tool", tree.join("new/link")).unwrap();
        let made = mutable.commit().await.unwrap();
        made.finalize().await.unwrap();
        made.make_blobs(&GZIP, &access).await.unwrap();
        let verified = verify(&cache.manager).await;
        assert_eq!((verified.problems.as_slice(), verified.compared), (&[][..], 4), "{wanted:?}");
        let key = made.record().snapshot.clone().unwrap();
        let tree = cache.manager.snapshots().directory(&key).unwrap();
        crate::verify::flip(&tree.join("new/tool"), 299_999);
        let verified = verify(&cache.manager).await;
        assert_eq!(only(&verified).object, Object::Snapshot(key.to_string()));
    }
}

/// As many files as before, and each of them another.
#[tokio::test]
async fn what_was_changed_in_a_tree_is_found_and_made_anew() {
    type Damage = (&'static str, &'static str, fn(&Path));
    let damages: [Damage; 6] = [
        ("etc/passwd", "content", |path| fs::write(path, "toor").unwrap()),
        ("etc/passwd", "bytes", |path| fs::write(path, "ro").unwrap()),
        ("etc/passwd", "mode", |path| fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap()),
        ("etc", "mode", |path| fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap()),
        ("link", "elsewhere", |path| {
            fs::remove_file(path).unwrap();
            symlink("tmp", path).unwrap();
        }),
        ("srv/hidden", "kind", |path| {
            fs::remove_file(path).unwrap();
            symlink("below", path).unwrap();
        }),
    ];
    let tar = Tar::new().dir("etc", 0o755).file("etc/passwd", "root").dir("srv", 0o755);
    let tars = [tar.file("srv/hidden", "below").symlink("link", "etc").end()];
    for wanted in kinds() {
        for (name, said, damage) in damages {
            let cache = unpacked(wanted, &tars).await;
            assert_eq!(verify(&cache.manager).await.problems, []);
            let image = cache.pull_seeded().await;
            let key = image.top.as_ref().unwrap().record().snapshot.clone().unwrap();
            damage(&cache.manager.snapshots().directory(&key).unwrap().join(name));
            let verified = verify(&cache.manager).await;
            assert_eq!(only(&verified).object, Object::Snapshot(key.to_string()));
            let reason = &only(&verified).reason;
            assert!(reason.starts_with(&format!("{name}: ")) && reason.contains(said), "{reason}");
            assert_eq!(only(&repair(&cache.manager).await).repair, Repair::InUse);
            drop(image);
            assert!(only(&repair(&cache.manager).await).is_repaired(), "{said}");
            assert_eq!(cache.manager.snapshots().info(&key).unwrap(), None);
            let image = cache.pull_seeded().await;
            image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
            let verified = verify(&cache.manager).await;
            assert_eq!((verified.compared, verified.problems.as_slice()), (1, &[][..]));
        }
    }
}
