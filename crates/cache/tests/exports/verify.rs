//! What is damaged is found, what can be mended is, and what is sound is never said not to be.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lazyblob_cache::image::Image;
use lazyblob_cache::metadata::Space;
use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::verify::{Object, Problem, Repair, Verified, VerifyOptions};
use lazyblob_cache::{GetOptions, Manager};
use lazyblob_remote::Access;
use lazyblob_remote::digest;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, Toxic};
use oci_spec::image::Digest;

use crate::support::{Cache, names};
use crate::trees::layers;

pub(crate) async fn verify(manager: &Manager) -> Verified {
    manager.verify(VerifyOptions::default(), &Access::anonymous()).await.unwrap()
}

pub(crate) async fn repair(manager: &Manager) -> Verified {
    manager.verify(VerifyOptions { repair: true }, &Access::anonymous()).await.unwrap()
}

/// The one problem there is.
#[track_caller]
pub(crate) fn only(verified: &Verified) -> &Problem {
    let [problem] = verified.problems.as_slice() else { panic!("{:#?}", verified.problems) };
    problem
}

/// A cache with one image: blobs, and trees if `unpacked`.
pub(crate) async fn filled(unpacked: bool) -> (Cache, Image) {
    let cache = Cache::new().await;
    let image = cache.pull(&layers()).await;
    let top = image.top.as_ref().unwrap();
    top.unlazy(&Access::anonymous()).await.unwrap();
    if unpacked {
        top.extract(&Access::anonymous()).await.unwrap();
    }
    let verified = verify(&cache.manager).await;
    assert_eq!(verified.problems, [], "it is clean to begin with");
    assert_eq!((verified.blobs, verified.names, verified.records), (5, 1, 3));
    assert_eq!(verified.snapshots, if unpacked { 3 } else { 0 });
    (cache, image)
}

