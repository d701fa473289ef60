//! What commands see, and what they leave.

use lazyblob_cache::snapshot::Wanted;
use lazyblob_worker::executor::MountSource;
use lazyblob_worker::llb::{self, Mount};

use crate::support::{World, bound, ended, kinds, logs, run, tree};

#[tokio::test]
async fn a_root_is_changed_on_top_of_what_it_was() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let base = run(&llb::scratch(), &["write /a one", "write /d/b two"]).root();
        let top = run(&base, &["write /a three", "remove /d/b", "write /new four"]).root();
        assert_eq!(world.files(&top).await, tree([("a", "three"), ("d/", ""), ("new", "four")]));
        assert_eq!(world.files(&base).await, tree([("a", "one"), ("d/", ""), ("d/b", "two")]));
        assert_eq!(world.executor.runs(), 2, "the base was not run again");
        world.assert_clean().await;
        world.close().await;
    }
}

/// Outputs stand in the order of their numbers, whatever the order of mounts; what is not an output is thrown away.
#[tokio::test]
async fn each_output_is_what_became_of_its_mount() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let base = run(&llb::scratch(), &["write /who base"]).root();
        let other = run(&llb::scratch(), &["write /who other", "write /part/x y"]).root();
        let script =
            ["write /in root", "write /a/in a", "write /b/in b", "write /thrown/in t", "cat /ro/who"];
        let ran = run(&base, &script)
            .mount("/b", Mount::bind(&other))
            .mount("/a", Mount::bind(&llb::scratch()))
            .mount("/thrown", Mount::bind(&other).no_output())
            .mount("/ro", Mount::bind(&other).read_only())
            .mount("/part", Mount::bind(&other).select("part").read_only())
            .done();
        let a = ran.mounted("/a").unwrap();
        let b = ran.mounted("/b").unwrap();
        assert!(ran.mounted("/thrown").is_none() && ran.mounted("/ro").is_none());
        // As long as a job has the command, its other outputs are there.
        let (job, edge) = world.job(&ran.root()).await;
        job.build(&edge).await.unwrap();
        assert_eq!(world.files(&ran.root()).await, tree([("who", "base"), ("in", "root")]));
        assert_eq!(world.files(&a).await, tree([("in", "a")]));
        let wanted = tree([("who", "other"), ("part/", ""), ("part/x", "y"), ("in", "b")]);
        assert_eq!(world.files(&b).await, wanted);
        assert_eq!(world.files(&other).await, tree([("who", "other"), ("part/", ""), ("part/x", "y")]));
        assert_eq!(world.executor.runs(), 3);
        assert_eq!(logs(&ended(job).await), b"other");
        let process = world.theatre.process("write /in root");
        let read_only =
            |dest: &str| process.mounts.iter().find(|mount| mount.dest == dest).unwrap().read_only;
        assert_eq!(["/a", "/b", "/thrown", "/ro", "/part"].map(read_only), [false, false, false, true, true]);
        assert!(bound(&process, "/part").ends_with("part"));
        world.assert_clean().await;
        world.close().await;
    }
}

#[tokio::test]
async fn mounts_come_after_those_they_are_in() {
    let world = World::new(Wanted::Plain).await;
    let base = llb::scratch();
    let state = run(&base, &["say ran"])
        .mount("/a/b/c", Mount::tmpfs(0))
        .mount("/z", Mount::tmpfs(4096))
        .mount("/a/b", Mount::bind(&base).no_output())
        .mount("relative", Mount::tmpfs(0))
        .cwd("/w")
        .root();
    world.build(&state).await;
    let process = world.theatre.process("say ran");
    let dests: Vec<&str> = process.mounts.iter().map(|mount| mount.dest.as_str()).collect();
    assert_eq!(dests, ["/z", "/a/b", "/w/relative", "/a/b/c"]);
    let sizes = process.mounts.iter().map(|mount| match mount.source {
        MountSource::Tmpfs { size } => size,
        _ => Some(1),
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [Some(4096), Some(1), None, None]);
    world.assert_clean().await;
    world.close().await;
}

/// Nobody is kept from a root that is read-only by a tree that cannot have mount points.
#[tokio::test]
async fn a_read_only_root_is_no_output_and_is_left_as_it_was() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let base = run(&llb::scratch(), &["write /who base"]).root();
        let out = run(&base, &["cat /who", "write /stub x", "write /out/x y"])
            .read_only_root()
            .mount("/out", Mount::bind(&llb::scratch()))
            .done();
        assert_eq!(world.files(&out.mounted("/out").unwrap()).await, tree([("x", "y")]));
        assert_eq!(world.files(&base).await, tree([("who", "base")]));
        assert!(world.theatre.process("cat /who").read_only_root);
        world.assert_clean().await;
        world.close().await;
    }
}

#[tokio::test]
async fn what_is_selected_is_in_the_tree_or_an_error() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let outside = world.dir.path().join("outside");
        std::fs::write(&outside, "outside").unwrap();
        let up = format!("link /up ../../../../../../../..{}", outside.display());
        let absolute = format!("link /absolute {}", outside.display());
        let given = run(&llb::scratch(), &["write /d/f in", "link /in d/f", &up, &absolute]).root();
        let see = |path: &str| {
            // With keys of what is selected, whoever makes the keys would miss it first.
            let mount = Mount::bind(&given).select(path).read_only().content_keys(false);
            run(&llb::scratch(), &["cat /seen"]).mount("/seen", mount).root()
        };
        assert_eq!(world.said(&see("/in")).await, "in");
        for path in ["/up", "/absolute", "/d/none"] {
            let error = world.try_build(&see(path)).await.map(drop).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains("/seen"), "{error}");
        }
        assert_eq!(world.executor.runs(), 2, "nothing ran without what it was to see");
        world.assert_clean().await;
        world.close().await;
    }
}

/// A command that has no layer of its own: only what it wrote is kept, and no mount point.
#[tokio::test]
async fn nothing_but_what_the_command_wrote_is_kept() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let state = run(&llb::scratch(), &["say x"])
            .mount("/mnt/deep/cache", Mount::cache("c"))
            .mount("/mnt/tmp", Mount::tmpfs(0))
            .cwd("/work/dir")
            .root();
        assert_eq!(world.files(&state).await, tree([]));
        world.close().await;
    }
}
