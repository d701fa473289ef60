//! Trees of more layers than overlayfs takes.

use std::fs;
use std::path::Path;

use lazyblob_cache::layer::{Algorithm, Compression, Family, LayerType};
use lazyblob_cache::mount::Mode;
use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::refs::BlobOptions;
use lazyblob_cache::testing::Tree;
use lazyblob_cache::{ExtractOptions, GetOptions, ImmutableRef, Manager, MountOptions};
use lazyblob_remote::Access;
use lazyblob_remote::testing::not_run;
use rustix::fs::{CWD, FileType, makedev};
use tokio_util::sync::CancellationToken;

use crate::support::{Wanted, World, kinds, layers, snapshots, text, tree};

/// The kernel's limit is 500.
const HIGH: usize = 1000;

const GZIP: BlobOptions = BlobOptions {
    layer: LayerType { family: Family::Oci, algorithm: Algorithm::Gzip, foreign: false },
    compression: Compression::GZIP,
    threads: 1,
};

async fn overlay(what: &str) -> Option<World> {
    if !kinds().contains(&Wanted::Overlay) {
        not_run(what, "overlayfs does not work here");
        return None;
    }
    Some(World::of(Default::default(), &layers(), Wanted::Overlay).await)
}

/// A child of `below`, changed by `change` in the directory of its changes alone.
async fn child(manager: &Manager, below: Option<&ImmutableRef>, change: impl FnOnce(&Path)) -> ImmutableRef {
    let mutable = manager.new_mutable(below, &Access::anonymous(), GetOptions::default()).await.unwrap();
    change(&mutable.directory().await.unwrap());
    mutable.commit().await.unwrap()
}

/// A chain: each layer has a file of its own, changes one that all have, and every tenth removes that of the fifth below.
async fn chain(manager: &Manager, height: usize) -> ImmutableRef {
    let mut top: Option<ImmutableRef> = None;
    for layer in 0..height {
        let change = |dir: &Path| {
            fs::create_dir(dir.join("d")).unwrap();
            fs::write(dir.join("d/all"), layer.to_string()).unwrap();
            fs::write(dir.join(format!("d/{layer}")), "own").unwrap();
            if layer % 10 == 9 {
                let gone = dir.join(format!("d/{}", layer - 5));
                rustix::fs::mknodat(CWD, gone, FileType::CharacterDevice, 0o600.into(), makedev(0, 0))
                    .unwrap();
            }
        };
        top = Some(child(manager, top.as_ref(), change).await);
    }
    top.unwrap()
}

