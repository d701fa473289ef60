//! What a header says, and what needs records before it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{chown, symlink};

use lazyblob_cache::testing::Tree;

use crate::support::tree::{file, of_everything, set_time};
use crate::support::{apply_with_gnu_tar, copy, diff, entries, is_root, names};

#[test]
fn what_a_header_can_hold_has_no_records() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let deep = root.join("d".repeat(150));
    fs::create_dir_all(&deep).unwrap();
    file(&deep.join("f".repeat(100)), "x");
    symlink("t".repeat(100), root.join("link")).unwrap();
    for path in [&deep.join("f".repeat(100)), &root.join("link"), &deep, &root] {
        set_time(path, 0o777_7777_7777, 0);
        if is_root() {
            rustix::fs::chownat(
                rustix::fs::CWD,
                path,
                Some(rustix::fs::Uid::from_raw(0o777_7777)),
                Some(rustix::fs::Gid::from_raw(0o777_7777)),
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )
            .unwrap();
        }
    }
    let (tar, _) = diff(None, &root);
    let read = entries(&tar);
    assert_eq!(read.len(), 4);
    for entry in &read {
        // The name of the directory alone is too long for one field, and has no slash to split it at.
        let expected = if entry.name.len() == 151 { vec!["path"] } else { vec![] };
        assert_eq!(entry.pax.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(entry.header.mtime().unwrap(), 0o777_7777_7777);
        assert_eq!(entry.header.username().unwrap(), Some(""), "numbers only");
    }
    assert!(tar.windows(6).any(|bytes| bytes == b"ustar\0"));
}

#[test]
fn what_a_header_cannot_hold_is_said_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut long = root.clone();
    for part in ["p".repeat(150), "q".repeat(150), "r".repeat(200)] {
        long.push(part);
    }
    fs::create_dir_all(long.parent().unwrap()).unwrap();
    file(&long, "x");
    let odd = root.join(OsStr::from_bytes(b"\xff\xfe caf\xe9\n"));
    file(&odd, "odd");
    symlink(OsStr::from_bytes(&[0xff; 200]), root.join("link")).unwrap();
    for (name, seconds, nanos) in
        [("-1.5", -2, 500_000_000), ("-3", -3, 0), ("9999999999.25", 9_999_999_999, 250_000_000)]
    {
        file(&root.join(name), name);
        set_time(&root.join(name), seconds, nanos);
    }
    set_time(&root.join("link"), 1, 0);
    if is_root() {
        chown(&long, Some(u32::MAX - 1), Some(1 << 21)).unwrap();
    }
    let (tar, _) = diff(None, &root);
    let read = entries(&tar);
    for name in ["-1.5", "-3", "9999999999.25"] {
        let entry = read.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(entry.pax, [("mtime".to_owned(), name.as_bytes().to_vec())]);
    }
    let record = |name: &str, key: &str| {
        let entry = read.iter().find(|entry| entry.name.contains(name)).unwrap();
        entry.pax.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone())
    };
    assert_eq!(record("link", "linkpath"), Some(vec![0xff; 200]));
    assert_eq!(record("link", "hdrcharset"), Some(b"BINARY".to_vec()));
    assert_eq!(record("rrr", "hdrcharset"), None);
    assert_eq!(record("rrr", "path").unwrap().len(), 502);
    if is_root() {
        assert_eq!(record("rrr", "uid"), Some(b"4294967294".to_vec()));
        assert_eq!(record("rrr", "gid"), Some(b"2097152".to_vec()));
    }
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    apply_with_gnu_tar(&tar, &other);
    assert_eq!(Tree::of(&other).unwrap(), Tree::of(&root).unwrap());
}

/// The order of inodes in the directories, and the place, are not the same.
#[test]
fn the_same_tree_elsewhere_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, three) =
        (dir.path().join("one"), dir.path().join("two"), dir.path().join("elsewhere/three"));
    of_everything(&one);
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    for number in 0..200 {
        file(&one.join("etc").join(format!("{}", number * 7919 % 1000)), format!("{number}"));
    }
    copy(&one, &two);
    // By another program in another order: directories sorted by GNU tar.
    let (tar, _) = diff(None, &one);
    fs::create_dir(&three).unwrap();
    apply_with_gnu_tar(&tar, &three);
    assert_eq!(Tree::of(&three).unwrap(), Tree::of(&one).unwrap());
    for root in [&one, &two, &three] {
        assert!(diff(None, root).0 == tar, "{}", root.display());
    }
    let sorted = names(&tar);
    for dir in sorted.iter().filter(|name| name.ends_with('/') && *name != "./") {
        let first = sorted.iter().position(|name| name.starts_with(dir.as_str())).unwrap();
        assert_eq!(&sorted[first], dir, "a directory comes before what is in it");
    }
}
