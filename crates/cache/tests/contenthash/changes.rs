//! Tables that are told what changes.

use lazyblob_cache::Error;
use lazyblob_cache::contenthash::{FileHasher, Kind, Meta, Node, Root, Selector, Sum, Table};
use proptest::prelude::*;

use crate::support::{Memory, header};

fn file(content: &str) -> Sum {
    let mut hasher = FileHasher::new(&Meta { size: content.len() as u64, ..Meta::new(Kind::File, 0o644) });
    hasher.update(content.as_bytes());
    hasher.finish()
}

/// The digest of the whole of what a table was told.
fn whole(table: &mut Table) -> Sum {
    let mut nobody = Memory::new();
    let sum = nobody.sum(table, &Selector::path("/")).unwrap();
    assert_eq!(nobody.calls, [""; 0]);
    sum
}

#[test]
fn a_change_is_seen_in_all_directories_above() {
    let mut table = Memory::of(&["a/", "a/b/", "a/b/f=1", "c/", "c/g=2"]).told(Root::Snapshot);
    let before = whole(&mut table);
    table.insert(b"/a/b/f", Node::File, Some(file("3"))).unwrap();
    assert_eq!(whole(&mut table), Memory::of(&["a/", "a/b/", "a/b/f=3", "c/", "c/g=2"]).at("/"));
    let known: Vec<_> = table.records().filter(|record| record.sum.is_none()).collect();
    assert!(known.is_empty(), "{known:?}");
    table.insert(b"a/b/f", Node::File, Some(file("1"))).unwrap();
    let unknown = |table: &Table| {
        let unknown = table.records().filter(|record| record.sum.is_none());
        unknown.map(|record| String::from_utf8(record.path).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(unknown(&table), ["/", "/a", "/a/b"], "what is beside it stays known");
    assert_eq!(whole(&mut table), before);
    table.remove(b"/a/b");
    assert_eq!(unknown(&table), ["/", "/a"]);
    assert_eq!(whole(&mut table), Memory::of(&["a/", "c/", "c/g=2"]).at("/"));
    table.remove(b"/nothing/here");
    assert!(unknown(&table).is_empty());
}

#[test]
fn a_directory_that_changes_keeps_what_is_in_it() {
    let mut table = Memory::of(&["d/", "d/f=1"]).told(Root::Snapshot);
    let before = whole(&mut table);
    table.insert(b"/d", Node::Directory, Some(header(0o700))).unwrap();
    let mut changed = Memory::of(&["d/", "d/f=1"]);
    changed.add("d", Meta::new(Kind::Directory, 0o700), "");
    assert_eq!(whole(&mut table), changed.at("/"));
    assert_ne!(whole(&mut table), before);
    // Something else in its place does not.
    table.insert(b"/d", Node::File, Some(file("x"))).unwrap();
    assert_eq!(whole(&mut table), Memory::of(&["d=x"]).at("/"));
    table.insert(b"/d", Node::Directory, Some(header(0o755))).unwrap();
    assert_eq!(whole(&mut table), Memory::of(&["d/"]).at("/"));
    table.insert(b"/d", Node::Symlink(b"x".to_vec()), Some(Memory::of(&["d -> x"]).at("/d"))).unwrap();
    assert_eq!(whole(&mut table), Memory::of(&["d -> x"]).at("/"));
}

#[test]
fn hard_links_count_as_files_in_any_order() {
    let plain = Memory::of(&["a=1", "b=1", "c=1"]);
    let mut table = Table::empty(Root::Snapshot);
    table.link(b"/a", b"b").unwrap();
    table.insert(b"/b", Node::File, Some(file("1"))).unwrap();
    table.link(b"/c", b"/b").unwrap();
    assert_eq!(whole(&mut table), plain.at("/"));
    // One whose file never comes is read; so is one whose name something else took.
    let mut source = Memory::of(&["a=1", "l=2"]);
    let mut table = Table::empty(Root::Snapshot);
    table.link(b"/a", b"/none").unwrap();
    table.link(b"/l", b"/late").unwrap();
    table.insert(b"/l", Node::File, Some(file("2"))).unwrap();
    table.insert(b"/late", Node::File, Some(file("3"))).unwrap();
    source.add("late", Meta::new(Kind::File, 0o644), "3");
    assert_eq!(source.sum(&mut table, &Selector::path("/")).unwrap(), source.at("/"));
    assert_eq!(source.reads(), ["a"]);
}

#[test]
fn a_link_to_a_link_is_one() {
    let plain = Memory::of(&["a -> x", "b -> x"]);
    let mut table = Table::empty(Root::Snapshot);
    table.insert(b"/a", Node::Symlink(b"x".to_vec()), Some(plain.at("/a"))).unwrap();
    table.link(b"/b", b"/a").unwrap();
    assert_eq!(whole(&mut table), plain.at("/"));
}

#[test]
fn what_cannot_be_is_refused() {
    let mut table = Memory::of(&["f=1", "l -> d", "d/"]).told(Root::Snapshot);
    let long = format!("/{}", "x".repeat(4096));
    for path in ["/", "", "..", "/f/x", "/l/x", "/none/x", "/a\0b", long.as_str()] {
        let error = table.insert(path.as_bytes(), Node::File, None).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{path}: {error}");
    }
    table.remove(b"/");
    assert_eq!(whole(&mut table), Memory::of(&["f=1", "l -> d", "d/"]).at("/"));
}

#[test]
fn the_root_counts_as_asked() {
    let tree = Memory::of(&["f=1"]);
    let sum = |root: Root| tree.clone().sum(&mut Table::unread(root), &Selector::path("/")).unwrap();
    let of = |root: Sum| Sum::of(format!("\0{root}\0f{}", file("1")).as_bytes());
    assert_eq!(sum(Root::Local), of(Sum::of(b"")));
    assert_eq!(sum(Root::Snapshot), of(header(0o755)));
    let mut odd = tree.clone();
    odd.add("", Meta::new(Kind::Directory, 0o711), "");
    assert_eq!(odd.at("/"), of(header(0o755)));
    assert_eq!(odd.sum(&mut Table::unread(Root::AsFound), &Selector::path("/")).unwrap(), of(header(0o711)));
}

/// What may happen to a tree of a few names.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8),
    Remove(usize),
    Hash(usize),
}

const PATHS: [&str; 9] = ["a", "a/b", "a/b/c", "a/d", "a b", "a-b", "e", "e/f", "e/f/g"];

fn step() -> impl Strategy<Value = Step> {
    let path = 0..PATHS.len();
    prop_oneof![
        (path.clone(), 0..4_u8).prop_map(|(path, kind)| Step::Put(path, kind)),
        path.clone().prop_map(Step::Remove),
        path.prop_map(Step::Hash),
    ]
}

proptest! {
    /// Whatever happens in whatever order, a table says what a fresh one says of the tree as it is.
    #[test]
    fn a_table_forgets_all_that_is_not_so_any_more(steps in prop::collection::vec(step(), 1..60)) {
        let mut tree = Memory::new();
        let mut table = Table::empty(Root::Snapshot);
        for step in steps {
            match step {
                Step::Put(path, kind) => {
                    let path = PATHS[path];
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let is_in_directory =
                        tree.files.get(parent.as_bytes()).is_some_and(|(meta, _)| meta.kind == Kind::Directory);
                    let (node, meta) = match kind {
                        0 => (Node::Directory, Meta::new(Kind::Directory, 0o755)),
                        1 => (Node::Symlink(b"e".to_vec()),
                              Meta { target: b"e".to_vec(), ..Meta::new(Kind::Symlink, 0o777) }),
                        kind => (Node::File, Meta { size: 1, ..Meta::new(Kind::File, 0o600 + u32::from(kind)) }),
                    };
                    let content = if node == Node::File { "x" } else { "" };
                    let mut hasher = FileHasher::new(&meta);
                    hasher.update(content.as_bytes());
                    let is_directory = node == Node::Directory;
                    let told = table.insert(path.as_bytes(), node, Some(hasher.finish()));
                    prop_assert_eq!(told.is_ok(), is_in_directory);
                    if is_in_directory {
                        if !is_directory {
                            remove(&mut tree, path);
                        }
                        tree.add(path, meta, content);
                    }
                }
                Step::Remove(path) => {
                    table.remove(PATHS[path].as_bytes());
                    remove(&mut tree, PATHS[path]);
                }
                Step::Hash(path) => {
                    let selector = Selector::path(PATHS[path]);
                    let ours = Memory::new().sum(&mut table, &selector).ok();
                    prop_assert_eq!(ours, tree.fresh(&selector).ok());
                }
            }
        }
        prop_assert_eq!(whole(&mut table), tree.at("/"));
        let mut again = Table::decode(&table.encode()).unwrap();
        prop_assert_eq!(whole(&mut again), tree.at("/"));
    }
}

fn remove(tree: &mut Memory, path: &str) {
    let below = format!("{path}/").into_bytes();
    tree.files.retain(|name, _| name != path.as_bytes() && !name.starts_with(&below));
}
