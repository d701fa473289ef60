//! Other programs read our layers as we mean them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::process::Command;

use lazyblob_cache::testing::Tree;
use lazyblob_cache::testing::tree::Part;

use crate::support::tree::{file, of_everything, set_time};
use crate::support::{copy, diff, has, image, is_root, remove, run};

#[test]
fn gnu_tar_lists_what_is_in_it_and_complains_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    of_everything(&root);
    set_time(&root.join("etc/deep/nothing"), 86_400, 0);
    let (tar, done) = diff(None, &root);
    let path = dir.path().join("layer.tar");
    fs::write(&path, &tar).unwrap();
    let listed = Command::new("tar")
        .args(["--numeric-owner", "--full-time", "--utc", "-tvf"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(listed.status.success());
    assert_eq!(String::from_utf8_lossy(&listed.stderr), "");
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count() as u64, done.entries);
    let line = |name: &str| {
        let line =
            listed.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {listed}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("var/lastlog")[2], (3 << 20).to_string(), "the real size of a sparse file");
    assert_eq!(line("var/zz")[5..], ["var/zz", "link", "to", "bin/alias"]);
    assert_eq!(line("var/far")[3..5], ["2001-09-09", "01:46:40.123456789"]);
    assert!(line("var/pipe")[0].starts_with("prw-r-----") || line("var/pipe")[0].starts_with('p'));
    if is_root() {
        assert_eq!(line("var/disk")[2], "259,70000");
        assert_eq!(line("etc/hosts")[1], "3000000/4000000000");
    }
}

/// Two layers: one of everything, and one that changes, removes and replaces.
#[test]
fn umoci_unpacks_the_same_trees() {
    if !has("umoci") || !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    of_everything(&one);
    copy(&one, &two);
    fs::remove_dir_all(two.join("etc/deep")).unwrap();
    remove(&two.join("var/hosts"));
    fs::create_dir_all(two.join("var/hosts/now")).unwrap();
    remove(&two.join("bin"));
    file(&two.join("bin"), "a file");
    file(&two.join("var/log"), "changed in place");
    file(&two.join("ü"), "new");
    file(&two.join(OsStr::from_bytes(b"\xff\xfe caf\xe9\n")), "odd");
    file(&two.join("var").join("v".repeat(200)), "long");
    symlink(OsStr::from_bytes(&[0xff; 300]), two.join("var/odd")).unwrap();
    let layers = [diff(None, &one).0, diff(Some(&one), &two).0];
    for (count, expected) in [(1, &one), (2, &two)] {
        let (layout, root) =
            (dir.path().join(format!("layout{count}")), dir.path().join(format!("root{count}")));
        image::write(&layout, &layers[..count]);
        let image = format!("{}:latest", layout.display());
        run(Command::new("umoci").args(["raw", "unpack", "--image", &image]).arg(&root), &[]);
        let (unpacked, expected) = (Tree::of(&root).unwrap(), Tree::of(expected).unwrap());
        // It writes out holes.
        let (unpacked, expected) = (unpacked.without(Part::Holes), expected.without(Part::Holes));
        assert_eq!(unpacked, expected, "{count} layers");
    }
}