pub(crate) fn blob(cache: &Cache, digest: &Digest) -> PathBuf {
    cache.manager.store().path(digest).unwrap()
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn lazy_is_no_damage() {
    let cache = Cache::new().await;
    drop(cache.pull(&layers()).await);
    cache.registry.reset();
    let verified = verify(&cache.manager).await;
    assert_eq!((verified.blobs, verified.names, verified.records), (2, 1, 3));
    assert_eq!(verified.problems, []);
    assert_eq!(repair(&cache.manager).await.problems, []);
    assert_eq!(cache.registry.log().len(), 0, "it asks nobody");
}

#[tokio::test]
async fn a_damaged_layer_becomes_lazy_unless_somebody_uses_it() {
    for damage in ["flipped", "cut"] {
        let (cache, image) = filled(false).await;
        let digest = image.layers[1].descriptor.digest().clone();
        let path = blob(&cache, &digest);
        match damage {
            "flipped" => flip(&path, 700),
            _ => fs::write(&path, &fs::read(&path).unwrap()[..100]).unwrap(),
        }
        let verified = verify(&cache.manager).await;
        assert_eq!(only(&verified).object, Object::Blob(digest.clone()), "{damage}");
        assert_eq!(only(&verified).repair, Repair::NotAsked);
        assert!(path.exists());

        let verified = repair(&cache.manager).await;
        assert_eq!(only(&verified).repair, Repair::InUse, "the handle on it lives");
        assert!(path.exists());

        drop(image);
        cache.registry.reset();
        let verified = repair(&cache.manager).await;
        assert!(only(&verified).is_repaired() && !only(&verified).remains(), "{:?}", verified.problems);
        assert!(!path.exists());
        assert_eq!(verify(&cache.manager).await.problems, []);
        assert_eq!(cache.registry.log().len(), 0, "no layer moves");
        let image = cache.pull_seeded().await;
        cache.extract(&image, "tree").await.unwrap();
        assert_eq!(cache.registry.requests(Kind::BlobGet), 1, "{damage}: that one alone");
    }
}

/// What nobody knows another place of stays, and is named; what nobody needs goes.
#[tokio::test]
async fn what_cannot_be_had_again_is_named_as_lost() {
    let (cache, image) = filled(false).await;
    let stray = b"nobody's";
    let path = blob(&cache, &digest::sha256(b"something else"));
    fs::write(&path, stray).unwrap();
    let verified = verify(&cache.manager).await;
    assert_eq!(verified.problems.len(), 1);
    assert!(only(&repair(&cache.manager).await).is_repaired());
    assert!(!path.exists());

    let new = lazyblob_cache::manager::NewLayer { blob: image.layers[0].clone(), sources: Vec::new() };
    drop(image);
    let other = Cache::new().await;
    let descriptor = new.blob.descriptor.clone();
    let bytes = fs::read(blob(&cache, descriptor.digest())).unwrap();
    other.manager.store().ingests().store(&descriptor, bytes.into()).await.unwrap();
    drop(other.manager.import(vec![new], None, GetOptions::default()).await.unwrap());
    assert_eq!(verify(&other.manager).await.problems, []);
    flip(&blob(&other, descriptor.digest()), 0);
    let verified = repair(&other.manager).await;
    assert!(matches!(only(&verified).repair, Repair::Impossible(_)) && only(&verified).remains());
    assert!(blob(&other, descriptor.digest()).exists(), "half a blob is more than none");
}

/// BuildKit row 99: what an image is made of besides layers is kept with its name, and fetched again if it is gone.
#[tokio::test]
async fn a_manifest_that_is_gone_is_fetched_again() {
    for damage in ["gone", "flipped"] {
        let (cache, image) = filled(false).await;
        let path = blob(&cache, image.root.digest());
        drop(image);
        match damage {
            "gone" => fs::remove_file(&path).unwrap(),
            _ => flip(&path, 5),
        }
        let verified = verify(&cache.manager).await;
        let kind = only(&verified).object.kind();
        assert_eq!(kind, if damage == "gone" { "name" } else { "blob" });
        cache.registry.reset();
        let verified = repair(&cache.manager).await;
        assert!(verified.problems.iter().all(Problem::is_repaired), "{damage}: {:#?}", verified.problems);
        assert_eq!(cache.registry.lines().len(), 1, "the manifest, and nothing else");
        assert_eq!(verify(&cache.manager).await.problems, [], "{damage}");
    }
}

/// A config is told as the blob that it is, and not as an image that makes no sense; it comes back with its image.
#[tokio::test]
async fn a_damaged_config_is_told_as_a_blob() {
    for damage in ["flipped", "cut"] {
        let (cache, image) = filled(false).await;
        let layers: Vec<Digest> =
            image.layers.iter().map(|layer| layer.descriptor.digest().clone()).collect();
        let stored = cache.manager.store().list().unwrap().into_iter().map(|stored| stored.digest);
        let config = stored.filter(|digest| digest != image.root.digest() && !layers.contains(digest)).last();
        let config = config.unwrap();
        drop(image);
        let path = blob(&cache, &config);
        match damage {
            "flipped" => flip(&path, 5),
            _ => fs::write(&path, &fs::read(&path).unwrap()[..20]).unwrap(),
        }
        let verified = verify(&cache.manager).await;
        assert_eq!(only(&verified).object, Object::Blob(config.clone()), "{damage}");
        cache.registry.reset();
        let verified = repair(&cache.manager).await;
        assert!(only(&verified).is_repaired(), "{damage}: {:#?}", verified.problems);
        assert_eq!(verify(&cache.manager).await.problems, [], "{damage}");
        cache.registry.reset();
        let image = cache.pull_seeded().await;
        cache.extract(&image, "tree").await.unwrap();
        assert_eq!(cache.registry.requests(Kind::BlobGet), 1, "{damage}: the config alone");
    }
}

#[tokio::test]
async fn a_tree_that_lacks_a_file_is_made_anew() {
    let (cache, image) = filled(true).await;
    let key = image.top.as_ref().unwrap().record().snapshot.clone().unwrap();
    let tree = cache.manager.snapshots().directory(&key).unwrap();
    fs::remove_file(tree.join("link/through"))
        .or_else(|_| fs::remove_file(tree.join("etc/through")))
        .unwrap();
    let verified = verify(&cache.manager).await;
    assert_eq!(only(&verified).object, Object::Snapshot(key.to_string()));
    assert_eq!(only(&repair(&cache.manager).await).repair, Repair::InUse);
    drop(image);
    assert!(only(&repair(&cache.manager).await).is_repaired());
    assert_eq!(cache.manager.snapshots().info(&key).unwrap(), None);
    assert_eq!(verify(&cache.manager).await.problems, []);
    let image = cache.pull_seeded().await;
    image.top.as_ref().unwrap().extract(&Access::anonymous()).await.unwrap();
    assert!(cache.manager.snapshots().info(&key).unwrap().is_some());
    assert_eq!(verify(&cache.manager).await.problems, []);

    // One that does not say what it is any more.
    drop(image);
    fs::write(cache.root().join("snapshots").join(key.file_name()).join("info.json"), "{").unwrap();
    assert_eq!(only(&verify(&cache.manager).await).object, Object::Snapshot(key.to_string()));
    assert!(only(&repair(&cache.manager).await).is_repaired());
    assert_eq!(verify(&cache.manager).await.problems, []);
}

#[tokio::test]
async fn a_record_that_is_gone_is_found_by_what_stands_on_it() {
    let (cache, image) = filled(false).await;
    let layers = image.top.as_ref().unwrap().layers();
    let bottom = layers[0].record().id.clone();
    drop((layers, image));
    let key = bottom.to_string();
    let records = Space::recoverable("record");
    cache
        .manager
        .database()
        .write(move |rows| {
            rows.delete(&records, key.as_bytes());
            Ok(())
        })
        .await
        .unwrap();
    let verified = verify(&cache.manager).await;
    let kinds: Vec<_> = verified.problems.iter().map(|problem| problem.object.kind()).collect();
    assert_eq!(kinds, ["database", "record"], "{:#?}", verified.problems);
    assert!(verified.problems[1].reason.contains(bottom.as_str()));
    let verified = repair(&cache.manager).await;
    assert!(verified.problems.iter().all(Problem::is_repaired), "{:#?}", verified.problems);
    assert_eq!(verify(&cache.manager).await.problems, []);
    // The image makes them anew, of blobs that are all here.
    cache.registry.reset();
    let image = cache.pull_seeded().await;
    cache.extract(&image, "tree").await.unwrap();
    assert_eq!(cache.registry.requests(Kind::BlobGet), 0);
}

#[tokio::test]
async fn a_record_that_says_something_else_is_made_anew() {
    let (cache, image) = filled(false).await;
    let top = image.top.as_ref().unwrap().record();
    drop(image);
    let mut row = serde_json::to_value(&*top).unwrap();
    row["chain"] = digest::sha256(b"another").to_string().into();
    let (id, row) = (top.id.to_string(), row.to_string());
    let records = Space::recoverable("record");
    let write = cache.manager.database().write(move |rows| {
        rows.put(&records, id.as_bytes(), row.into_bytes())?;
        Ok(())
    });
    write.await.unwrap();
    let verified = verify(&cache.manager).await;
    let is_told = |problem: &Problem| problem.object.kind() == "record" && problem.reason.contains("chain");
    assert!(verified.problems.iter().any(is_told), "{:#?}", verified.problems);
    let verified = repair(&cache.manager).await;
    assert!(verified.problems.iter().all(Problem::is_repaired), "{:#?}", verified.problems);
    assert_eq!(verify(&cache.manager).await.problems, []);
}

/// The one that resuming cannot see: a byte long before the end of what was saved.
#[tokio::test]
async fn the_beginning_of_an_unfinished_blob_is_held_against_its_hash_state() {
    let cache = Cache::new().await;
    let noise: Vec<u8> =
        (0..600_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tar = lazyblob_cache::testing::Tar::new().file("noise", &noise).end();
    let image = cache.pull(&[tar]).await;
    cache.registry.add(Toxic::new(Effect::CutBody(1_000_000)).on(Kind::BlobGet).times(1));
    cache.registry.add(Toxic::new(Effect::Hang).on(Kind::BlobGet).after(1));
    let hangs = image.top.as_ref().unwrap();
    // The save point is made where the reception ends.
    let access = Access::anonymous();
    let _ = tokio::time::timeout(Duration::from_millis(500), hangs.unlazy(&access)).await;
    let digest = image.layers[0].descriptor.digest().clone();
    let saved = async {
        loop {
            let partials = cache.manager.store().ingests().list().await.unwrap();
            match partials.into_iter().find(|partial| !partial.in_use && partial.offset > 0) {
                Some(partial) => return partial,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let partial = tokio::time::timeout(Duration::from_secs(20), saved).await.expect("a save point is made");
    assert!(partial.offset > 200_000, "{partial:?}");
    let verified = verify(&cache.manager).await;
    assert_eq!((verified.partials, verified.problems.len()), (1, 0));

    let dir = fs::read_dir(cache.root().join("ingest")).unwrap().next().unwrap().unwrap().path();
    flip(&dir.join("data"), 10);
    let verified = verify(&cache.manager).await;
    assert_eq!(only(&verified).object, Object::Partial(digest));
    assert!(dir.exists());
    assert!(only(&repair(&cache.manager).await).is_repaired());
    assert_eq!(names(&cache.root().join("ingest")), Vec::<String>::new());
    assert_eq!(verify(&cache.manager).await.problems, []);
    cache.registry.behave();
    cache.extract(&image, "tree").await.unwrap();
    assert_eq!(fs::read(cache.out("tree/noise")).unwrap(), noise);
}

#[tokio::test]
async fn what_killed_makers_left_is_told_and_goes() {
    let (cache, image) = filled(false).await;
    let key = image.top.as_ref().unwrap().record().snapshot.clone().unwrap();
    let staging = cache.root().join("staging");
    let dead = staging.join(format!("{}.0123456789abcdef", key.file_name()));
    fs::create_dir_all(dead.join("fs/etc")).unwrap();
    let (locks, never) = (cache.manager.root().staging_locks(), tokio_util::sync::CancellationToken::new());
    let living = locks.claim("living", &lazyblob_remote::progress::Silent, &never);
    let living = living.await.unwrap();
    fs::create_dir_all(staging.join("living.0123456789abcdef/fs")).unwrap();
    let verified = verify(&cache.manager).await;
    let problem = only(&verified);
    assert_eq!(problem.object, Object::Staging(dead.clone()));
    assert!(problem.is_leftover && !problem.remains(), "nothing is lost by it");
    assert!(dead.exists());
    repair(&cache.manager).await;
    assert!(!dead.exists() && staging.join("living.0123456789abcdef/fs").exists());
    drop(living);
}

/// An index that nobody can read, or that is gone, keeps prune from its work; repaired, it takes names again.
#[tokio::test]
async fn an_index_that_is_lost_is_begun_anew_and_said_to_be() {
    for damage in ["garbage", "gone"] {
        let (cache, image) = filled(false).await;
        drop(image);
        let index = cache.manager.store().layout().root().join("index.json");
        match damage {
            "garbage" => fs::write(&index, "{garbage").unwrap(),
            _ => fs::remove_file(&index).unwrap(),
        }
        let cancel = tokio_util::sync::CancellationToken::new();
        cache.manager.prune(&PruneOptions::default(), &cancel).await.unwrap_err();
        let verified = verify(&cache.manager).await;
        assert_eq!(only(&verified).object, Object::Name("index.json".to_owned()), "{damage}");
        assert!(
            matches!(only(&repair(&cache.manager).await).repair, Repair::Impossible(_)),
            "it is said what is lost"
        );
        assert_eq!(verify(&cache.manager).await.problems, [], "{damage}");
        assert_eq!(cache.manager.names().await.unwrap().len(), 0);
        cache.pull(&layers()).await;
        assert_eq!(cache.manager.names().await.unwrap().len(), 1);
    }
}
