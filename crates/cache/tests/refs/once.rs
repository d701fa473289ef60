//! Exactly once: whoever asks how, at the same time, each blob crosses the wire once.

use lazyblob_cache::manager::Settings;
use lazyblob_cache::testing::images::image;
use lazyblob_remote::Access;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::TestRegistry;

use crate::support::{Made, World, assert_idle, assert_tree_of, kinds, layers, made, read_lazily, stack};

/// BuildKit rows 13, 15, 17: 64 tasks extract, read and unlazy a ▸ b ▸ c and a ▸ d ▸ c, which have handlers for different
/// repositories.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_chains_fetch_each_blob_once() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let all = made(["a", "b", "c", "d"]);
        let [a, b, c, d] = &all;
        world.seed("one", &[a, b, c]).await;
        world.seed("other", &[a, d, c]).await;
        let one = stack(&manager, &[a, b, c], &world.handlers("one", &[a, b, c])).await;
        let other = stack(&manager, &[a, d, c], &world.handlers("other", &[a, d, c])).await;
        let tasks = (0..64_usize).map(|n| {
            let (of, layers) = if n % 2 == 0 { (&one, [a, b, c]) } else { (&other, [a, d, c]) };
            let (of, layers) = (of.clone(), layers.map(Clone::clone));
            tokio::spawn(async move {
                let access = Access::anonymous();
                match n / 2 % 3 {
                    0 => of.extract(&access).await.unwrap(),
                    1 => drop(of.unlazy(&access).await.unwrap()),
                    _ => {
                        for layer in &layers {
                            assert!(read_lazily(&of, layer, &access).await.unwrap() == layer.bytes);
                        }
                    }
                }
            })
        });
        for task in futures::future::join_all(tasks).await {
            task.unwrap();
        }
        for layer in &all {
            assert_eq!(world.gets(layer.digest()), 1, "{}: {:?}", layer.name, world.registry.lines());
        }
        assert_eq!(world.registry.lines().len(), 4, "and nothing else is asked");
        assert_tree_of(&one, &[a, b, c]);
        assert_tree_of(&other, &[a, d, c]);
        assert_eq!(super::support::snapshots(&manager).len(), 5);
        assert!(manager.store().ingests().list().await.unwrap().is_empty());
        drop((one, other));
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// 20 tasks pull and unpack one image: the bytes of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_pulls_and_unpacks_are_the_bytes_of_one() {
    let world = World::new().await;
    let layers = made(["a", "b", "c"]);
    let packed = [super::support::Packed::Plain, super::support::Packed::Gzip, super::support::Packed::Zstd];
    let tars: Vec<_> = layers.iter().zip(packed).map(|(layer, packed)| (layer.tar.clone(), packed)).collect();
    let image = image(&tars);
    world.registry.seed("big", "1", &image).await;
    world.registry.reset();
    let manager = world.manager().await;
    let pulls = (0..20).map(|_| {
        let (manager, pull) = (manager.clone(), world.pull_of("registry.test/big:1"));
        tokio::spawn(async move {
            let pulled = manager.pull(pull, &Access::anonymous()).await.unwrap();
            let top = pulled.image.top.clone().unwrap();
            top.extract(&Access::anonymous()).await.unwrap();
            top
        })
    });
    let tops = futures::future::join_all(pulls).await;
    let tops: Vec<_> = tops.into_iter().map(Result::unwrap).collect();
    for (descriptor, _) in &image.blobs {
        assert_eq!(world.gets(descriptor.digest()), 1, "{:?}", world.registry.lines());
    }
    assert_eq!(world.registry.requests(Kind::BlobGet), 4);
    assert!(world.registry.requests(Kind::ManifestGet) <= 20);
    let [a, b, c] = &layers;
    assert_tree_of(&tops[0], &[a, b, c]);
    assert!(tops.iter().all(|top| top.id() == tops[0].id()));
    drop(tops);
    manager.close().await.unwrap();
    drop(manager);
    assert_idle(world.root());
}

/// The same with one core and one transfer at a time: nobody waits for somebody who waits for him.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_core_is_enough() {
    let world = World::new().await;
    let settings = Settings { cpus: 1, ..Settings::default() };
    let manager = world.manager_with(&world.client, settings).await;
    let names: Vec<String> = (0..12).map(|n| format!("layer-{n}")).collect();
    let layers: Vec<Made> = names.iter().map(|name| Made::new(name, super::support::Packed::Gzip)).collect();
    let all: Vec<&Made> = layers.iter().collect();
    world.seed("app", &all).await;
    let opened = stack(&manager, &all, &world.handlers("app", &all)).await;
    let access = Access::anonymous();
    let work = futures::future::join_all((0..8).map(|_| opened.extract(&access)));
    let done = tokio::time::timeout(std::time::Duration::from_secs(60), work).await.unwrap();
    done.into_iter().for_each(|outcome| outcome.unwrap());
    assert_eq!(world.registry.requests(Kind::BlobGet), 12);
    assert_tree_of(&opened, &all);
    drop(opened);
    manager.close().await.unwrap();
}

/// A layer that occurs twice in a ref is fetched once, and unpacked in both its places.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_layer_in_two_places_is_fetched_once() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let manager = world.manager().await;
        let [a, b] = made(["a", "b"]);
        world.seed("app", &[&a, &b]).await;
        let twice = stack(&manager, &[&a, &b, &a], &world.handlers("app", &[&a, &b])).await;
        twice.extract(&Access::anonymous()).await.unwrap();
        assert_eq!((world.gets(a.digest()), world.gets(b.digest())), (1, 1));
        assert_tree_of(&twice, &[&a, &b, &a]);
        drop(twice);
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}
