//! What is gone, and what is another thing now.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use lazyblob_cache::testing::Tree;
use lazyblob_cache::{Error, layer};
use lazyblob_remote::digest;
use tokio_util::sync::CancellationToken;

use crate::support::tree::{file, of_everything};
use crate::support::{apply_with_gnu_tar, copy, diff, entries, names};

/// The digest is the one that empty layers have everywhere: 1024 zeros.
#[test]
fn equal_trees_differ_in_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    of_everything(&lower);
    copy(&lower, &upper);
    for upper in [&lower, &upper] {
        let (tar, done) = diff(Some(&lower), upper);
        assert!(done.is_empty());
        assert_eq!((done.entries, done.whiteouts, done.size), (0, 0, 1024));
        assert_eq!(
            digest::sha256(&tar).to_string(),
            "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
        );
    }
    assert!(!diff(None, &lower).1.is_empty());
}

#[test]
fn what_is_gone_is_said_once_and_before_its_siblings() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    of_everything(&lower);
    copy(&lower, &upper);
    fs::remove_dir_all(upper.join("etc")).unwrap();
    fs::remove_file(upper.join("var/hosts")).unwrap();
    fs::remove_file(upper.join("var/null")).or_else(|_| fs::remove_file(upper.join("var/log"))).unwrap();
    file(&upper.join("var/before"), "");
    let (tar, done) = diff(Some(&lower), &upper);
    let names = names(&tar);
    let gone = if lower.join("var/null").exists() { "var/.wh.null" } else { "var/.wh.log" };
    assert_eq!(names, ["./", ".wh.etc", "var/", "var/.wh.hosts", gone, "var/before"]);
    assert_eq!((done.entries, done.whiteouts), (3, 3));
    for entry in entries(&tar).iter().filter(|entry| entry.name.contains(".wh.")) {
        assert!(entry.kind.is_file() && entry.content.is_empty());
        let header = &entry.header;
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.mode().unwrap()), (0, 0, 0));
    }
    apply_with_gnu_tar(&tar, &lower);
    assert_eq!(Tree::of(&lower).unwrap(), Tree::of(&upper).unwrap());
}

#[test]
fn another_type_takes_the_place_without_a_whiteout() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    fs::create_dir_all(lower.join("full/of/files")).unwrap();
    fs::create_dir_all(lower.join("became-link/with")).unwrap();
    file(&lower.join("full/of/files/one"), "1");
    file(&lower.join("file"), "file");
    symlink("full", lower.join("link")).unwrap();
    copy(&lower, &upper);
    for name in ["full", "became-link"] {
        fs::remove_dir_all(upper.join(name)).unwrap();
    }
    fs::remove_file(upper.join("file")).unwrap();
    fs::remove_file(upper.join("link")).unwrap();
    file(&upper.join("full"), "no more");
    fs::create_dir_all(upper.join("file/is/dir")).unwrap();
    fs::create_dir_all(upper.join("link/of")).unwrap();
    symlink("file", upper.join("became-link")).unwrap();
    let (tar, done) = diff(Some(&lower), &upper);
    assert_eq!(
        names(&tar),
        ["./", "became-link", "file/", "file/is/", "file/is/dir/", "full", "link/", "link/of/"]
    );
    assert_eq!(done.whiteouts, 0);
    apply_with_gnu_tar(&tar, &lower);
    assert_eq!(Tree::of(&lower).unwrap(), Tree::of(&upper).unwrap());
}

#[test]
fn a_socket_is_counted_and_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    fs::create_dir(&lower).unwrap();
    file(&lower.join("control"), "a file once");
    copy(&lower, &upper);
    fs::remove_file(upper.join("control")).unwrap();
    let _control = UnixListener::bind(upper.join("control")).unwrap();
    let _other = UnixListener::bind(upper.join("other")).unwrap();
    let (tar, done) = diff(Some(&lower), &upper);
    assert_eq!(names(&tar), ["./", ".wh.control"], "what was a file is gone");
    assert_eq!(done.sockets, 2);
    // A socket below was never in a layer: it needs no whiteout.
    let (tar, _) = diff(Some(&upper), &lower);
    assert_eq!(names(&tar), ["./", "control"]);
}

#[test]
fn names_that_mean_something_else_in_a_layer_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    fs::create_dir(&lower).unwrap();
    copy(&lower, &upper);
    file(&upper.join(".wh.shadow"), "");
    let refused = |lower, upper| {
        let error = layer::diff(lower, upper, Vec::new(), &CancellationToken::new()).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains(".wh.shadow"), "{error}");
    };
    refused(None, &upper);
    refused(Some(&lower), &upper);
    refused(Some(&upper), &lower);
    assert!(diff(Some(&upper), &upper).1.is_empty(), "what stays needs no entry");
}
