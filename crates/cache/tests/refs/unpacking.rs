//! Layers unpacked side by side: in what order they are seen, what they wait for, and what is left of those that fail.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lazyblob_cache::manager::Settings;
use lazyblob_cache::testing::images::image;
use lazyblob_cache::{Error, GetOptions};
use lazyblob_remote::error::Mismatch;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, Image, TestRegistry, Toxic};
use lazyblob_remote::{Access, Descriptor, Manifest, digest, media};

use crate::support::{
    Packed, World, assert_idle, assert_tree_of, keys, kinds, layers, made, remove_behind_our_back, snapshots,
    stack, stored, until,
};

/// All that is below a directory.
fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { [vec![path.clone()], below(&path)].concat() } else { vec![path] })
        .collect()
}

/// Rows 69, 70: with one core, and while the bottom layer does not come, the layers above it are unpacked. None of them is
/// seen before the one below it is, and nothing is left of them when nobody wants them any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_received_holds_up_no_unpacking_and_layers_are_seen_in_their_order() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let settings = Settings { cpus: 1, ..Settings::default() };
        let manager = world.manager_with(&world.client, settings).await;
        let [a, b, c] = made(["a", "b", "c"]);
        world.seed("app", &[&a, &b, &c]).await;
        let top = stack(&manager, &[&a, &b, &c], &world.handlers("app", &[&a, &b, &c])).await;
        let a_path = a.digest().to_string();
        world.registry.add(Toxic::new(Effect::Hang).on(Kind::BlobGet).path(a_path));
        let access = Access::anonymous();
        let staging = world.root().join("staging");
        let unpacked = |name: &str| {
            let who = |path: &PathBuf| {
                path.ends_with("who") && fs::read_to_string(path).is_ok_and(|who| who == name)
            };
            below(&staging).iter().any(who)
        };
        let mut work = Box::pin(top.extract(&access));
        tokio::select! {
            outcome = &mut work => panic!("the bottom layer does not come: {outcome:?}"),
            () = until("the layers above are unpacked", || unpacked("b") && unpacked("c")) => {}
        }
        assert!(snapshots(&manager).is_empty(), "none is seen without those below");
        drop(work);
        until("they are gone again", || !unpacked("b") && !unpacked("c")).await;
        assert!(snapshots(&manager).is_empty());
        world.registry.behave();
        top.extract(&access).await.unwrap();
        assert_tree_of(&top, &[&a, &b, &c]);
        assert_eq!(snapshots(&manager).len(), 3);
        assert_eq!((world.gets(b.digest()), world.gets(c.digest())), (1, 1), "their blobs were kept");
        drop(top);
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// Row 69: where one layer cannot be had, those above leave no tree behind, and those below are good.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_layer_that_fails_takes_those_above_with_it() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let [a, b, c] = made(["a", "b", "c"]);
        world.seed("app", &[&a, &c]).await;
        let handlers = world.handlers("app", &[&a, &b, &c]);
        let top = stack(&manager, &[&a, &b, &c], &handlers).await;
        let error = top.extract(&Access::anonymous()).await.unwrap_err();
        assert!(error.to_string().contains(&b.digest().to_string()), "{error}");
        let bottom = stack(&manager, &[&a], &handlers).await;
        let keys = keys(&top);
        assert!(snapshots(&manager).iter().all(|key| *key == keys[0]));
        bottom.extract(&Access::anonymous()).await.unwrap();
        assert_tree_of(&bottom, &[&a]);
        assert_eq!(world.gets(a.digest()), 1);
        drop((top, bottom));
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// Row 71a: a layer that is whole and is not what its config says is refused, and neither it nor those above are seen.
#[tokio::test]
async fn a_layer_that_is_not_what_its_config_says() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let [a, mut b, c] = made(["a", "b", "c"]);
        world.seed("app", &[&a, &b, &c]).await;
        let actual = b.blob.diff_id.clone();
        b.blob.diff_id = digest::sha256(b"another tar");
        let top = stack(&manager, &[&a, &b, &c], &world.handlers("app", &[&a, &b, &c])).await;
        let error = top.extract(&Access::anonymous()).await.unwrap_err();
        let Error::Integrity { mismatch: Mismatch::DiffId { expected, actual: found }, .. } = error.root()
        else {
            panic!("{error}")
        };
        assert_eq!((expected, found), (&b.blob.diff_id.to_string(), &actual.to_string()));
        assert!(!snapshots(&manager).iter().any(|key| keys(&top)[1..].contains(key)));
        // Again, with the blob here: it is no better for that.
        let again = top.extract(&Access::anonymous()).await.unwrap_err();
        assert!(matches!(again.root(), Error::Integrity { .. }), "{again}");
        drop(top);
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// An image whose config names `count` diffIDs, and whose manifest has two layers.
fn disagreeing(count: usize) -> Image {
    let layers = [(made(["x"])[0].tar.clone(), Packed::Gzip), (made(["y"])[0].tar.clone(), Packed::Gzip)];
    let mut image = image(&layers);
    let ids = vec![digest::sha256(b"z").to_string(); count];
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let config = Bytes::from(config.to_string());
    let described = Descriptor::new(media::OCI_CONFIG.into(), config.len() as u64, digest::sha256(&config));
    let mut manifest: serde_json::Value = serde_json::from_slice(image.manifest.bytes()).unwrap();
    manifest["config"] = serde_json::to_value(&described).unwrap();
    image.manifest =
        Manifest::parse(manifest.to_string().into(), Some(media::OCI_MANIFEST), None, "a test's").unwrap();
    image.blobs[0] = (described, config);
    image
}

