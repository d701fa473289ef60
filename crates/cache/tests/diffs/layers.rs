//! Directories that are one layer's own.

use std::fs;
use std::path::Path;

use lazyblob_cache::Error;
use lazyblob_cache::layer::{self, Form};
use lazyblob_cache::testing::Tree;
use rustix::fs::FileType;
use tokio_util::sync::CancellationToken;

use crate::support::tree::{file, of_everything, set_time, set_xattr, special};
use crate::support::{apply_with_gnu_tar, diff, entries, is_root, names, tar_of};

/// The same layer in both forms gives the same tar. Rootless overlayfs has its marks in `user.`.
#[test]
fn both_forms_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, overlay) = (dir.path().join("plain"), dir.path().join("overlay"));
    for root in [&plain, &overlay] {
        fs::create_dir_all(root.join("dir/opaque")).unwrap();
        fs::create_dir_all(root.join("by-xattr")).unwrap();
        file(&root.join("dir/opaque/new"), "new");
        file(&root.join("a"), "a");
        fs::hard_link(root.join("a"), root.join("b")).unwrap();
    }
    for root in [&plain, &overlay] {
        file(&root.join("z"), "");
    }
    // A marker that somebody linked to an empty file to save an inode is no name of that file.
    fs::hard_link(plain.join("z"), plain.join(".wh.gone")).unwrap();
    file(&plain.join("dir/.wh.gone too"), "");
    file(&plain.join("by-xattr/.wh.gone"), "");
    file(&plain.join("dir/opaque/.wh..wh..opq"), "");
    file(&plain.join(".wh..wh.plnk"), "what another union file system left");

    set_xattr(&overlay.join("dir/opaque"), "user.overlay.opaque", b"y");
    set_xattr(&overlay.join("by-xattr"), "user.overlay.opaque", b"x");
    file(&overlay.join("by-xattr/gone"), "");
    set_xattr(&overlay.join("by-xattr/gone"), "user.overlay.whiteout", b"");
    if is_root() {
        // Overlayfs makes one device and links it to all whiteouts.
        special(&overlay.join("gone"), FileType::CharacterDevice, (0, 0));
        fs::hard_link(overlay.join("gone"), overlay.join("dir/gone too")).unwrap();
    } else {
        fs::remove_file(plain.join(".wh.gone")).unwrap();
        fs::remove_file(plain.join("dir/.wh.gone too")).unwrap();
    }
    for root in [&plain, &overlay] {
        for name in ["a", "z", "dir/opaque/new", "dir/opaque", "dir", "by-xattr", ""] {
            set_time(&root.join(name), 5, 0);
        }
    }
    let (tar, done) = tar_of(&plain, Form::Plain);
    let mut expected = vec!["./", ".wh.gone", "a", "b", "by-xattr/", "by-xattr/.wh.gone", "dir/"];
    expected.extend(["dir/.wh.gone too", "dir/opaque/", "dir/opaque/.wh..wh..opq", "dir/opaque/new", "z"]);
    if !is_root() {
        expected.retain(|name| !matches!(*name, ".wh.gone" | "dir/.wh.gone too"));
    }
    assert_eq!(names(&tar), expected);
    assert_eq!(done.whiteouts + done.entries, expected.len() as u64);
    assert!(tar_of(&overlay, Form::Overlay).0 == tar, "{:?}", names(&tar_of(&overlay, Form::Overlay).0));
}

/// BuildKit row 22: a layer is made of overlayfs' own upper directory without looking at what is below, or by comparing
/// two trees.
#[test]
fn a_kernels_own_whiteouts_and_marks_are_read() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| dir.path().join(name));
    of_everything(&lower);
    for dir in [&upper, &work, &merged] {
        fs::create_dir(dir).unwrap();
    }
    let before = dir.path().join("before");
    crate::support::copy(&lower, &before);
    // Without mounts of our own there is nothing to read.
    let script = r#"
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3,redirect_dir=off,metacopy=off,index=off" "$4" || exit 77
        cd "$4" && rm var/hosts && rm -r etc && mkdir etc && echo new > etc/new && echo more >> var/log \
            && chmod 700 empty && rm bin/alias && mv var/pipe bin/pipe && cp -a "$4" "$5"
    "#;
    let after = dir.path().join("after");
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).args([&lower, &upper, &work, &merged, &after]);
    let done = command.output().unwrap();
    if done.status.code() == Some(77) {
        return;
    }
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let (tar, said) = tar_of(&upper, Form::Overlay);
    let names = names(&tar);
    for name in
        [".wh..wh..opq", "etc/.wh..wh..opq", "var/.wh.hosts", "var/.wh.pipe", "bin/.wh.alias", "bin/pipe"]
    {
        assert_eq!(names.contains(&name.to_owned()), name != ".wh..wh..opq", "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.ends_with("tool")), "what did not change is not in it: {names:?}");
    assert_eq!(said.whiteouts, 4);
    // What overlayfs showed is what a whole diff of the two trees makes, too.
    let (whole, _) = diff(Some(&before), &after);
    apply_with_gnu_tar(&whole, &before);
    assert_eq!(Tree::of(&before).unwrap(), Tree::of(&after).unwrap());
}

#[test]
fn a_tree_is_its_own_layer() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    of_everything(&root);
    assert_eq!(tar_of(&root, Form::Tree), diff(None, &root));
    assert_eq!(tar_of(&root, Form::Plain), diff(None, &root), "without whiteouts there is no difference");
    let (tar, done) = tar_of(&root, Form::Overlay);
    assert!(!done.is_empty());
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    apply_with_gnu_tar(&tar, &other);
    assert_eq!(Tree::of(&other).unwrap(), Tree::of(&root).unwrap());
}

#[test]
fn what_overlayfs_keeps_below_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |root: &Path, name: &str| {
        let error = layer::tar_of(root, Form::Overlay, Vec::new(), &CancellationToken::new()).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains(name), "{error}");
    };
    let (moved, changed, marked) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    fs::create_dir_all(moved.join("moved")).unwrap();
    set_xattr(&moved.join("moved"), "user.overlay.redirect", b"/old");
    refused(&moved, "moved");
    fs::create_dir(&changed).unwrap();
    file(&changed.join("changed"), "");
    set_xattr(&changed.join("changed"), "user.overlay.metacopy", b"");
    refused(&changed, "changed");
    fs::create_dir(&marked).unwrap();
    file(&marked.join(".wh.name"), "");
    refused(&marked, ".wh.name");
    assert!(tar_of(&moved, Form::Plain).1.entries == 2, "that is overlayfs' own affair");
    assert_eq!(entries(&tar_of(&marked, Form::Plain).0)[1].name, ".wh.name");
}
