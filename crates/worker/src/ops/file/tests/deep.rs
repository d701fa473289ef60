//! Trees that are deeper than a path may be long, or than there are files to open.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use super::{FileActionCopy, Trees, copied, dockerfile, rm};

const DEEP: usize = 5_000;

/// Makes a way down, with a file at its end, and gives the directories there are at all by opening one after the other.
fn dig(root: &Path, depth: usize) {
    let mut at = openat(CWD, root, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&at, "deeper", Mode::RWXU).unwrap();
        at = openat(&at, "deeper", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let file = openat(&at, "end", OFlags::WRONLY | OFlags::CREATE, Mode::RWXU).unwrap();
    rustix::io::write(&file, b"the end").unwrap();
    rustix::fs::linkat(&at, "end", &at, "again", rustix::fs::AtFlags::empty()).unwrap();
}

fn depth(root: &Path) -> (usize, OwnedFd) {
    let mut at = openat(CWD, root, OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut depth = 0;
    while let Ok(next) = openat(&at, "deeper", OFlags::DIRECTORY, Mode::empty()) {
        (at, depth) = (next, depth + 1);
    }
    (depth, at)
}

fn remove(trees: &Trees) {
    trees.act(rm("/*", true, false), None).unwrap();
    assert_eq!(super::listed(&trees.to()), Vec::<String>::new());
}

#[test]
fn a_deep_tree_is_copied_and_removed() {
    let trees = Trees::new(&["d/"], &[]);
    dig(&trees.from().join("d"), DEEP);
    trees.act(copied("/d", "/e"), None).unwrap();
    let (made, end) = depth(&trees.to().join("e"));
    assert_eq!(made, DEEP);
    let [one, other] =
        ["end", "again"].map(|name| rustix::fs::statat(&end, name, rustix::fs::AtFlags::empty()).unwrap());
    assert_eq!((one.st_ino, one.st_size), (other.st_ino, 7));
    remove(&trees);
    // As a source it is removed likewise, since a test's own clean-up would use the stack.
    let from = Trees { dir: trees.dir };
    std::fs::rename(from.from().join("d"), from.to().join("d")).unwrap();
    remove(&from);
}

/// Nothing is made before something at the end is chosen, and then all of it is.
#[test]
fn a_deep_tree_of_which_only_the_end_is_chosen() {
    let trees = Trees::new(&["d/"], &[]);
    dig(&trees.from().join("d"), 600);
    let chosen = |pattern: &str| FileActionCopy {
        include_patterns: vec![pattern.to_owned()],
        ..dockerfile("/d", "/e")
    };
    trees.act(chosen("**/none"), None).unwrap();
    assert_eq!(super::listed(&trees.to()), ["e/"]);
    trees.act(chosen("**/end"), None).unwrap();
    let (made, end) = depth(&trees.to().join("e"));
    assert_eq!(made, 600);
    assert!(rustix::fs::statat(&end, "again", rustix::fs::AtFlags::empty()).is_err());
    remove(&trees);
    trees.act(rm("/", true, true), None).unwrap_err();
    std::fs::rename(trees.from().join("d"), trees.to().join("d")).unwrap();
    remove(&trees);
}
