//! Random layers, each applied by itself, against the same layers applied one after the other.

use std::fs;
use std::path::{Path, PathBuf};

use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::snapshotter::{Entry, apply, tree};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::images::{sequential, unpack};
use crate::settling::same;
use crate::support;

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|names| names.join("/"))
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        2 => path().prop_map(Entry::Whiteout),
        1 => path().prop_map(Entry::Opaque),
        3 => (path(), prop::sample::select(vec![0o755, 0o700, 0o1777])).prop_map(|(path, mode)| Entry::Dir(path, mode)),
        3 => (path(), prop::sample::select(vec!["a", "/b", "../c", "b/c", "../../a"]))
            .prop_map(|(path, target)| Entry::Symlink(path, target.to_owned())),
        6 => (path(), "[a-z]{0,3}").prop_map(|(path, data)| Entry::File(path, data)),
        3 => (path(), path()).prop_map(|(path, target)| Entry::Link(path, target)),
    ]
}

/// What comes first in a tar that any tool reads alike.
fn rank(entry: &Entry) -> (u8, usize) {
    let depth = entry.path().components().count();
    match entry {
        Entry::Whiteout(_) => (0, depth),
        Entry::Opaque(_) => (1, depth),
        Entry::Dir(..) => (2, depth),
        Entry::Symlink(..) => (3, depth),
        Entry::File(..) => (4, depth),
        Entry::Link(..) => (5, depth),
    }
}

/// Where a path leads in `root`, the last component not followed, and whether a link of `own` is on its way.
fn real(root: &Path, path: &Path, own: &[PathBuf]) -> Option<PathBuf> {
    let mut at = PathBuf::new();
    let mut todo: Vec<String> = path.iter().rev().map(|part| part.to_str().unwrap().to_owned()).collect();
    for _ in 0..200 {
        let Some(part) = todo.pop() else { return Some(at) };
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match fs::read_link(root.join(&next)) {
            Ok(target) if !todo.is_empty() => {
                if own.contains(&next) {
                    return None;
                }
                if target.is_absolute() {
                    at = PathBuf::new();
                }
                let parts = target.iter().map(|part| part.to_str().unwrap().to_owned());
                let parts: Vec<String> = parts.filter(|part| part != "/").collect();
                todo.extend(parts.into_iter().rev());
            }
            _ => at = next,
        }
    }
    None
}

/// Layers that a sequential apply takes, none of which says two things of one file: what is made of that depends on
/// the order in a tar.
fn sensible(layers: Vec<Vec<Entry>>) -> Vec<Vec<Entry>> {
    let dir = tempfile::tempdir().unwrap();
    let mut sensible = Vec::new();
    for (number, mut layer) in layers.into_iter().enumerate() {
        layer.sort_by_key(rank);
        let number = i64::try_from(number).unwrap();
        let before = dir.path().join(format!("{number}"));
        fs::create_dir(&before).unwrap();
        let mut kept: Vec<Entry> = Vec::new();
        let mut own: Vec<PathBuf> = Vec::new();
        let mut has_gone_through = false;
        rebuild(&before, &sensible, &[]);
        for entry in layer {
            // A mark of opacity is about the directory that a link leads to.
            let place = match &entry {
                Entry::Opaque(path) => real(&before, &Path::new(path).join("mark"), &own)
                    .map(|mark| mark.parent().unwrap().to_owned()),
                _ => real(&before, entry.path(), &own),
            };
            let Some(real) = place else { continue };
            // Nor is a link replaced that an entry before it may have gone through.
            if has_gone_through && before.join(&real).is_symlink() {
                continue;
            }
            // A link to itself, by whatever way, is refused by some.
            let target = match &entry {
                Entry::Link(_, target) => self::real(&before, Path::new(target), &own),
                _ => None,
            };
            if target.is_some_and(|target| target == real) {
                continue;
            }
            let is_taken = own.iter().any(|other| {
                other.starts_with(&real) || (real.starts_with(other) && !before.join(other).is_dir())
            });
            // A directory put where a link was hides where entries before it went.
            let moves = real != entry.path() && matches!(entry, Entry::Dir(..) | Entry::Opaque(_));
            let removes_own = kept.iter().any(|kept| {
                matches!(kept, Entry::Whiteout(_) | Entry::Opaque(_))
                    && (matches!(entry, Entry::Link(..)) || kept.path() == entry.path())
            });
            // Nor may what went before have gone through what is replaced now.
            let is_dir =
                |path: &Path| fs::symlink_metadata(before.join(path)).is_ok_and(|found| found.is_dir());
            let is_inside =
                |kept: &Entry| kept.path() != entry.path() && kept.path().starts_with(entry.path());
            let stays = matches!(entry, Entry::Dir(..)) && is_dir(entry.path());
            if is_taken
                || (kept.iter().any(is_inside) && !stays)
                || moves
                || removes_own
                || matches!(&entry, Entry::Link(path, target) if Path::new(path).starts_with(target))
                || matches!(&entry, Entry::Link(_, target)
                    if kept.iter().any(|kept| kept.path().starts_with(target) && kept.path() != Path::new(target)))
            {
                continue;
            }
            let goes_through = real != entry.path();
            kept.push(entry);
            let next = dir.path().join("next");
            fs::create_dir(&next).unwrap();
            rebuild(&next, &sensible, &[]);
            let takes = apply(&next, number, &kept).is_ok();
            fs::remove_dir_all(if takes { &before } else { &next }).unwrap();
            if takes {
                fs::rename(&next, &before).unwrap();
                own.push(real);
                has_gone_through |= goes_through;
            } else {
                kept.pop();
            }
        }
        sensible.push(kept);
    }
    sensible
}