fn assert_chain(dir: &Path, height: usize) {
    assert_eq!(text(dir.join("d/all")), (height - 1).to_string());
    let mut names: Vec<String> = fs::read_dir(dir.join("d"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected: Vec<String> = (0..height)
        .filter(|layer| layer % 10 != 4 || layer + 5 >= height)
        .map(|layer| layer.to_string())
        .chain(["all".to_owned()])
        .collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
}

/// Whatever is done with a tree of a thousand layers.
#[tokio::test]
async fn a_chain_of_a_thousand_layers() {
    let Some(world) = overlay("a chain of a thousand layers").await else { return };
    let (manager, access) = (world.manager().await, Access::anonymous());
    let top = chain(&manager, HIGH).await;
    assert_eq!(snapshots(&manager).len(), HIGH - 1, "the top one is still to be finalized");
    let seen = top.view(&access).await.unwrap();
    assert_chain(seen.path(), HIGH);
    let made = snapshots(&manager).len() - HIGH;
    assert_eq!(made, 31, "runs of 32 became one each");

    // One more on top, with all runs shared.
    let mutable = manager.new_mutable(Some(&top), &access, GetOptions::default()).await.unwrap();
    let tree = mutable.tree().await.unwrap();
    assert_chain(tree.path(), HIGH);
    fs::remove_file(tree.path().join("d/0")).unwrap();
    fs::remove_dir_all(tree.path().join("d")).unwrap();
    fs::create_dir(tree.path().join("d")).unwrap();
    fs::write(tree.path().join("d/new"), "new").unwrap();
    tree.close().await.unwrap();
    let above = mutable.commit().await.unwrap();
    let view = above.view(&access).await.unwrap();
    assert_eq!(fs::read_dir(view.path().join("d")).unwrap().count(), 1, "an opaque directory");
    assert_eq!(snapshots(&manager).len(), HIGH + 1 + made);
    view.close().await.unwrap();

    let out = tempfile::tempdir().unwrap();
    top.extract_to(&out.path().join("out"), ExtractOptions::default(), &access).await.unwrap();
    assert_chain(&out.path().join("out"), HIGH);
    let at = out.path().join("mount");
    let options = MountOptions { mode: Mode::ReadWrite, ..MountOptions::default() };
    top.mount(&at, options, &access).await.unwrap();
    assert_chain(&at, HIGH);
    fs::write(at.join("d/written"), "").unwrap();
    manager.unmount(&at, false).await.unwrap();
    above.make_blobs(&GZIP, &access).await.unwrap();
    assert_eq!(above.layers().len(), HIGH + 1);
    assert!(above.layers().iter().all(|layer| layer.blob().is_some()));

    // What a tree shows is kept, though no record refers to it.
    let all = PruneOptions { all: true, ..PruneOptions::default() };
    let pruned = manager.prune(&all, &CancellationToken::new()).await.unwrap();
    assert_eq!((pruned.records.len(), pruned.snapshots), (0, 0));
    assert_chain(seen.path(), HIGH);
    seen.close().await.unwrap();
    let pruned = manager.prune(&all, &CancellationToken::new()).await.unwrap();
    assert_eq!(
        (pruned.records.len(), pruned.snapshots),
        (0, made as u64),
        "they are made again when they are needed"
    );
    let seen = top.view(&access).await.unwrap();
    assert_chain(seen.path(), HIGH);
    seen.close().await.unwrap();
    drop((top, above));
    manager.close().await.unwrap();
}

/// A merge of as many.
#[tokio::test]
async fn a_merge_of_a_thousand() {
    let Some(world) = overlay("a merge of a thousand").await else { return };
    let (manager, access) = (world.manager().await, Access::anonymous());
    let mut all = Vec::new();
    for layer in 0..HIGH {
        let change = |dir: &Path| {
            fs::create_dir(dir.join("d")).unwrap();
            fs::write(dir.join(format!("d/{layer}")), "own").unwrap();
            fs::write(dir.join("d/all"), layer.to_string()).unwrap();
        };
        all.push(child(&manager, None, change).await);
    }
    let merged = manager.merge(&all, GetOptions::default()).await.unwrap().unwrap();
    let seen = merged.view(&access).await.unwrap();
    assert_eq!(fs::read_dir(seen.path().join("d")).unwrap().count(), HIGH + 1);
    assert_eq!(text(seen.path().join("d/all")), (HIGH - 1).to_string());
    seen.close().await.unwrap();
    // Bytes count once: the layers' and directories', not those of files under a second name.
    let usage = manager.usage(&[]).await.unwrap();
    let own: u64 = usage.entries.iter().map(|entry| entry.size).sum();
    let runs = 31 * 3 * 4096;
    assert!(usage.totals.snapshots <= own + runs, "{} of {own}", usage.totals.snapshots);
    drop((all, merged));
    manager.close().await.unwrap();
}

/// Layers that change, remove and replace each other's files and directories at random show the same when runs of them are
/// one.
#[tokio::test]
async fn runs_of_layers_show_what_layers_do() {
    let Some(world) = overlay("runs of layers that are one").await else { return };
    let (manager, access) = (world.manager().await, Access::anonymous());
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut top: Option<ImmutableRef> = None;
        for layer in 0..100 {
            let mutable = manager.new_mutable(top.as_ref(), &access, GetOptions::default()).await.unwrap();
            let shown = mutable.tree().await.unwrap();
            for _ in 0..random.usize(1..6) {
                change(shown.path(), &mut random, layer);
            }
            shown.close().await.unwrap();
            top = Some(mutable.commit().await.unwrap());
        }
        let top = top.unwrap();
        top.finalize().await.unwrap();
        // Layer by layer, without any mount.
        let (_dir, expected) = tree(&top);
        let seen = top.view(&access).await.unwrap();
        let found = Tree::of(seen.path()).unwrap();
        seen.close().await.unwrap();
        found.assert_equals(&expected);
    }
    let runs = snapshots(&manager).iter().filter(|key| key.as_chain().is_some()).count();
    assert!(runs >= 6, "{runs}");
    manager.close().await.unwrap();
}

/// Something at a random place of a small tree.
fn change(root: &Path, random: &mut fastrand::Rng, layer: usize) {
    let mut at = root.to_owned();
    for _ in 0..random.usize(0..3) {
        at.push(format!("d{}", random.u32(0..3)));
        if !fs::symlink_metadata(&at).is_ok_and(|found| found.is_dir()) {
            drop(fs::remove_file(&at));
            fs::create_dir(&at).unwrap();
        }
    }
    let name = at.join(format!("d{}", random.u32(0..3)));
    let remove = |path: &Path| match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    };
    remove(&name);
    match random.u32(0..6) {
        0 => {}
        1 | 2 => fs::write(&name, layer.to_string()).unwrap(),
        3 => std::os::unix::fs::symlink(layer.to_string(), &name).unwrap(),
        4 => fs::create_dir(&name).unwrap(),
        _ => {
            fs::create_dir(&name).unwrap();
            fs::write(name.join("inner"), layer.to_string()).unwrap();
        }
    }
}
