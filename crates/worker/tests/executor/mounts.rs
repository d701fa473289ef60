//! What is mounted in a root.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lazyblob_worker::executor::{MountSource, Mounted};

use crate::support::World;

pub(crate) fn bind(dest: &str, source: &Path, read_only: bool) -> Mounted {
    Mounted { dest: dest.to_owned(), source: MountSource::Bind(source.to_owned()), read_only, is_own: true }
}

fn tmpfs(dest: &str, size: Option<u64>) -> Mounted {
    Mounted { dest: dest.to_owned(), source: MountSource::Tmpfs { size }, read_only: false, is_own: true }
}

#[tokio::test]
async fn bind_mounts() {
    let Some(world) = World::new("bind mounts").await else { return };
    let (ro, rw, file) =
        (world.dir.path().join("ro"), world.dir.path().join("rw"), world.dir.path().join("file"));
    fs::create_dir(&ro).unwrap();
    fs::create_dir(&rw).unwrap();
    fs::write(ro.join("text"), "read").unwrap();
    fs::write(&file, "secret").unwrap();
    let mut process = world.sh("cat /a/ro/text /run/secrets/x; touch /a/ro/x && exit 1; echo made >/a/rw/x");
    process.mounts =
        vec![bind("/a/ro", &ro, true), bind("/a/rw", &rw, false), bind("/run/secrets/x", &file, true)];
    assert_eq!(world.text(process).await, "readsecret");
    assert_eq!(fs::read_to_string(rw.join("x")).unwrap(), "made\n");
    assert!(!ro.join("x").exists());
    world.close().await;
}

#[tokio::test]
async fn memory_of_a_size() {
    let Some(world) = World::new("tmpfs").await else { return };
    let mut process = world.sh("dd if=/dev/zero of=/mem/x bs=1k count=32 || exit 1; dd if=/dev/zero of=/mem/y bs=1k count=64 && exit 2; true");
    process.mounts = vec![tmpfs("/mem", Some(64 << 10))];
    world.text(process).await;
    world.close().await;
}

/// Wherever a mount's path leads, it leads there with the root as `/`.
#[tokio::test]
async fn mounts_stay_inside_the_root() {
    let Some(world) = World::new("mounts that escape").await else { return };
    let outside = world.dir.path().join("outside");
    let source = world.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("text"), "here").unwrap();
    symlink(&outside, world.root.join("absolute")).unwrap();
    symlink("../../../../..", world.root.join("up")).unwrap();
    let before = fs::read_dir(world.dir.path()).unwrap().count();
    for dest in ["/absolute", "/absolute/deep", "/up/mnt", "/../../mnt", "/a/../../b/mnt"] {
        let mut process = world.sh(&format!("cat {dest}/text"));
        process.mounts = vec![bind(dest, &source, true)];
        process.remove_stubs_recursively = true;
        if dest == "/a/../../b/mnt" {
            process.args[2] = "cat /b/mnt/text".to_owned();
        }
        assert_eq!(world.text(process).await, "here", "{dest}");
        assert!(!outside.exists(), "{dest}");
        assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), before, "{dest}");
        assert!(!world.root.join("mnt").exists(), "{dest}");
    }
    world.close().await;
}

#[tokio::test]
async fn a_mount_within_a_mount() {
    let Some(world) = World::new("mounts in mounts").await else { return };
    let source = world.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("text"), "here").unwrap();
    let mut process = world.sh("cat /mem/in/text");
    process.mounts = vec![tmpfs("/mem", None), bind("/mem/in", &source, true)];
    assert_eq!(world.text(process).await, "here");
    assert!(!world.root.join("mem").exists());
    world.close().await;
}

#[tokio::test]
async fn a_source_that_is_not_there() {
    let Some(world) = World::new("mounts of nothing").await else { return };
    let before = crate::support::tree(&world.root);
    let mut process = world.sh("true");
    process.mounts = vec![tmpfs("/mem", None), bind("/x", &world.dir.path().join("missing"), true)];
    let error = world.run(process).await.0.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert_eq!(crate::support::tree(&world.root), before, "what was made before is gone");
    world.close().await;
}

/// A secret in an output leaves nothing there; in what others use as well, the file that it is mounted on stays, since one
/// of them may have something mounted on it.
#[tokio::test]
async fn mount_points_in_what_is_mounted_are_taken_away() {
    let Some(world) = World::new("mount points in mounts").await else { return };
    let [output, shared] = ["output", "shared"].map(|name| world.dir.path().join(name));
    fs::create_dir_all(output.join("there")).unwrap();
    fs::create_dir(&shared).unwrap();
    symlink("/src/there", output.join("link")).unwrap();
    let secret = world.dir.path().join("secret");
    fs::write(&secret, "hunter2").unwrap();
    let before = crate::support::tree(&output);
    let mut process = world.sh("cat /src/.npmrc /src/link/key /src/new/key /cache/key; cat /src/mem/in/x");
    process.mounts = vec![
        bind("/src", &output, false),
        Mounted { is_own: false, ..bind("/cache", &shared, false) },
        bind("/src/.npmrc", &secret, true),
        bind("/cache/key", &secret, true),
        tmpfs("/src/mem", None),
        bind("/src/link/key", &secret, true),
        bind("/src/new/key", &secret, true),
        bind("/src/mem/in/x", &secret, true),
    ];
    process.remove_stubs_recursively = true;
    assert_eq!(world.text(process).await, "hunter2".repeat(5));
    assert_eq!(crate::support::tree(&output), before);
    assert_eq!(fs::metadata(shared.join("key")).unwrap().len(), 0);
    assert!(!world.root.join("src").exists() && !world.root.join("cache").exists());
    world.close().await;
}
