//! Random layers compared with a naive model of a tree; random damage, which is never more than an error.

use std::collections::{BTreeMap, BTreeSet};

use lazyblob_cache::Error;
use lazyblob_cache::layer::{Form, Limits, Options};
use lazyblob_cache::testing::adversarial::{images, refused};
use lazyblob_cache::testing::tars::{Header, Tar};
use lazyblob_cache::testing::tree::{Kind, Tree};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::Target;

#[derive(Clone, Debug)]
enum Op {
    File(String),
    Directory(String),
    Symlink(String),
    Link(String, Index),
    Whiteout(String),
    Opaque(String),
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]", 1..=3).prop_map(|parts| parts.join("/"))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => path().prop_map(Op::File),
        3 => path().prop_map(Op::Directory),
        1 => path().prop_map(Op::Symlink),
        2 => (path(), any::<Index>()).prop_map(|(path, index)| Op::Link(path, index)),
        2 => path().prop_map(Op::Whiteout),
        1 => path().prop_map(Op::Opaque),
    ]
}

/// What is at a name: a directory with mode and time, or a file or link with the number of its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory(u32, i64),
    File(u32),
    Symlink(u32),
}

/// The tree as a plain list of names.
#[derive(Default)]
struct Model {
    nodes: BTreeMap<String, Node>,
    upper: BTreeSet<String>,
    count: u32,
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

impl Model {
    /// Takes an entry into the tree and into the tar; leaves out what would be an error.
    fn take(&mut self, op: &Op, tar: Tar) -> Tar {
        self.count += 1;
        let number = self.count;
        let path = match op {
            Op::File(path) | Op::Directory(path) | Op::Symlink(path) | Op::Link(path, _) => path.clone(),
            Op::Whiteout(path) => path.clone(),
            Op::Opaque(path) => format!("{path}/mark"),
        };
        let is_in_a_file =
            |at: &str| self.nodes.get(at).is_some_and(|node| !matches!(node, Node::Directory(..)));
        if ancestors(&path).any(is_in_a_file) {
            return tar;
        }
        let target = match op {
            Op::Link(_, index) => {
                let is_target = |(name, node): &(&String, &Node)| {
                    !matches!(node, Node::Directory(..))
                        && **name != path
                        && !name.starts_with(&format!("{path}/"))
                };
                let files: Vec<_> =
                    self.nodes.iter().filter(is_target).map(|(name, _)| name.clone()).collect();
                if files.is_empty() {
                    return tar;
                }
                Some(index.get(&files).clone())
            }
            _ => None,
        };
        for at in ancestors(&path) {
            self.nodes.entry(at.to_owned()).or_insert(Node::Directory(0o755, 0));
            self.upper.insert(at.to_owned());
        }
        let mtime = u64::from(number) + 1000;
        match op {
            Op::Whiteout(_) => {
                self.remove(&path);
                let (dir, name) = path.rsplit_once('/').map_or(("", &path[..]), |(dir, name)| (dir, name));
                let dir = if dir.is_empty() { String::new() } else { format!("{dir}/") };
                return tar.whiteout(&dir, name);
            }
            Op::Opaque(dir) => {
                let inside: Vec<_> =
                    self.nodes.keys().filter(|name| name.starts_with(&format!("{dir}/"))).cloned().collect();
                inside.iter().for_each(|name| self.remove(name));
                return tar.whiteout(&format!("{dir}/"), ".wh..opq");
            }
            _ => {}
        }
        self.upper.insert(path.clone());
        let is_directory = matches!(self.nodes.get(&path), Some(Node::Directory(..)));
        if !(is_directory && matches!(op, Op::Directory(_))) {
            self.nodes.retain(|name, _| !name.starts_with(&format!("{path}/")));
        }
        let header = |kind| Header::new(kind, path.as_str()).mtime(mtime);
        let (node, tar) = match op {
            Op::Directory(_) => {
                let mode = 0o700 | (number % 0o100);
                let node = Node::Directory(mode, i64::try_from(mtime).unwrap());
                (node, tar.entry(&header(b'5').mode(mode), []))
            }
            Op::Symlink(_) => (Node::Symlink(number), tar.symlink(&path, &number.to_string())),
            Op::Link(..) => {
                let target = target.unwrap();
                (self.nodes[&target].clone(), tar.link(&path, &target))
            }
            _ => (Node::File(number), tar.entry(&header(b'0'), number.to_string())),
        };
        self.nodes.insert(path, node);
        tar
    }

