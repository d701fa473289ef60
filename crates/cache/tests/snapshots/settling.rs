//! Layers applied each by itself and settled make the tree that one after the other makes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use lazyblob_cache::Error;
use lazyblob_cache::snapshot::{About, Keep, Places, Plain, SnapshotKey, Snapshotter as _};
use lazyblob_cache::testing::Tree;
use lazyblob_cache::testing::snapshotter::{Entry, apply, commit, put, tree};
use lazyblob_cache::testing::tree::Kind;
use tokio_util::sync::CancellationToken;

use crate::support;

/// Checks that the layers give the tree of a sequential apply with every snapshotter, and returns it.
pub(crate) fn same(layers: &[Vec<Entry>]) -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let expected = dir.path().join("expected");
    fs::create_dir(&expected).unwrap();
    for (number, layer) in layers.iter().enumerate() {
        apply(&expected, i64::try_from(number).unwrap(), layer).unwrap();
    }
    let expected = without_clocks(Tree::of(&expected).unwrap());
    for snapshots in support::all("settling overlay snapshots", dir.path()) {
        let keys = commit(snapshots.as_ref(), layers).unwrap();
        let found = without_clocks(tree(snapshots.as_ref(), &keys).unwrap());
        let different = found.diff(&expected);
        assert!(different.is_empty(), "{}: {layers:#?}\n{}", snapshots.name(), different.join("\n"));
    }
    expected
}

/// A directory that no layer names has the time it was made at.
pub(crate) fn without_clocks(mut tree: Tree) -> Tree {
    for node in tree.nodes.values_mut() {
        if node.kind == Kind::Directory && node.mtime.0 > 1_000_000 {
            node.mtime = (0, 0);
        }
    }
    tree
}

/// Checks that layers are refused by every snapshotter, and that nothing of the top one is left.
fn refused(layers: &[Vec<Entry>], why: &str) {
    let dir = tempfile::tempdir().unwrap();
    for snapshots in support::all("what overlay snapshots refuse", dir.path()) {
        let error = commit(snapshots.as_ref(), layers).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(snapshots.list().unwrap().is_empty());
    }
}

fn base() -> Vec<Entry> {
    vec![
        Entry::dir("", 0o711),
        Entry::dir("usr", 0o755),
        Entry::dir("usr/lib", 0o750),
        Entry::file("usr/lib/a", "a"),
        Entry::link("usr/lib/b", "usr/lib/a"),
        Entry::symlink("lib", "usr/lib"),
        Entry::file("file", "f"),
    ]
}

#[test]
fn directories_that_are_not_named_look_like_those_below() {
    let found = same(&[base(), vec![Entry::file("usr/lib/new", "n")], vec![Entry::file("usr/lib/x/y", "")]]);
    let lib = found.get("usr/lib").unwrap();
    assert_eq!((lib.mode, lib.mtime), (0o750, (1_000, 7)));
    assert_eq!(found.get("").unwrap().mode, 0o711);
    assert_eq!(found.get("usr/lib/x").unwrap().mode, 0o755, "nothing is below");
}

#[test]
fn what_a_layer_between_hides_is_not_looked_at() {
    let gone = vec![Entry::whiteout("usr/lib"), Entry::file("other", "")];
    let found = same(&[base(), gone, vec![Entry::file("usr/lib/new", "")]]);
    assert_eq!(found.get("usr/lib").unwrap().mode, 0o755);
    let hidden = vec![Entry::dir("usr", 0o700), Entry::opaque("usr"), Entry::file("usr/x", "")];
    let found = same(&[base(), hidden, vec![Entry::file("usr/lib/new", "")]]);
    assert_eq!(found.get("usr").unwrap().mode, 0o700);
    assert_eq!(found.get("usr/lib").unwrap().mode, 0o755);
    let replaced = vec![Entry::whiteout("usr"), Entry::file("usr", "a file")];
    let back = vec![Entry::whiteout("usr"), Entry::file("usr/lib/new", "")];
    let found = same(&[base(), replaced, back]);
    assert_eq!(found.get("usr/lib").unwrap().mode, 0o755);
    assert_eq!(found.get("usr/lib/a"), None);
}

#[test]
fn entries_go_where_a_link_below_leads() {
    let found = same(&[base(), vec![Entry::file("lib/new", "n"), Entry::file("lib/x/y", "y")]]);
    assert_eq!(found.get("lib").unwrap().kind, Kind::Symlink("usr/lib".into()));
    assert!(found.get("usr/lib/new").is_some() && found.get("usr/lib/x/y").is_some());
    assert_eq!(found.get("usr/lib").unwrap().mtime, (1_000, 7));
}

#[test]
fn links_lead_through_links_and_never_out() {
    let links = vec![
        Entry::symlink("one", "/two/three"),
        Entry::symlink("two", "../../../usr"),
        Entry::symlink("usr/three", "../lib"),
        Entry::symlink("nowhere", "not/there"),
    ];
    let through =
        vec![Entry::file("one/new", "n"), Entry::file("nowhere/x", "x"), Entry::whiteout("two/lib/a")];
    let mut through = through;
    through.rotate_right(1);
    let found = same(&[base(), links, through]);
    assert!(found.get("usr/lib/new").is_some());
    assert!(found.get("not/there/x").is_some());
    assert_eq!(found.get("usr/lib/a"), None, "whiteouts go there too");
    assert!(found.get("usr/lib/b").is_some());
}

