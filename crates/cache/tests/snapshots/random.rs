//! Random layers, each applied by itself, against the same layers applied one after the other.

use std::fs;
use std::path::{Path, PathBuf};

use lazyblob_cache::testing::snapshotter::{Entry, apply};
use proptest::prelude::*;

use crate::settling::same;

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
        rebuild(&before, &sensible, &[]);
        for entry in layer {
            let Some(real) = real(&before, entry.path(), &own) else { continue };
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
                || matches!(&entry, Entry::Link(path, target) if path == target)
            {
                continue;
            }
            kept.push(entry);
            let next = dir.path().join("next");
            fs::create_dir(&next).unwrap();
            rebuild(&next, &sensible, &[]);
            let takes = apply(&next, number, &kept).is_ok();
            fs::remove_dir_all(if takes { &before } else { &next }).unwrap();
            if takes {
                fs::rename(&next, &before).unwrap();
                own.push(real);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn layers_make_the_tree_they_make_one_after_the_other(
        layers in prop::collection::vec(prop::collection::vec(entry(), 0..10), 1..5),
    ) {
        same(&sensible(layers));
    }
}
