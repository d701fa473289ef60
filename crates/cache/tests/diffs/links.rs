//! Names of one file.

use std::fs;
use std::path::{Path, PathBuf};

use lazyblob_cache::testing::Tree;

use crate::support::tree::{file, set_time};
use crate::support::{apply_with_gnu_tar, copy, diff, entries};

/// A tree with groups of names: `a b`, `c`.
fn tree(dir: &Path, name: &str, groups: &[&[&str]]) -> PathBuf {
    let root = dir.join(name);
    fs::create_dir_all(root.join("d")).unwrap();
    for names in groups {
        file(&root.join(names[0]), "the same content everywhere");
        for name in &names[1..] {
            fs::hard_link(root.join(names[0]), root.join(name)).unwrap();
        }
        set_time(&root.join(names[0]), 5, 0);
    }
    set_time(&root.join("d"), 5, 0);
    set_time(&root, 5, 0);
    root
}

/// What the layer between two trees has: names, and what they are linked to. Applying it makes the one of the other.
fn between(lower: &[&[&str]], upper: &[&[&str]]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (tree(dir.path(), "lower", lower), tree(dir.path(), "upper", upper));
    let (tar, _) = diff(Some(&lower), &upper);
    apply_with_gnu_tar(&tar, &lower);
    // The directories are the same, and so not in the layer.
    for dir in [&lower.join("d"), &lower] {
        set_time(dir, 5, 0);
    }
    assert_eq!(Tree::of(&lower).unwrap(), Tree::of(&upper).unwrap());
    assert!(diff(Some(&lower), &upper).1.is_empty());
    let said = |entry: crate::support::Read| match entry.target {
        Some(target) => format!("{} -> {}", entry.name, target.display()),
        None => entry.name,
    };
    entries(&tar).into_iter().map(said).collect()
}

#[test]
fn the_first_name_is_the_file() {
    assert_eq!(between(&[], &[&["d/z", "b", "c"]]), ["b", "c -> b", "d/z -> b"]);
    assert_eq!(between(&[&["b", "c"]], &[&["c", "b"]]), [""; 0]);
}

#[test]
fn a_group_that_grew_is_written_whole() {
    assert_eq!(between(&[&["a", "b"]], &[&["a", "b", "c"]]), ["a", "b -> a", "c -> a"]);
    assert_eq!(between(&[&["b"]], &[&["a", "b"]]), ["a", "b -> a"]);
    assert_eq!(between(&[&["a"], &["b"]], &[&["a", "b"]]), ["a", "b -> a"], "the same content twice before");
}

#[test]
fn a_group_that_shrank_or_fell_apart_keeps_what_it_can() {
    assert_eq!(between(&[&["a", "b", "c"]], &[&["a", "c"]]), [".wh.b"]);
    assert_eq!(between(&[&["a", "b", "c"]], &[&["a", "c"], &["b"]]), ["b"]);
    assert_eq!(between(&[&["a", "b", "c", "d/e"]], &[&["a"], &["b", "c"], &["d/e"]]), ["b", "c -> b", "d/e"]);
    assert_eq!(between(&[&["a", "b"]], &[&["b"]]), [".wh.a"]);
}

#[test]
fn two_groups_that_change_a_name() {
    assert_eq!(
        between(&[&["a", "b"], &["c", "d/e"]], &[&["a", "c"], &["b", "d/e"]]),
        ["a", "b", "c -> a", "d/e -> b"]
    );
}

#[test]
fn one_changed_content_is_that_of_all_names() {
    let dir = tempfile::tempdir().unwrap();
    let lower = tree(dir.path(), "lower", &[&["a", "d/b"], &["c", "e"]]);
    let upper = dir.path().join("upper");
    copy(&lower, &upper);
    file(&upper.join("d/b"), "new");
    let (tar, _) = diff(Some(&lower), &upper);
    let read = entries(&tar);
    assert_eq!(read.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a", "d/b"]);
    assert_eq!((read[0].content.as_slice(), read[1].content.as_slice()), (&b"new"[..], &b""[..]));
    apply_with_gnu_tar(&tar, &lower);
    assert_eq!(Tree::of(&lower).unwrap(), Tree::of(&upper).unwrap());
}

/// Names that are elsewhere, as those of trees that share their files are, make no group.
#[test]
fn trees_that_share_files_are_compared_by_their_own_names() {
    let dir = tempfile::tempdir().unwrap();
    let lower = tree(dir.path(), "lower", &[&["a", "b"], &["c"]]);
    let upper = dir.path().join("upper");
    assert!(std::process::Command::new("cp").arg("-al").arg(&lower).arg(&upper).status().unwrap().success());
    assert!(diff(Some(&lower), &upper).1.is_empty());
    // The same inode in both trees, but no longer under the same names.
    fs::remove_file(upper.join("c")).unwrap();
    fs::hard_link(upper.join("a"), upper.join("c")).unwrap();
    set_time(&upper, 5, 0);
    let (tar, _) = diff(Some(&lower), &upper);
    let names = entries(&tar).into_iter().map(|entry| (entry.name, entry.target)).collect::<Vec<_>>();
    let a = Some(PathBuf::from("a"));
    assert_eq!(names, [("a".to_owned(), None), ("b".to_owned(), a.clone()), ("c".to_owned(), a)]);
    let (tar, _) = diff(None, &lower);
    assert_eq!(
        entries(&tar).iter().filter(|entry| entry.kind.is_hard_link()).count(),
        1,
        "b is a, c is itself"
    );
}

/// A name that leads through a link below is not that name.
#[test]
fn a_link_on_the_way_below_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    for (root, real) in [(&lower, "other"), (&upper, "d")] {
        fs::create_dir_all(root.join("other")).unwrap();
        if real == "other" {
            std::os::unix::fs::symlink("other", root.join("d")).unwrap();
        } else {
            fs::create_dir(root.join("d")).unwrap();
        }
        file(&root.join("a"), "x");
        set_time(&root.join("a"), 5, 0);
        fs::hard_link(root.join("a"), root.join(real).join("x")).unwrap();
    }
    let (tar, _) = diff(Some(&lower), &upper);
    let names = crate::support::names(&tar);
    assert!(names.contains(&"d/x".to_owned()) && names.contains(&"a".to_owned()), "{names:?}");
}