#[test]
fn what_meets_where_a_link_leads_is_merged() {
    let meets = vec![
        Entry::dir("usr/lib/x", 0o701),
        Entry::file("lib/x/one", "1"),
        Entry::file("usr/lib/x/two", "2"),
        Entry::file("lib/three", "3"),
    ];
    let found = same(&[base(), meets]);
    assert_eq!(found.get("usr/lib/x").unwrap().mode, 0o701, "the one that is named says so");
    let opaque = vec![Entry::opaque("lib"), Entry::file("lib/new", "n")];
    let found = same(&[base(), opaque]);
    assert_eq!(found.names(), ["file", "lib", "usr", "usr/lib", "usr/lib/new"]);
}

#[test]
fn a_directory_that_is_named_takes_the_place_of_a_link() {
    let found = same(&[base(), vec![Entry::dir("lib", 0o700), Entry::file("lib/new", "n")]]);
    assert_eq!(found.get("lib").unwrap().kind, Kind::Directory);
    assert_eq!(found.get("usr/lib/new"), None);
}

#[test]
fn hard_links_to_files_below_are_one_file_with_them() {
    let found = same(&[base(), vec![Entry::link("c", "usr/lib/a"), Entry::link("d", "file")]]);
    let first = |name: &str| found.get(name).unwrap().link.clone().unwrap();
    assert_eq!([first("c"), first("usr/lib/a"), first("usr/lib/b")], [Path::new("c"); 3], "all three names");
    assert_eq!([first("d"), first("file")], [Path::new("d"); 2]);
    assert_eq!(found.get("usr/lib").unwrap().mtime, (1_000, 7));
    // Several names in one layer, one of them by way of a link, and one to a link itself.
    let more = vec![Entry::link("c", "lib/a"), Entry::link("e", "c"), Entry::link("d", "lib")];
    let found = same(&[base(), more]);
    assert_eq!(found.get("d").unwrap().kind, Kind::Symlink("usr/lib".into()));
}

#[test]
fn names_that_are_not_shown_any_more_do_not_come_back() {
    let gone = vec![Entry::whiteout("usr/lib/b")];
    let found = same(&[base(), gone, vec![Entry::link("c", "usr/lib/a")]]);
    assert_eq!(found.get("usr/lib/b"), None);
    let replaced = vec![Entry::file("usr/lib/b", "mine"), Entry::link("c", "usr/lib/a")];
    let found = same(&[base(), replaced]);
    assert_eq!(found.get("usr/lib/b").unwrap().link, None);
}

#[test]
fn what_a_sequential_apply_refuses_is_refused() {
    refused(&[base(), vec![Entry::link("c", "usr/lib/none")]], "not there");
    refused(&[base(), vec![Entry::link("c", "usr/lib")]], "a hard link to a directory");
    refused(&[base(), vec![Entry::whiteout("usr/lib/a"), Entry::link("c", "usr/lib/a")]], "removes");
    refused(&[base(), vec![Entry::file("file/x", "")]], "not a directory");
    let lost = vec![Entry::symlink("here", "there"), Entry::symlink("there", "here")];
    refused(&[lost, vec![Entry::file("here/x", "")]], "too many symbolic links");
}

/// Holes, owner, xattrs and times of a file that is copied up are those it had.
#[test]
fn a_copy_is_as_the_file_was() {
    let dir = tempfile::tempdir().unwrap();
    for snapshots in support::all("copying up in overlay snapshots", dir.path()) {
        let keys = commit(snapshots.as_ref(), &[base()]).unwrap();
        let file = snapshots.directory(&keys[0]).unwrap().join("file");
        let sparse = fs::File::options().write(true).open(&file).unwrap();
        sparse.set_len(1 << 22).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 1 << 21).unwrap();
        rustix::fs::setxattr(&file, "user.mark", b"m", rustix::fs::XattrFlags::empty()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4711)).unwrap();
        if support::is_root() {
            std::os::unix::fs::chown(&file, Some(12), Some(34)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o4711)).unwrap();
        }
        let before = tree(snapshots.as_ref(), &keys).unwrap();
        let above = SnapshotKey::record("above").unwrap();
        let mut staged = snapshots.stage(&above).unwrap();
        let applied = put(snapshots.form(), staged.directory(), 1, &[Entry::link("other", "file")]);
        let below = [snapshots.directory(&keys[0]).unwrap()];
        snapshots.settle(&mut staged, &applied, &below, &CancellationToken::new()).unwrap();
        let synced = snapshots.sync(vec![staged]).unwrap().pop().unwrap();
        snapshots.publish(synced, About::applied(&applied, keys.last().cloned())).unwrap();
        let all = [keys[0].clone(), above];
        let after = tree(snapshots.as_ref(), &all).unwrap();
        let (was, mut is) = (before.get("file").unwrap().clone(), after.get("file").unwrap().clone());
        assert_eq!(is.link.take(), Some("file".into()));
        assert_eq!(is, was);
        assert_eq!(is.mode, if support::is_root() { 0o4711 } else { 0o711 });
        let copy = snapshots.directory(&all[1]).unwrap().join("file");
        assert!(fs::metadata(&copy).unwrap().blocks() * 512 < 1 << 20, "holes stay holes");
        let info = snapshots.info(&all[1]).unwrap().unwrap();
        assert_eq!(info.usage.inodes, 2, "the root, and one file of two names");
        assert!(info.usage.bytes < 1 << 20);
    }
}

#[test]
fn without_privileges_what_cannot_be_kept_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    places.create().unwrap();
    let plain = Plain::new(places);
    let keys = commit(&plain, &[base()]).unwrap();
    let file = plain.directory(&keys[0]).unwrap().join("file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let done = plain.assemble(&keys, &tree, Keep::unprivileged(), &CancellationToken::new()).unwrap();
    assert_eq!((done.skipped.setuid, done.entries), (1, 6));
    assert_eq!(fs::metadata(tree.join("file")).unwrap().mode() & 0o7777, 0o755);
}
