use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use super::resolve::Place;
use super::*;

fn resolved(root: &Root, path: &str) -> PathBuf {
    match root.resolve(Path::new(path), &BTreeSet::new()).unwrap() {
        Place::InRoot(path) => path,
        Place::Covered => panic!("{path}"),
    }
}

#[test]
fn links_lead_where_the_root_is_slash() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    symlink("/a", dir.path().join("absolute")).unwrap();
    symlink("../../..", dir.path().join("a/b/up")).unwrap();
    symlink("nowhere/x", dir.path().join("a/dangling")).unwrap();
    symlink("self", dir.path().join("self")).unwrap();
    let root = Root::open(dir.path()).unwrap();
    for (path, wanted) in [
        ("/", ""),
        ("/../..", ""),
        ("/absolute/b", "a/b"),
        ("/a/b/up/a", "a"),
        ("/absolute/dangling/y", "a/nowhere/x/y"),
        ("/new/../a/./b", "a/b"),
        ("/new/deep", "new/deep"),
    ] {
        assert_eq!(resolved(&root, path), Path::new(wanted), "{path}");
    }
    let error = root.resolve(Path::new("/self"), &BTreeSet::new()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()));
}

#[test]
fn what_is_mounted_covers_what_is_below() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    symlink("/a", dir.path().join("link")).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let covered = BTreeSet::from([PathBuf::from("a")]);
    assert_eq!(root.resolve(Path::new("/link/x"), &covered).unwrap(), Place::Covered);
    assert_eq!(root.resolve(Path::new("/b"), &covered).unwrap(), Place::InRoot("b".into()));
}

#[test]
fn only_files_are_read_and_only_in_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root");
    fs::create_dir(&path).unwrap();
    fs::write(dir.path().join("outside"), "x").unwrap();
    symlink("../outside", path.join("link")).unwrap();
    fs::write(path.join("file"), "x").unwrap();
    symlink("/file", path.join("inside")).unwrap();
    let root = Root::open(&path).unwrap();
    assert!(root.read("/link").unwrap().is_none());
    assert!(root.read("/").unwrap().is_none());
    assert!(root.read("/inside").unwrap().is_some());
}

#[test]
fn mount_points_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let time = |path: &str| {
        let meta = fs::metadata(dir.path().join(path)).unwrap();
        (meta.mtime(), meta.mtime_nsec())
    };
    let before = (time(""), time("etc"));
    let mut stubs = Stubs::default();
    stubs.add(&root, "/etc/hosts", Kind::File, true).unwrap();
    stubs.add(&root, "/a/b", Kind::Dir, true).unwrap();
    stubs.add(&root, "/a/b/c", Kind::Dir, true).unwrap();
    assert!(dir.path().join("a/b").is_dir() && dir.path().join("etc/hosts").is_file());
    assert!(!dir.path().join("a/b/c").exists(), "that is in what is mounted");
    assert_ne!((time(""), time("etc")), before);
    stubs.remove(&root).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!((time(""), time("etc")), before);
}

#[test]
fn what_was_changed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let mut stubs = Stubs::default();
    stubs.add(&root, "/hosts", Kind::File, true).unwrap();
    stubs.add(&root, "/other", Kind::File, true).unwrap();
    stubs.add(&root, "/dir", Kind::Dir, true).unwrap();
    fs::write(dir.path().join("hosts"), "x").unwrap();
    fs::remove_file(dir.path().join("other")).unwrap();
    symlink("hosts", dir.path().join("other")).unwrap();
    fs::write(dir.path().join("dir/file"), "").unwrap();
    stubs.remove(&root).unwrap();
    for name in ["hosts", "other", "dir/file"] {
        assert!(fs::symlink_metadata(dir.path().join(name)).is_ok(), "{name}");
    }
}

#[test]
fn the_root_itself_is_no_mount_point() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    Stubs::default().add(&root, "/a/..", Kind::Dir, true).unwrap_err();
}