/// Row 71b: an image with more layers than diffIDs, or fewer, is refused before anything of it is made.
#[tokio::test]
async fn as_many_diff_ids_as_layers() {
    for count in [0, 1, 3] {
        let world = World::new().await;
        let manager = world.manager().await;
        world.registry.seed("odd", "1", &disagreeing(count)).await;
        world.registry.reset();
        let pull = world.pull_of("registry.test/odd:1");
        let error = manager.pull(pull, &Access::anonymous()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(
            error.to_string().contains(&format!("2 layers, and its config names {count} diffIDs")),
            "{error}"
        );
        assert!(manager.usage(&[]).await.unwrap().entries.is_empty(), "no record");
        assert!(manager.names().await.unwrap().is_empty(), "no name");
        assert_eq!(world.registry.requests(Kind::BlobGet), 1, "the config alone");
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// Row 72: of an image whose snapshots are here no blob is fetched. Where one snapshot has gone its blob is, and no other
/// one, whichever it is; where another compression of that is here, not even that.
#[tokio::test]
async fn what_a_snapshotter_has_is_not_fetched() {
    for wanted in kinds() {
        for gone in 0..3 {
            let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
            let manager = world.manager().await;
            let all = made(["a", "b", "c"]);
            let layers = [&all[0], &all[1], &all[2]];
            world.seed("app", &layers).await;
            let handlers = world.handlers("app", &layers);
            let top = stack(&manager, &layers, &handlers).await;
            top.extract(&Access::anonymous()).await.unwrap();
            let id = top.id();
            let lost = keys(&top)[gone].clone();
            drop(top);
            manager.close().await.unwrap();
            drop(manager);
            layers.iter().for_each(|layer| remove_behind_our_back(world.root(), layer.digest()));
            assert!(stored(world.root()).is_empty());
            world.registry.reset();

            let manager = world.process().await;
            // Nobody need know a way to blobs whose trees are here.
            let top = manager.get(&id, GetOptions::default()).await.unwrap();
            top.extract(&Access::anonymous()).await.unwrap();
            assert_tree_of(&top, &layers);
            assert_eq!(world.registry.lines(), Vec::<String>::new());
            fs::remove_dir_all(manager.snapshots().directory(&lost).unwrap().parent().unwrap()).unwrap();
            let options = GetOptions { handlers, ..GetOptions::default() };
            let top = (manager.get(&id, options).await.unwrap(), top).0;
            top.extract(&Access::anonymous()).await.unwrap();
            assert_tree_of(&top, &layers);
            let gets: Vec<usize> = layers.iter().map(|layer| world.gets(layer.digest())).collect();
            assert_eq!(gets[gone], 1, "{:?}", world.registry.lines());
            assert_eq!(gets.iter().sum::<usize>(), 1, "{:?}", world.registry.lines());
            drop(top);
            manager.close().await.unwrap();
        }
    }
}
