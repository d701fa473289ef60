//! Both snapshotters keep what the trait promises, and a root has one of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;

use lazyblob_cache::Error;
use lazyblob_cache::snapshot::{Overlay, Places, Plain, SnapshotKey, Snapshotter as _, Wanted, open};
use lazyblob_cache::testing::snapshotter::{self, Entry, commit};
use lazyblob_cache::testing::{Tree, check_snapshotter};
use tokio_util::sync::CancellationToken;

use crate::support;

#[test]
fn plain_conforms() {
    check_snapshotter(&|places| Arc::new(Plain::new(places.clone())));
}

#[test]
fn overlay_conforms() {
    let dir = tempfile::tempdir().unwrap();
    if support::has_overlay("the conformance of overlay snapshots", dir.path()) {
        check_snapshotter(&|places| Arc::new(Overlay::new(places.clone())));
    }
}

#[test]
fn what_a_root_has_is_chosen_once() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::below(dir.path());
    assert_eq!(open(places.clone(), Wanted::Plain).unwrap().name(), "plain");
    assert_eq!(open(places.clone(), Wanted::Auto).unwrap().name(), "plain", "also where overlay would work");
    let refused = open(places.clone(), Wanted::Overlay).unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("of the kind plain"), "{refused}");
    fs::write(places.snapshots.join("kind"), "newer").unwrap();
    let refused = open(places, Wanted::Auto).unwrap_err();
    assert!(refused.to_string().contains("\"newer\""), "{refused}");
}

#[test]
fn overlay_is_chosen_where_it_works() {
    let dir = tempfile::tempdir().unwrap();
    if support::has_overlay("the choice of overlay snapshots", dir.path()) {
        let places = Places::below(dir.path());
        assert_eq!(open(places.clone(), Wanted::Auto).unwrap().name(), "overlay");
        assert!(matches!(open(places, Wanted::Plain), Err(Error::Refused { .. })));
    }
}

/// What is committed of a plain tree that was changed makes that tree again, and has in it what was changed only.
#[test]
fn a_changed_tree_is_committed_as_what_changed() {
    let (dir, cancel) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let places = Places::below(dir.path());
    places.create().unwrap();
    let plain = Plain::new(places);
    let base = vec![
        Entry::dir("", 0o711),
        Entry::dir("d", 0o750),
        Entry::file("d/same", "same"),
        Entry::link("d/name", "d/same"),
        Entry::file("d/content", "one"),
        Entry::dir("gone", 0o755),
        Entry::file("gone/x", "x"),
        Entry::dir("file", 0o755),
        Entry::file("dir", "d"),
        Entry::file("mode", "m"),
        Entry::symlink("link", "d"),
        Entry::file("other", "o"),
    ];
    let mut stack = commit(&plain, &[base, vec![Entry::file("d/above", "a")]]).unwrap();
    let id = SnapshotKey::record("work").unwrap();
    let active = plain.prepare(&id, &stack, &cancel).unwrap();
    let tree = active.directory();
    // The same size and the same time: only the bytes tell.
    let modified = fs::metadata(tree.join("d/content")).unwrap().modified().unwrap();
    fs::write(tree.join("d/content"), "two").unwrap();
    fs::File::options().write(true).open(tree.join("d/content")).unwrap().set_modified(modified).unwrap();
    fs::remove_dir_all(tree.join("gone")).unwrap();
    fs::remove_dir(tree.join("file")).unwrap();
    fs::write(tree.join("file"), "f").unwrap();
    fs::remove_file(tree.join("dir")).unwrap();
    fs::create_dir_all(tree.join("dir/new")).unwrap();
    fs::set_permissions(tree.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(tree.join("link")).unwrap();
    symlink("other", tree.join("link")).unwrap();
    fs::hard_link(tree.join("d/same"), tree.join("third")).unwrap();
    let changed = Tree::of(&tree).unwrap();
    plain.commit(&active, &id, &cancel).unwrap();
    let own = Tree::of(&plain.directory(&id).unwrap()).unwrap();
    let names = own.names();
    for name in ["d/above", "other", "gone"] {
        assert!(!names.contains(&name), "{name} is as it was, or gone: {names:?}");
    }
    assert!(names.contains(&".wh.gone") && names.contains(&"d/content"), "{names:?}");
    stack.push(id);
    snapshotter::tree(&plain, &stack).unwrap().assert_equals(&changed);
}
