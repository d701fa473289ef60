//! The conformance suite of [`Snapshotter`]: what any implementation keeps.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its layers has failed")]
#![allow(clippy::expect_used, reason = "a test that cannot set up its layers has failed")]

mod entries;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use entries::{Entry, apply, diff_id, put};

use super::Tree;
use crate::chain::ChainId;
use crate::error::{Error, Result};
use crate::snapshot::{About, Keep, Places, SnapshotKey, Snapshotter};

/// Applies layers in parallel to staged directories, settles them from the bottom, syncs all at once and publishes them.
/// Returns their keys, the bottom one first.
///
/// # Errors
/// Those of the snapshotter.
pub fn commit(snapshots: &dyn Snapshotter, layers: &[Vec<Entry>]) -> Result<Vec<SnapshotKey>> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| diff_id(layer)).collect();
    let keys: Vec<_> = ChainId::of_stack(&diff_ids).iter().map(SnapshotKey::chain).collect();
    let (mut staged, mut abouts) = (Vec::new(), Vec::new());
    let mut below: Vec<PathBuf> = Vec::new();
    for (number, (layer, key)) in layers.iter().zip(&keys).enumerate() {
        let mut directory = snapshots.stage(key)?;
        let number_here = i64::try_from(number).unwrap_or_default();
        let applied = put(snapshots.form(), directory.directory(), number_here, layer);
        snapshots.settle(&mut directory, &applied, &below, &CancellationToken::new())?;
        below.push(directory.directory().to_owned());
        let parent = number.checked_sub(1).and_then(|below| keys.get(below)).cloned();
        abouts.push(About::applied(&applied, parent));
        staged.push(directory);
    }
    for (synced, about) in snapshots.sync(staged)?.into_iter().zip(abouts) {
        snapshots.publish(synced, about)?;
    }
    Ok(keys)
}

/// The tree of a stack, assembled.
///
/// # Errors
/// Those of the snapshotter.
pub fn tree(snapshots: &dyn Snapshotter, stack: &[SnapshotKey]) -> Result<Tree> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    fs::create_dir(&root).unwrap();
    snapshots.assemble(stack, &root, Keep::as_able(), &CancellationToken::new())?;
    Tree::of(&root)
}

