//! A root holds what the command wrote, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use lazyblob_worker::executor::{MountSource, Mounted};

use crate::support::{World, tree};

fn tmpfs(dest: &str) -> Mounted {
    Mounted {
        dest: dest.to_owned(),
        source: MountSource::Tmpfs { size: None },
        read_only: false,
        is_own: true,
    }
}

#[tokio::test]
async fn a_command_that_writes_nothing_changes_nothing() {
    let Some(world) = World::new("traces").await else { return };
    let before = tree(&world.root);
    let mut process = world.sh("true");
    process.mounts = vec![tmpfs("/bin/x"), tmpfs("/a/b/c")];
    process.remove_stubs_recursively = true;
    world.text(process).await;
    assert_eq!(tree(&world.root), before);
    world.close().await;
}

#[tokio::test]
async fn directories_above_a_mount_stay_unless_they_are_to_go() {
    let Some(world) = World::new("traces").await else { return };
    let mut process = world.sh("true");
    process.mounts = vec![tmpfs("/a/b/c")];
    let before = tree(&world.root);
    world.text(process).await;
    let mut after = tree(&world.root);
    let made: Vec<PathBuf> = ["a", "a/b"].map(PathBuf::from).to_vec();
    for path in &made {
        after.remove(path).unwrap();
    }
    // The root has got a directory.
    assert_ne!(after[&PathBuf::new()], before[&PathBuf::new()]);
    assert_eq!(after.len(), before.len(), "/etc is gone, and the mount point");
    world.close().await;
}

/// As in many images: `/etc/resolv.conf` leads to where nothing is.
#[tokio::test]
async fn a_link_to_nothing_stays_one() {
    let Some(world) = World::new("traces").await else { return };
    fs::create_dir(world.root.join("etc")).unwrap();
    symlink("../run/resolve/stub.conf", world.root.join("etc/resolv.conf")).unwrap();
    let before = tree(&world.root);
    let text = world.text(world.sh("cat /etc/resolv.conf")).await;
    assert_eq!(text, fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    assert_eq!(tree(&world.root), before);
    world.close().await;
}

#[tokio::test]
async fn what_the_command_wrote_stays() {
    let Some(world) = World::new("traces").await else { return };
    let before = tree(&world.root);
    let mut process = world.sh("mkdir /a/own; touch /a/file; rm -r /bin/grep; echo x >/mnt/lost");
    process.mounts = vec![tmpfs("/a/b"), tmpfs("/mnt")];
    process.remove_stubs_recursively = true;
    world.text(process).await;
    let after = tree(&world.root);
    let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert_eq!(new, [&PathBuf::from("a"), &PathBuf::from("a/file"), &PathBuf::from("a/own")]);
    assert!(!after.contains_key(&PathBuf::from("bin/grep")));
    // The command changed this directory: its time is the command's.
    assert_ne!(after[&PathBuf::from("bin")], before[&PathBuf::from("bin")]);
    world.close().await;
}

/// The command puts a link in the place of a directory above a mount point: nothing is removed where it leads.
#[tokio::test]
async fn a_link_in_the_place_of_a_directory() {
    let Some(world) = World::new("traces").await else { return };
    let outside = world.dir.path().join("outside");
    fs::create_dir_all(outside.join("c")).unwrap();
    let mut process =
        world.sh(&format!("/bin/busybox mv /a /moved && /bin/busybox ln -s {} /a", outside.display()));
    process.mounts = vec![tmpfs("/a/b/c")];
    process.remove_stubs_recursively = true;
    let (exit, _) = world.run(process).await;
    exit.unwrap();
    assert!(outside.join("c").is_dir());
    world.close().await;
}