    /// Removes what the layers below have at a name and in it.
    fn remove(&mut self, path: &str) {
        let upper = &self.upper;
        let is_in = |name: &str| name == path || name.starts_with(&format!("{path}/"));
        self.nodes.retain(|name, _| !is_in(name) || upper.contains(name));
    }

    fn compare(&self, tree: &Tree) {
        assert_eq!(tree.names(), self.nodes.keys().map(String::as_str).collect::<Vec<_>>());
        let mut first: BTreeMap<u32, &str> = BTreeMap::new();
        for (name, node) in &self.nodes {
            let found = tree.get(name).unwrap();
            let number = match node {
                Node::Directory(mode, mtime) => {
                    assert_eq!(found.kind, Kind::Directory, "{name}");
                    assert_eq!((found.mode, found.mtime.0), (*mode, *mtime), "{name}");
                    continue;
                }
                Node::Symlink(number) => {
                    assert_eq!(found.kind, Kind::Symlink(number.to_string().into()), "{name}");
                    number
                }
                Node::File(number) => {
                    let digest = lazyblob_remote::digest::sha256(number.to_string().as_bytes()).to_string();
                    assert!(
                        matches!(&found.kind, Kind::File { digest: found, .. } if *found == digest),
                        "{name}"
                    );
                    number
                }
            };
            let original = *first.entry(*number).or_insert(name);
            let has_others = self.nodes.values().filter(|other| *other == node).count() > 1;
            assert_eq!(found.link.as_deref(), has_others.then_some(original.as_ref()), "{name}");
        }
    }
}

proptest! {
    #[test]
    fn layers_make_the_tree_of_a_naive_model(layers in prop::collection::vec(prop::collection::vec(op(), 1..12), 1..4)) {
        let target = Target::new();
        let mut model = Model::default();
        let mut options = Options::unprivileged(Form::Tree);
        options.owners = rustix::process::geteuid().is_root();
        for layer in &layers {
            model.upper.clear();
            let tar = layer.iter().fold(Tar::new(), |tar, op| model.take(op, tar)).end();
            target.apply_with(&tar, &options).unwrap();
        }
        model.compare(&target.tree());
        target.assert_nothing_escaped();
    }

    #[test]
    fn damage_is_an_error_at_most(
        which in any::<Index>(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..20),
        keep in any::<Index>(),
        mends in any::<bool>(),
    ) {
        let mut tars: Vec<_> = images().into_iter().flat_map(|(_, layers)| layers).collect();
        tars.extend(refused().into_iter().flat_map(|(_, layers, _)| layers));
        let mut tar = which.get(&tars).clone();
        for (at, byte) in &damage {
            let at = at.index(tar.len());
            tar[at] = *byte;
        }
        tar.truncate(keep.index(tar.len()) + 1);
        if mends {
            mend(&mut tar);
        }
        for form in [Form::Tree, Form::Plain] {
            let target = Target::new();
            let limits = Limits { size: 1 << 20, ..Limits::default() };
            match target.apply_with(&tar, &Options { limits, ..Options::unprivileged(form) }) {
                Ok(_) | Err(Error::Invalid { .. } | Error::Refused { .. }) => {}
                // A size beyond what the file system has.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::FileTooLarge => {}
                Err(other) => panic!("{other:?}"),
            }
            target.assert_nothing_escaped();
        }
    }
}

/// Makes the checksum of every block right that may be a header, so that damage gets behind it.
fn mend(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
}
