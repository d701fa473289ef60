//! What is said of copies: mode, owner, times, attributes, names of one file, holes.

use std::fs::{self, File, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use lazyblob_cache::testing::Tree;
use lazyblob_cache::testing::tree::Part;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lgetxattr, lsetxattr, makedev, mknodat};

use super::{FileActionCopy, Trees, copied, dockerfile, is_root, listed};

fn chmod(trees: &Trees, name: &str, mode: u32) {
    fs::set_permissions(trees.from().join(name), Permissions::from_mode(mode)).unwrap();
}

/// A tree with everything in it that a tree may have.
fn everything() -> Trees {
    let trees = Trees::new(&["d/a=a", "d/s/b=b", "d/s/t/c=c", "d/l->a", "d/out->/outside", "d/w="], &[]);
    let from = trees.from().join("d");
    chmod(&trees, "d/a", 0o4755);
    chmod(&trees, "d/s", 0o2750);
    chmod(&trees, "d/s/t", 0o500);
    chmod(&trees, "d/w", 0);
    fs::hard_link(from.join("s/b"), from.join("s/t/again")).unwrap_or_else(|error| {
        assert!(!rustix::process::geteuid().is_root(), "{error}");
    });
    fs::hard_link(from.join("s/b"), from.join("b")).unwrap();
    let mut sparse = File::create(from.join("sparse")).unwrap();
    sparse.write_all(b"head").unwrap();
    sparse.seek(SeekFrom::Start(3 << 20)).unwrap();
    sparse.write_all(b"middle").unwrap();
    sparse.set_len(8 << 20).unwrap();
    fs::write(from.join("large"), vec![7; (2 << 20) + 5]).unwrap();
    mknodat(CWD, from.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    lsetxattr(from.join("a"), "user.note", b"a note", XattrFlags::empty()).unwrap();
    lsetxattr(from.join("s"), "user.dir", &[0; 5000][..3000], XattrFlags::empty()).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(from.join("s"), Some(7), Some(8)).unwrap();
        lchown(from.join("l"), Some(9), Some(10)).unwrap();
        lsetxattr(from.join("large"), "trusted.mine", b"1", XattrFlags::empty()).unwrap();
        let caps = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        lsetxattr(from.join("large"), "security.capability", &caps, XattrFlags::empty()).unwrap();
        mknodat(CWD, from.join("null"), FileType::CharacterDevice, Mode::RWXU, makedev(1, 3)).unwrap();
        mknodat(CWD, from.join("disk"), FileType::BlockDevice, Mode::RWXU, makedev(250, 7)).unwrap();
    }
    for name in ["a", "s/b", "s/t/c", "s/t", "s", "."] {
        let file = File::open(from.join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::new(1_000_000_000 + name.len() as u64, 42)).unwrap();
    }
    trees
}

/// A copy is what `cp -a` makes: owners, modes, times, attributes, names of one file, pipes and devices, holes.
#[test]
fn a_copy_is_what_cp_makes() {
    if !is_root("trees with all kinds of files") {
        return;
    }
    let trees = everything();
    trees.act(copied("/d", "/e"), None).unwrap();
    let peer = trees.dir.path().join("peer");
    let status =
        Command::new("cp").args(["-a", "--sparse=auto"]).arg(trees.from().join("d")).arg(&peer).status();
    assert!(status.unwrap().success());
    let [own, peers, source] =
        [&trees.to().join("e"), &peer, &trees.from().join("d")].map(|path| Tree::of(path).unwrap());
    own.clone().without(Part::Holes).assert_equals(&peers.without(Part::Holes));
    own.assert_equals(&source);
}

/// A second copy over the first changes nothing, and directories that were there get what their sources have.
#[test]
fn a_copy_over_a_copy_is_the_same() {
    if !is_root("trees with all kinds of files") {
        return;
    }
    let trees = everything();
    trees.act(copied("/d", "/e"), None).unwrap();
    fs::set_permissions(trees.to().join("e/s"), Permissions::from_mode(0o700)).unwrap();
    chown(trees.to().join("e/s"), Some(1), Some(1)).unwrap();
    trees.act(dockerfile("/d", "/e"), None).unwrap();
    let [own, source] = [trees.to().join("e"), trees.from().join("d")].map(|path| Tree::of(&path).unwrap());
    own.assert_equals(&source);
}

#[test]
fn what_is_on_disk_is_no_larger_than_it_was() {
    let trees = everything();
    trees.act(copied("/d/sparse", "/sparse"), None).unwrap();
    let meta = fs::metadata(trees.to().join("sparse")).unwrap();
    assert_eq!(meta.len(), 8 << 20);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
}

