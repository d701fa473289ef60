//! Transfers that break while their layer is unpacked, and those that the next run goes on with.

use lazyblob_remote::Access;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, TestRegistry, Toxic};

use crate::support::{
    Made, Packed, World, assert_idle, assert_tree_of, kinds, layers, made, noise, stack, text, tree, until,
};

fn ranges(world: &World) -> Vec<Option<String>> {
    let log = world.registry.log();
    log.into_iter().filter(|entry| entry.kind == Kind::BlobGet).map(|entry| entry.range).collect()
}

/// A transfer that is cut goes on where it was, and so does the unpacking.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cut_transfer_goes_on() {
    for wanted in kinds() {
        for packed in [Packed::Plain, Packed::Gzip, Packed::Zstd] {
            let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
            let manager = world.manager().await;
            let a = Made::new("a", packed);
            world.seed("app", &[&a]).await;
            world.registry.add(Toxic::new(Effect::CutBody(20_000)).on(Kind::BlobGet).times(2));
            let top = stack(&manager, &[&a], &world.handlers("app", &[&a])).await;
            top.extract(&Access::anonymous()).await.unwrap();
            assert_tree_of(&top, &[&a]);
            let ranges = ranges(&world);
            assert_eq!(ranges.len(), 3);
            assert_eq!(ranges[0], None);
            assert!(
                ranges[1].as_deref().is_some_and(|range| range.starts_with("bytes=20000-")),
                "{ranges:?}"
            );
            assert!(
                ranges[2].as_deref().is_some_and(|range| range.starts_with("bytes=40000-")),
                "{ranges:?}"
            );
            drop(top);
            manager.close().await.unwrap();
            drop(manager);
            assert_idle(world.root());
        }
    }
}

/// Bytes that are not what they should be are fetched once more, and the layer is unpacked of the right ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn corrupt_bytes_are_fetched_again() {
    for packed in [Packed::Plain, Packed::Gzip, Packed::Zstd] {
        let world = World::new().await;
        let manager = world.manager().await;
        let a = Made::new("a", packed);
        world.seed("bad", &[&a]).await;
        world.seed("good", &[&a]).await;
        world.registry.add(Toxic::new(Effect::Corrupt(30_000)).on(Kind::BlobGet).path("/v2/bad/"));
        let good = stack(&manager, &[&a], &world.handlers("good", &[&a])).await;
        let bad = stack(&manager, &[&a], &world.handlers("bad", &[&a])).await;
        let outcome = bad.extract(&Access::anonymous()).await;
        outcome.unwrap_or_else(|error| panic!("{packed:?}: {error}"));
        assert_tree_of(&bad, &[&a]);
        let asked = world.registry.lines().concat();
        assert!(asked.contains("/v2/bad/") && asked.contains("/v2/good/"), "{asked}");
        drop((good, bad));
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}

/// Row 34: what came before the process ended is not fetched again: the next one asks for the rest, and reads the first
/// part from the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_next_process_goes_on() {
    for wanted in kinds() {
        let world = World::of(TestRegistry::builder(), &layers(), wanted).await;
        let big =
            lazyblob_cache::testing::Tar::new().dir("a", 0o755).file("a/data", noise("a", 3_000_000)).end();
        let a = Made::of("a", big, Packed::Zstd);
        let [b] = made(["b"]);
        world.seed("app", &[&a, &b]).await;
        let at = 2_000_000;
        let path = a.digest().to_string();
        world.registry.add(Toxic::new(Effect::CutBody(at)).on(Kind::BlobGet).path(&path).times(1));
        world.registry.add(Toxic::new(Effect::Hang).on(Kind::BlobGet).path(&path).after(1).times(1));
        let manager = world.process().await;
        let top = stack(&manager, &[&a, &b], &world.handlers("app", &[&a, &b])).await;
        let id = top.id();
        let work = tokio::spawn(async move { top.extract(&Access::anonymous()).await });
        until("the rest is waited for", || world.registry.requests(Kind::BlobGet) == 3).await;
        work.abort();
        drop(work.await);
        manager.close().await.unwrap();
        drop(manager);
        world.registry.reset();

        let manager = world.process().await;
        let handlers = world.handlers("app", &[&a, &b]);
        let options = lazyblob_cache::GetOptions { handlers, ..lazyblob_cache::GetOptions::default() };
        let top = manager.get(&id, options).await.unwrap();
        top.extract(&Access::anonymous()).await.unwrap();
        let asked = ranges(&world);
        let expected = format!("bytes={at}-{}", a.bytes.len() - 1);
        let of_a: Vec<_> = asked.iter().flatten().collect();
        assert_eq!(of_a, [&expected], "{asked:?}");
        let (dir, made) = tree(&top);
        assert!(std::fs::read(dir.path().join("tree/a/data")).unwrap() == noise("a", 3_000_000));
        assert_eq!(text(dir.path().join("tree/who")), "b");
        assert_eq!(made.names(), ["a", "a/data", "b", "b/data", "who"]);
        drop(top);
        manager.close().await.unwrap();
        drop(manager);
        assert_idle(world.root());
    }
}