fn rebuild(root: &Path, layers: &[Vec<Entry>], more: &[Entry]) {
    for (number, layer) in layers.iter().enumerate() {
        apply(root, i64::try_from(number).unwrap(), layer).unwrap();
    }
    apply(root, 0, more).unwrap();
}

/// The same layers as tars.
fn tars(layers: &[Vec<Entry>]) -> Vec<Vec<u8>> {
    let tar = |layer: &Vec<Entry>| {
        let mut tar = Tar::new();
        for entry in layer {
            let split = || (entry.path().parent().unwrap(), entry.path().file_name().unwrap());
            tar = match entry {
                Entry::Dir(path, mode) => tar.dir(path, *mode),
                Entry::File(path, data) => tar.file(path, data),
                Entry::Symlink(path, target) => tar.symlink(path, target),
                Entry::Link(path, target) => tar.link(path, target),
                Entry::Whiteout(_) => {
                    let (parent, name) = split();
                    tar.file(parent.join(format!(".wh.{}", name.to_str().unwrap())).to_str().unwrap(), "")
                }
                Entry::Opaque(path) => tar.file(&format!("{path}/.wh..wh..opq"), ""),
            };
        }
        tar.end()
    };
    layers.iter().map(tar).collect()
}

/// As many as is asked for, or a few: each waits for the disk.
fn some() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    // Always the same ones, unless more are asked for.
    if asked { default } else { ProptestConfig { cases: 16, rng_seed: RngSeed::Fixed(4), ..default } }
}

proptest! {
    #![proptest_config(some())]

    #[test]
    fn layers_make_the_tree_they_make_one_after_the_other(
        layers in prop::collection::vec(prop::collection::vec(entry(), 0..10), 1..5),
    ) {
        same(&sensible(layers));
    }

    #[test]
    fn tars_make_the_tree_they_make_one_after_the_other(
        layers in prop::collection::vec(prop::collection::vec(entry(), 0..10), 1..5),
    ) {
        let layers = sensible(layers);
        let tars = tars(&layers);
        let dir = tempfile::tempdir().unwrap();
        let expected = sequential(dir.path(), &tars).unwrap();
        for snapshots in support::all("random tars as overlay snapshots", dir.path()) {
            let keys = unpack(snapshots.as_ref(), &tars).unwrap();
            let different = tree(snapshots.as_ref(), &keys).unwrap().diff(&expected);
            prop_assert!(different.is_empty(), "{}: {:#?}\n{}", snapshots.name(), layers, different.join("\n"));
        }
    }
}
