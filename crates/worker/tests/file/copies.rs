//! Copies from images and other trees, and whose they are.

use futures::StreamExt as _;
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, image};
use lazyblob_remote::Access;
use lazyblob_worker::llb::{self, Copy, Files, Mkdir, Mkfile, Owner, host_platform, scratch};

use crate::support::{HOST, World, files, kinds, tree, warnings};

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/:/bin/sh\n";

async fn with_image(world: &World) -> llb::State {
    let layer = Tar::new()
        .dir("etc", 0o755)
        .file("etc/passwd", PASSWD)
        .file("etc/group", "staff:x:50:\n")
        .dir("src", 0o755)
        .file("src/a.go", "a")
        .file("src/b.md", "b")
        .symlink("src/l", "a.go")
        .end();
    let image = image(&[(layer, Packed::Gzip)]);
    world.registry.seed("app", "1", &image).await;
    world.registry.reset();
    llb::image(format!("{HOST}/app:1"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_copied_from_and_onto() {
    for wanted in kinds() {
        let world = World::new(wanted).await;
        let image = with_image(&world).await;
        let state =
            scratch().file(Copy::new(&image, "/src/*.go", "/out/").wildcard(false).create_dest_path());
        assert_eq!(world.files(&state).await, tree([("out/", ""), ("out/a.go", "a")]));
        let other = scratch().file(Mkfile::new("/new", 0o644, "new"));
        let onto = image.file(Copy::new(&other, "/new", "/src/"));
        let all = world.files(&onto).await;
        assert_eq!((all["src/new"].as_str(), all["src/a.go"].as_str(), all.len()), ("new", "a", 8));
        world.assert_clean().await;
        world.close().await;
    }
}

/// What an op does not read of the image is not its input's matter: an op that changes nothing but scratch pulls nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_read_is_not_pulled() {
    let world = World::new(kinds()[0]).await;
    let image = with_image(&world).await;
    let copied = scratch().file(Copy::new(&image, "/src/a.go", "/a"));
    let definition = copied.definition(&host_platform()).unwrap();
    let _graph = lazyblob_worker::ops::graph(&world.worker, &definition, &Default::default()).unwrap();
    assert_eq!(world.registry.log().len(), 0);
    world.files(&copied).await;
    let blobs =
        |world: &World| world.registry.log().iter().filter(|entry| entry.target.contains("/blobs/")).count();
    assert_eq!(blobs(&world), 2, "the config and the layer");
    world.files(&copied).await;
    assert_eq!(blobs(&world), 2);
    world.close().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn names_of_owners_are_those_of_the_tree_that_is_changed() {
    use std::os::unix::fs::MetadataExt as _;
    if !rustix::process::geteuid().is_root() {
        lazyblob_remote::testing::not_run("owners of files", "it wants root");
        return;
    }
    for wanted in kinds() {
        let world = World::new(wanted).await;
        let image = with_image(&world).await;
        let steps = Files::new()
            .then(Mkdir::new("/a", 0o755).owner(Owner::user("ann")))
            .then(Mkfile::new("/b", 0o644, "").owner(Owner::user("ann").group("staff")))
            .then(Mkfile::new("/c", 0o644, "").owner(Owner::user(7)))
            .then(Mkfile::new("/d", 0o644, "").owner(Owner::user(7).group(8)))
            .then(Mkfile::new("/etc/passwd", 0o644, "ann:x:1:1::/:/\n"))
            .then(Mkfile::new("/e", 0o644, "").owner(Owner::user("ann")))
            .then(Mkfile::new("/f", 0o644, "").owner(Owner::user("eve").group("nobody")));
        let definition = image.file(steps).definition(&host_platform()).unwrap();
        let (job, edge) = world.job(&definition).await;
        let built = job.build(&edge).await.unwrap().result;
        let view = built.tree().unwrap().view(&Access::anonymous()).await.unwrap();
        for (name, wanted) in [
            ("a", (1000, 1001)),
            ("b", (1000, 50)),
            ("c", (7, 7)),
            ("d", (7, 8)),
            ("e", (1000, 1001)),
            ("f", (0, 0)),
        ] {
            let meta = std::fs::metadata(view.path().join(name)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), wanted, "{name}");
        }
        view.close().await.unwrap();
        drop(built);
        let status = job.status();
        job.discard();
        let warned = warnings(&status.collect::<Vec<_>>().await);
        assert_eq!(warned.len(), 2, "{warned:?}");
        assert!(warned[0].contains("\"eve\" is not in /etc/passwd"), "{warned:?}");
        world.assert_clean().await;
        world.close().await;
    }
}

/// The empty tree may be copied from: it has nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_empty_tree_is_copied_from() {
    let world = World::new(kinds()[0]).await;
    let empty = scratch().file(Mkdir::new("/", 0o755));
    let state = scratch().file(Copy::new(&empty, "/*", "/d/").wildcard(true));
    assert_eq!(files(&world.try_build(&state).await.unwrap().result).await, tree([]));
    let said = world.fails(&scratch().file(Copy::new(&empty, "/f", "/g"))).await;
    assert!(said.contains("/f"), "{said}");
    world.assert_clean().await;
    world.close().await;
}