#[test]
fn modes_of_copies_are_those_that_are_said() {
    let trees = || {
        let trees = Trees::new(&["d/x=x", "d/s/y=y", "d/l->x"], &[]);
        chmod(&trees, "d/x", 0o744);
        chmod(&trees, "d/s", 0o700);
        chmod(&trees, "d/s/y", 0o640);
        trees
    };
    for (mode, mode_str, wanted) in [
        (-1, "", [0o744, 0o700, 0o640]),
        (0o600, "", [0o600, 0o600, 0o600]),
        (0o4711, "", [0o4711, 0o4711, 0o4711]),
        (0, "", [0, 0, 0]),
        (-1, "0755", [0o755, 0o755, 0o755]),
        (0o111, "u=rwX,go=rX", [0o755, 0o755, 0o644]),
        (-1, "go-rwx", [0o700, 0o700, 0o600]),
        (-1, "a+X", [0o755, 0o711, 0o640]),
    ] {
        if mode == 0o600 && !rustix::process::geteuid().is_root() {
            continue;
        }
        let (trees, mode_str) = (trees(), mode_str.to_owned());
        trees.act(FileActionCopy { mode, mode_str: mode_str.clone(), ..copied("/d", "/e") }, None).unwrap();
        let made = ["e/x", "e/s", "e/s/y"].map(|name| trees.mode(name));
        assert_eq!(made, wanted, "{mode:o} {mode_str}");
        assert_eq!(trees.mode("e/l"), 0o777);
        assert_eq!(trees.mode("e"), if mode == -1 && mode_str.is_empty() { 0o755 } else { trees.mode("e") });
    }
    let after = trees().after(FileActionCopy { mode_str: "u+q".to_owned(), ..copied("/d", "/e") });
    assert!(after[0].ends_with("\"u+q\" is no mode of chmod"), "{after:?}");
}

#[test]
fn times_of_copies_are_those_that_are_said_or_their_own() {
    let trees = Trees::new(&["d/x=x", "d/s/y=y", "d/l->x"], &["there/"]);
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    for (name, time) in [("d/x", 1), ("d/s/y", 2), ("d/s", 3), ("d", 4)] {
        File::open(trees.from().join(name)).unwrap().set_modified(at(time)).unwrap();
    }
    trees.act(copied("/d", "/e"), None).unwrap();
    assert_eq!(["e/x", "e/s/y", "e/s", "e"].map(|name| trees.mtime(name)), [(1, 0), (2, 0), (3, 0), (4, 0)]);
    let said = |copy| FileActionCopy { timestamp: 77_000_000_088, ..copy };
    trees.act(said(dockerfile("/d", "/made/f")), None).unwrap();
    for name in ["made", "made/f", "made/f/x", "made/f/s", "made/f/s/y", "made/f/l"] {
        if name != "made" {
            assert_eq!(trees.mtime(name), (77, 88), "{name}");
        }
    }
    // One that was there has the time of what was copied into it.
    trees.act(dockerfile("/d", "/there"), None).unwrap();
    assert_eq!(trees.mtime("there"), (4, 0));
}

#[test]
fn owners_of_copies_are_those_that_are_said_or_their_own() {
    if !is_root("owners of files") {
        return;
    }
    let trees = Trees::new(&["d/x=x", "d/s/y=y", "d/l->x"], &[]);
    chown(trees.from().join("d/s"), Some(5), Some(6)).unwrap();
    lchown(trees.from().join("d/l"), Some(7), Some(8)).unwrap();
    chmod(&trees, "d/x", 0o6755);
    trees.act(copied("/d", "/kept"), None).unwrap();
    assert_eq!(["kept/s", "kept/l", "kept/x"].map(|name| trees.owner(name)), [(5, 6), (7, 8), (0, 0)]);
    trees.act(dockerfile("/d", "/a/b"), Some((11, 12))).unwrap();
    for name in ["a", "a/b", "a/b/x", "a/b/s", "a/b/s/y", "a/b/l"] {
        assert_eq!(trees.owner(name), (11, 12), "{name}");
    }
    assert_eq!(trees.mode("a/b/x"), 0o6755, "a change of owner takes such bits away");
}

/// A directory that is copied only for what is in it gets what its source has, if it is new.
#[test]
fn directories_on_the_way_to_what_is_chosen() {
    let trees = Trees::new(&["d/s/t/y=y"], &["e/s/"]);
    chmod(&trees, "d/s", 0o711);
    chmod(&trees, "d/s/t", 0o750);
    let time = UNIX_EPOCH + Duration::from_secs(9);
    File::open(trees.from().join("d/s/t")).unwrap().set_modified(time).unwrap();
    let include_patterns = vec!["s/t/*".to_owned()];
    trees.act(FileActionCopy { include_patterns, ..dockerfile("/d", "/e") }, None).unwrap();
    assert_eq!(listed(&trees.to()), ["e/", "e/s/", "e/s/t/", "e/s/t/y=y"]);
    assert_eq!(["e/s", "e/s/t"].map(|name| trees.mode(name)), [0o711, 0o750]);
    assert_eq!(trees.mtime("e/s/t"), (9, 0));
}

#[test]
fn attributes_that_are_the_machines_are_not_copied() {
    let trees = Trees::new(&["f=x"], &[]);
    let from = trees.from().join("f");
    for name in ["user.kept", "user.lazyblob.mode", "user.overlay.opaque"] {
        lsetxattr(&from, name, b"1", XattrFlags::empty()).unwrap();
    }
    trees.act(copied("/f", "/g"), None).unwrap();
    let has = |name: &str| lgetxattr(trees.to().join("g"), name, &mut [0; 8][..]).is_ok();
    assert!(has("user.kept") && !has("user.lazyblob.mode") && !has("user.overlay.opaque"));
}