/// Runs the whole suite. `make` opens a snapshotter on empty places.
///
/// # Panics
/// Where it does not conform.
pub fn check_snapshotter(make: &dyn Fn(&Places) -> Arc<dyn Snapshotter>) {
    let cases: [fn(&dyn Snapshotter, &Places); 9] = [
        published_ones_are_found,
        what_is_dropped_is_trash,
        the_first_one_stays,
        one_of_many_is_published,
        what_is_not_whole_is_not_there,
        a_stack_is_a_tree,
        a_merge_is_a_longer_stack,
        an_active_one_is_changed_and_committed,
        staging_is_cleared_by_key,
    ];
    for case in cases {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        places.create().unwrap();
        case(make(&places).as_ref(), &places);
        assert_eq!(names(&places.staging), Vec::<String>::new(), "nothing is left in staging");
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn two_layers() -> [Vec<Entry>; 2] {
    [
        vec![
            Entry::dir("", 0o755),
            Entry::dir("etc", 0o750),
            Entry::file("etc/one", "1"),
            Entry::file("etc/two", "22"),
            Entry::symlink("link", "etc"),
        ],
        vec![Entry::whiteout("etc/one"), Entry::file("etc/three", "333")],
    ]
}

fn published_ones_are_found(snapshots: &dyn Snapshotter, places: &Places) {
    let keys = commit(snapshots, &two_layers()).unwrap();
    let [bottom, top] = keys.as_slice() else { panic!("two layers") };
    let info = snapshots.info(top).unwrap().unwrap();
    assert_eq!((&info.key, info.parent.as_ref()), (top, Some(bottom)));
    assert_eq!(info.diff_id, Some(diff_id(&two_layers()[1])));
    let listed: Vec<_> = snapshots.list().unwrap().into_iter().map(|info| info.key).collect();
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(listed, sorted);
    assert_eq!(snapshots.directory(top).unwrap(), places.snapshots.join(top.file_name()).join("fs"));
    snapshots.remove(top).unwrap();
    assert_eq!(snapshots.info(top).unwrap(), None);
    assert!(snapshots.info(bottom).unwrap().is_some(), "another one is not touched");
    snapshots.remove(top).unwrap();
    assert!(matches!(snapshots.mounts(&keys, None), Err(Error::NotFound { .. })));
    assert_eq!(names(&places.trash).len(), 1);
}

fn what_is_dropped_is_trash(snapshots: &dyn Snapshotter, places: &Places) {
    let key = SnapshotKey::record("one").unwrap();
    let staged = snapshots.stage(&key).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    let above = staged.directory().parent().unwrap();
    assert_eq!(fs::metadata(above).unwrap().permissions().mode() & 0o7777, 0o700);
    fs::write(staged.directory().join("file"), "data").unwrap();
    drop(staged);
    drop(snapshots.sync(vec![snapshots.stage(&key).unwrap()]).unwrap());
    assert_eq!(names(&places.trash).len(), 2);
    assert_eq!(snapshots.info(&key).unwrap(), None, "what is not published is not visible");
    assert!(snapshots.list().unwrap().is_empty());
}

fn the_first_one_stays(snapshots: &dyn Snapshotter, places: &Places) {
    let key = SnapshotKey::record("one").unwrap();
    for data in ["first", "second"] {
        let staged = snapshots.stage(&key).unwrap();
        fs::write(staged.directory().join("file"), data).unwrap();
        let synced = snapshots.sync(vec![staged]).unwrap().pop().unwrap();
        let parent = Some(SnapshotKey::record(data).unwrap());
        let info = snapshots.publish(synced, About { parent, ..About::default() }).unwrap();
        assert_eq!(info.parent.unwrap().as_str(), "first");
    }
    let file = snapshots.directory(&key).unwrap().join("file");
    assert_eq!(fs::read_to_string(file).unwrap(), "first");
    assert_eq!(names(&places.trash).len(), 1);
}

fn one_of_many_is_published(snapshots: &dyn Snapshotter, places: &Places) {
    let key = SnapshotKey::record("one").unwrap();
    let publish = |number: usize| {
        let staged = snapshots.stage(&key).unwrap();
        fs::write(staged.directory().join(number.to_string()), "").unwrap();
        let synced = snapshots.sync(vec![staged]).unwrap().pop().unwrap();
        let parent = Some(SnapshotKey::record(&number.to_string()).unwrap());
        snapshots.publish(synced, About { parent, ..About::default() }).unwrap()
    };
    let infos: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|number| scope.spawn(move || publish(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let kept = snapshots.info(&key).unwrap().unwrap();
    assert!(infos.iter().all(|info| *info == kept), "all are told of the one that stays: {infos:?}");
    let inside = names(&snapshots.directory(&key).unwrap());
    assert_eq!(inside, [kept.parent.unwrap().as_str()], "and that one is whole");
    assert_eq!(names(&places.trash).len(), 5);
}

fn what_is_not_whole_is_not_there(snapshots: &dyn Snapshotter, places: &Places) {
    let key = SnapshotKey::record("one").unwrap();
    let path = places.snapshots.join(key.file_name());
    fs::create_dir_all(path.join("fs")).unwrap();
    fs::write(path.join("info.json"), "{\"key\":\"one\"").unwrap();
    assert_eq!(snapshots.info(&key).unwrap(), None);
    assert!(snapshots.list().unwrap().is_empty());
    let staged = snapshots.stage(&key).unwrap();
    fs::write(staged.directory().join("file"), "whole").unwrap();
    let synced = snapshots.sync(vec![staged]).unwrap().pop().unwrap();
    snapshots.publish(synced, About::default()).unwrap();
    assert!(snapshots.directory(&key).unwrap().join("file").exists(), "a whole one takes its place");
}

fn a_stack_is_a_tree(snapshots: &dyn Snapshotter, _: &Places) {
    let layers = two_layers();
    let keys = commit(snapshots, &layers).unwrap();
    let found = tree(snapshots, &keys).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (number, layer) in layers.iter().enumerate() {
        apply(dir.path(), i64::try_from(number).unwrap(), layer).unwrap();
    }
    found.assert_equals(&Tree::of(dir.path()).unwrap());
    assert_eq!(found.names(), ["etc", "etc/three", "etc/two", "link"]);
    assert_eq!(found.get("etc").unwrap().mode, 0o750, "not named by the layer on top");
    let full = dir.path();
    let refused = snapshots.assemble(&keys, full, Keep::as_able(), &CancellationToken::new());
    assert!(matches!(refused, Err(Error::Refused { .. })), "not into what is there");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let empty = tempfile::tempdir().unwrap();
    let cancelled = snapshots.assemble(&keys, empty.path(), Keep::as_able(), &cancel);
    assert!(matches!(cancelled, Err(Error::Cancelled { .. })), "{cancelled:?}");
}

fn a_merge_is_a_longer_stack(snapshots: &dyn Snapshotter, _: &Places) {
    let one = commit(snapshots, &two_layers()).unwrap();
    let other = commit(
        snapshots,
        &[
            vec![Entry::dir("etc", 0o700), Entry::file("etc/two", "other"), Entry::file("mine", "m")],
            vec![Entry::whiteout("etc/three"), Entry::file("yours", "y")],
        ],
    )
    .unwrap();
    let merged = tree(snapshots, &[one, other].concat()).unwrap();
    assert_eq!(merged.names(), ["etc", "etc/two", "link", "mine", "yours"]);
    assert_eq!(merged.get("etc").unwrap().mode, 0o700);
}

fn an_active_one_is_changed_and_committed(snapshots: &dyn Snapshotter, _: &Places) {
    let cancel = CancellationToken::new();
    let keys = commit(snapshots, &two_layers()).unwrap();
    let id = SnapshotKey::record("work").unwrap();
    let active = snapshots.prepare(&id, &keys, &cancel).unwrap();
    assert!(matches!(snapshots.prepare(&id, &keys, &cancel), Err(Error::Locked { .. })));
    assert_eq!(snapshots.active(&id).unwrap().as_ref(), Some(&active));
    assert_eq!(snapshots.actives().unwrap(), std::slice::from_ref(&id));
    assert!(snapshots.list().unwrap().iter().all(|info| info.key != id), "not committed");
    fs::write(active.directory().join("new"), "new").unwrap();
    let committed = snapshots.commit(&active, &id, &cancel).unwrap();
    assert_eq!((committed.diff_id, committed.parent.as_ref()), (None, keys.last()));
    assert!(committed.usage.inodes >= 2, "{:?}", committed.usage);
    assert_eq!(snapshots.active(&id).unwrap(), None);
    assert!(snapshots.actives().unwrap().is_empty());
    let stack = [keys.clone(), vec![id.clone()]].concat();
    let found = tree(snapshots, &stack).unwrap();
    assert_eq!(found.names(), ["etc", "etc/three", "etc/two", "link", "new"]);
    assert_eq!(found.get("").unwrap().mode, 0o755);
    assert_eq!(tree(snapshots, &keys).unwrap().names(), ["etc", "etc/three", "etc/two", "link"]);
    // Given up: nothing of it stays.
    let active = snapshots.prepare(&SnapshotKey::record("other").unwrap(), &stack, &cancel).unwrap();
    snapshots.remove_active(&active.key).unwrap();
    assert!(snapshots.actives().unwrap().is_empty());
}

fn staging_is_cleared_by_key(snapshots: &dyn Snapshotter, places: &Places) {
    let (one, other) = (SnapshotKey::record("one").unwrap(), SnapshotKey::record("one-more").unwrap());
    // As a process leaves it that was killed.
    std::mem::forget(snapshots.stage(&one).unwrap());
    let kept = snapshots.stage(&other).unwrap();
    let lock = places.staging.join(format!("{}.lock", one.file_name()));
    fs::write(&lock, "").unwrap();
    snapshots.clear_staging(&one).unwrap();
    assert!(kept.directory().exists(), "another key's is not touched");
    assert!(lock.exists(), "the lock is its holder's");
    assert_eq!(names(&places.staging).len(), 2);
    fs::remove_file(lock).unwrap();
    drop(kept);
}
