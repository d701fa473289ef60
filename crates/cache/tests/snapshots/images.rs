//! Images of tars: every snapshotter shows the tree that applying one layer after the other to one directory makes.

use std::fs;
use std::path::{Path, PathBuf};

use lazyblob_cache::layer::{Form, Options, apply};
use lazyblob_cache::snapshot::{About, SnapshotKey, Snapshotter};
use lazyblob_cache::testing::snapshotter::tree;
use lazyblob_cache::testing::tars::Tar;
use lazyblob_cache::testing::{Tree, adversarial};
use lazyblob_cache::{ChainId, Result};
use lazyblob_remote::digest::sha256;
use tokio_util::sync::CancellationToken;

use crate::support;

fn options(form: Form) -> Options {
    if support::is_root() { Options::privileged(form) } else { Options::unprivileged(form) }
}

/// Unpacks an image as the manager does: each layer by itself, settled from the bottom, published together.
pub(crate) fn unpack(snapshots: &dyn Snapshotter, layers: &[Vec<u8>]) -> Result<Vec<SnapshotKey>> {
    let cancel = CancellationToken::new();
    let diff_ids: Vec<_> = layers.iter().map(|tar| sha256(tar)).collect();
    let keys: Vec<_> = ChainId::of_stack(&diff_ids).iter().map(SnapshotKey::chain).collect();
    let mut staged = Vec::new();
    for (tar, key) in layers.iter().zip(&keys) {
        let directory = snapshots.stage(key)?;
        let applied = apply(tar.as_slice(), directory.directory(), &options(snapshots.form()), &cancel)?;
        staged.push((directory, applied));
    }
    let mut below: Vec<PathBuf> = Vec::new();
    let (mut whole, mut abouts) = (Vec::new(), Vec::new());
    for (mut directory, applied) in staged {
        snapshots.settle(&mut directory, &applied, &below, &cancel)?;
        below.push(directory.directory().to_owned());
        abouts.push(About::applied(&applied, None));
        whole.push(directory);
    }
    for (synced, about) in snapshots.sync(whole)?.into_iter().zip(abouts) {
        snapshots.publish(synced, about)?;
    }
    Ok(keys)
}

/// The tree of a sequential apply.
pub(crate) fn sequential(dir: &Path, layers: &[Vec<u8>]) -> Result<Tree> {
    let root = dir.join("sequential");
    fs::create_dir(&root).unwrap();
    // What a root is that no layer names.
    fs::File::open(&root).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    for tar in layers {
        apply(tar.as_slice(), &root, &options(Form::Tree), &CancellationToken::new())?;
    }
    Tree::of(&root)
}

#[test]
fn odd_images_make_the_tree_they_make_layer_by_layer() {
    let dir = tempfile::tempdir().unwrap();
    let all = support::all("odd images as overlay snapshots", dir.path());
    let mut wrong = Vec::new();
    for (name, layers) in adversarial::images() {
        let own = tempfile::tempdir().unwrap();
        let expected = match sequential(own.path(), &layers) {
            // Nobody but root can look into a directory that is closed to its owner.
            Err(_) if !support::is_root() => continue,
            expected => expected.unwrap(),
        };
        for snapshots in &all {
            let different = match unpack(snapshots.as_ref(), &layers) {
                Ok(keys) => tree(snapshots.as_ref(), &keys).unwrap().diff(&expected),
                Err(error) => vec![error.to_string()],
            };
            if !different.is_empty() {
                wrong.push(format!("{name}, {}:\n{}", snapshots.name(), different.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn images_that_are_refused_layer_by_layer_are_refused_and_leave_nothing() {
    let mut count = 0;
    for (name, layers, _) in adversarial::refused() {
        let dir = tempfile::tempdir().unwrap();
        let is_refused = sequential(dir.path(), &layers).is_err();
        count += usize::from(is_refused);
        for snapshots in support::all("wrong images as overlay snapshots", dir.path()) {
            let unpacked = unpack(snapshots.as_ref(), &layers);
            assert_eq!(unpacked.is_err(), is_refused, "{name}, {}: {unpacked:?}", snapshots.name());
            assert_eq!(snapshots.list().unwrap().is_empty(), is_refused, "{name}, {}", snapshots.name());
        }
    }
    assert!(count > 5, "only {count}");
}

/// What a layer has only as the directory its entries lie in may be a link below, and that may have a hard link.
#[test]
fn a_hard_link_to_what_is_a_link_below_is_one_to_that_link() {
    let dir = tempfile::tempdir().unwrap();
    let base = Tar::new().dir("real", 0o755).symlink("a", "real").dir("b", 0o755).end();
    let linked = [base.clone(), Tar::new().file("a/x", "x").link("l", "a").end()];
    let expected = sequential(dir.path(), &linked).unwrap();
    assert_eq!(expected.get("a").unwrap().link.as_deref(), expected.get("l").unwrap().link.as_deref());
    assert_eq!(expected.names(), ["a", "b", "l", "real", "real/x"]);
    for snapshots in support::all("hard links to links as overlay snapshots", dir.path()) {
        let keys = unpack(snapshots.as_ref(), &linked).unwrap();
        tree(snapshots.as_ref(), &keys).unwrap().assert_equals(&expected);
        // A directory has none, whether it is below or not.
        for name in ["b", "c"] {
            let layers = [base.clone(), Tar::new().file(&format!("{name}/x"), "x").link("l", name).end()];
            let error = unpack(snapshots.as_ref(), &layers).unwrap_err();
            assert!(error.to_string().contains("a hard link to a directory"), "{error}");
        }
    }
}
