//! Ops that fail, are cancelled, or whose input is gone.

use std::fs;

use lazyblob_worker::llb::{Copy, Files, Mkdir, Mkfile, Rm, host_platform, scratch};

use crate::support::{World, kinds, tree};

/// The message names the action, the path as it was written, and the cause; nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said() {
    for wanted in kinds() {
        let world = World::new(wanted).await;
        let base = scratch().file(Mkfile::new("/f", 0o644, "x"));
        for (state, said) in [
            (base.file(Rm::new("/none")), "remove /none: /none: No such file or directory"),
            (base.file(Mkdir::new("/a/b", 0o755)), "make directory /a/b: /a/b: No such file or directory"),
            (base.file(Mkfile::new("/a/b", 0o755, "")), "make file /a/b: /a/b: No such file or directory"),
            (
                base.file(Files::new().then(Mkfile::new("/g", 0o644, "")).then(Rm::new("/none"))),
                "remove /none: /none: No such file or directory",
            ),
        ] {
            let error = world.fails(&state).await;
            assert!(error.contains(said), "{error}");
            assert!(!error.contains(world.dir.path().to_str().unwrap()), "{error}");
        }
        world.assert_clean().await;
        assert_eq!(world.files(&base).await, tree([("f", "x")]));
        world.close().await;
    }
}

/// A job that is discarded in the middle of a large copy leaves no tree that may change, and no mount.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_cancelled_leaves_nothing() {
    for wanted in kinds() {
        let world = World::new(wanted).await;
        let data = vec![7_u8; 8 << 20];
        let base = (0..4)
            .fold(scratch(), |base, at| base.file(Mkfile::new(format!("/large{at}"), 0o644, data.clone())));
        world.try_build(&base).await.unwrap();
        for _ in 0..3 {
            let steps = (0..40).fold(Files::new(), |steps, at| {
                steps.then(Copy::new(&base, "/", format!("/copy{at}")).create_dest_path())
            });
            let definition = scratch().file(steps).definition(&host_platform()).unwrap();
            let (job, edge) = world.job(&definition).await;
            let mut build = Box::pin(job.build(&edge));
            // Until something of it is on the disk.
            let begun = || {
                let trees = fs::read_dir(world.dir.path().join("snapshots")).unwrap().flatten();
                trees.flat_map(|tree| walk(&tree.path())).any(|path| path.ends_with("copy0/large0"))
            };
            tokio::select! {
                built = &mut build => panic!("it was to be cancelled: {:?}", built.map(|built| built.cached)),
                () = async { while !begun() { tokio::task::yield_now().await; } } => {}
            }
            drop(build);
            job.discard();
            world.solver.job(Default::default()).await.unwrap().discard();
        }
        world.solver.close().await;
        world.assert_clean().await;
        world.manager.close().await.unwrap();
    }
}

/// A tree that is gone from the disk is made again, and what was to be done to it is done.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_gone_is_made_again() {
    for wanted in kinds() {
        let world = World::new(wanted).await;
        let base = scratch().file(Mkfile::new("/f", 0o644, "x"));
        let one = base.file(Mkfile::new("/g", 0o644, "y"));
        assert_eq!(world.files(&one).await.len(), 2);
        let trees = fs::read_dir(world.dir.path().join("snapshots")).unwrap().flatten();
        let lost = trees.filter(|tree| walk(&tree.path()).iter().any(|path| path.ends_with("f")));
        let lost: Vec<_> = lost.map(|tree| fs::remove_dir_all(tree.path()).unwrap()).collect();
        assert!(!lost.is_empty());
        let other = base.file(Mkfile::new("/h", 0o644, "z"));
        assert_eq!(world.files(&other).await, tree([("f", "x"), ("h", "z")]));
        world.assert_clean().await;
        world.close().await;
    }
}

fn walk(root: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![(root.to_owned(), 0)];
    while let Some((dir, depth)) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if depth < 4 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push((path.clone(), depth + 1));
            }
            found.push(path);
        }
    }
    found
}
