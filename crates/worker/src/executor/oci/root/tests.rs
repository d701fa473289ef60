use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use super::resolve::{Covers, Place};
use super::*;

fn resolved(root: &Root, path: &str) -> PathBuf {
    match root.resolve(Path::new(path), &Covers::default()).unwrap() {
        Place::InRoot(path) => path,
        _ => panic!("{path}"),
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
    let error = root.resolve(Path::new("/self"), &Covers::default()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()));
}

#[test]
fn what_is_mounted_covers_what_is_below() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    symlink("/a", dir.path().join("link")).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let mut covered = Covers::default();
    covered.cover("a".into(), None);
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
    stubs.add(&root, "/etc/hosts", Kind::File, true, None).unwrap();
    stubs.add(&root, "/a/b", Kind::Dir, true, None).unwrap();
    stubs.add(&root, "/a/b/c", Kind::Dir, true, None).unwrap();
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
    stubs.add(&root, "/hosts", Kind::File, true, None).unwrap();
    stubs.add(&root, "/other", Kind::File, true, None).unwrap();
    stubs.add(&root, "/dir", Kind::Dir, true, None).unwrap();
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
    Stubs::default().add(&root, "/a/..", Kind::Dir, true, None).unwrap_err();
}

/// Links within what is mounted lead where the command sees them, also out of it and into something else.
#[test]
fn mount_points_in_what_is_mounted_come_and_go() {
    let (dir, one, two) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(one.path().join("sub")).unwrap();
    symlink("/other/deep", one.path().join("link")).unwrap();
    symlink("../..", one.path().join("sub/up")).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let before = || {
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        [dir.path().to_owned(), one.path().to_owned(), one.path().join("sub"), two.path().to_owned()]
            .map(|path| (modified(&path), fs::read_dir(&path).unwrap().count()))
    };
    let was = before();
    let mut stubs = Stubs::default();
    let tree = |path: &Path| Some(Root::open(path).unwrap());
    stubs.add(&root, "/src", Kind::Dir, true, tree(one.path())).unwrap();
    stubs.add(&root, "/other", Kind::Dir, true, tree(two.path())).unwrap();
    stubs.add(&root, "/again", Kind::Dir, true, tree(one.path())).unwrap();
    for (dest, made) in [
        ("/src/.npmrc", one.path().join(".npmrc")),
        ("/src/sub/key", one.path().join("sub/key")),
        ("/src/link/key", two.path().join("deep/key")),
        ("/src/sub/up/top", dir.path().join("top")),
        ("/again/sub/second", one.path().join("sub/second")),
    ] {
        stubs.add(&root, dest, Kind::File, true, None).unwrap();
        assert!(made.is_file(), "{dest}");
    }
    stubs.add(&root, "/src/mem", Kind::Dir, true, None).unwrap();
    stubs.add(&root, "/src/mem/in", Kind::Dir, true, None).unwrap();
    assert_eq!(fs::read_dir(one.path().join("mem")).unwrap().count(), 0, "that is in what is mounted there");
    stubs.remove(&root).unwrap();
    assert_eq!(before(), was);
}
