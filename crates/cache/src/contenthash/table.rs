//! What is known of a tree, in the order in which it is hashed.

use std::collections::{BTreeMap, HashMap};

use super::path::{self, behind, child, is_below, key, parent};
use super::source::Node;
use super::sum::Sum;
use crate::error::{Error, Result};

pub(super) const OPERATION: &str = "hash tree";

/// What the root itself counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Root {
    /// Mode 0755, root's own, with no attributes, whatever it is: that is the root of every snapshot BuildKit makes of
    /// layers, since it takes nothing of an entry that is the root.
    #[default]
    Snapshot,
    /// Nothing: a local directory that was sent, whose root is not.
    Local,
    /// What it is.
    AsFound,
}

/// What is known of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Directory {
        /// Of the directory itself.
        header: Option<Sum>,
        /// Of it and all that is below.
        tree: Option<Sum>,
        /// Whether all that is directly in it is in the table.
        is_listed: bool,
    },
    Symlink {
        target: Vec<u8>,
        sum: Option<Sum>,
    },
    File {
        sum: Option<Sum>,
    },
}

impl Known {
    fn new(node: Node, sum: Option<Sum>, is_listed: bool) -> Self {
        match node {
            Node::Directory => Self::Directory { header: sum, tree: None, is_listed },
            Node::Symlink(target) => Self::Symlink { target, sum },
            Node::File => Self::File { sum },
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    /// What goes into the directory it is in.
    pub(super) fn sum(&self) -> Option<Sum> {
        match self {
            Self::Directory { tree: sum, .. } | Self::Symlink { sum, .. } | Self::File { sum } => *sum,
        }
    }
}

/// A record as it is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The absolute path.
    pub path: Vec<u8>,
    /// Which of a path's records it is.
    pub part: Part,
    /// The digest, if it is known.
    pub sum: Option<Sum>,
}

/// Which of a path's records one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A directory with all that is below it.
    Tree,
    /// A directory itself. It follows its tree.
    Header,
    /// A symbolic link, not followed.
    Symlink,
    /// Anything else.
    File,
}

/// What is known of a tree.
///
/// It is filled by what somebody tells it while files arrive ([`insert`](Self::insert), [`link`](Self::link),
/// [`remove`](Self::remove)), or from a [`Source`](super::Source) when a digest is asked for, or both. A digest is
/// computed once; a change forgets those of all directories above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// By key. The root is always there, and with a file all directories it is in. Where a file's digest is not known,
    /// none is known of a tree it is in.
    pub(super) known: BTreeMap<Vec<u8>, Known>,
    pub(super) root: Root,
    /// Whether directories are inserted with all that is in them.
    is_told: bool,
    /// Hard links that came before what they link to, by its key.
    waiting: HashMap<Vec<u8>, Vec<Vec<u8>>>,
}

impl Table {
    /// Of a tree that is to be read, of which nothing is known yet.
    #[must_use]
    pub fn unread(root: Root) -> Self {
        Self::new(root, false)
    }

    /// Of an empty tree that is going to be filled: what nobody inserts is not there. Its files are read only if they
    /// were inserted without a digest.
    #[must_use]
    pub fn empty(root: Root) -> Self {
        Self::new(root, true)
    }

    fn new(root: Root, is_told: bool) -> Self {
        let known = BTreeMap::from([(Vec::new(), Known::new(Node::Directory, None, is_told))]);
        Self { known, root, is_told, waiting: HashMap::new() }
    }

    pub(super) fn restored(root: Root, is_told: bool, known: BTreeMap<Vec<u8>, Known>) -> Self {
        Self { known, root, is_told, waiting: HashMap::new() }
    }

    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Says that something is there now, in place of what was. Directories come before what is in them. A directory that
    /// takes the place of one keeps what is in it. Without a digest, it is computed from the source when it is needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the root, a name no file can have, or something in what is not a directory.
    pub fn insert(&mut self, path: &[u8], node: Node, sum: Option<Sum>) -> Result<()> {
        let key = self.place(path)?;
        let known = match (node, self.known.get_mut(&key)) {
            (Node::Directory, Some(Known::Directory { header, .. })) => {
                *header = sum;
                self.forget_above(&key);
                self.forget_tree(&key);
                return Ok(());
            }
            (node, _) => Known::new(node, sum, self.is_told),
        };
        self.remove_below(&key);
        self.forget_above(&key);
        let links = self.waiting.remove(&key).unwrap_or_default();
        for link in links {
            // What took the link's name meanwhile is no link.
            if let Some(Known::File { sum: slot @ None }) = self.known.get_mut(&link) {
                *slot = sum;
            }
        }
        self.known.insert(key, known);
        Ok(())
    }

    /// Says that a hard link is there now, to a file that may come later: it counts as the same file once more.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let target = key(&path::absolute(target));
        match self.known.get(&target) {
            Some(Known::File { sum: Some(sum) }) => self.insert(path, Node::File, Some(*sum)),
            Some(Known::Symlink { target, sum }) => self.insert(path, Node::Symlink(target.clone()), *sum),
            _ => {
                self.insert(path, Node::File, None)?;
                self.waiting.entry(target).or_default().push(key(&path::absolute(path)));
                Ok(())
            }
        }
    }

    /// Says that something is gone, with all that was below it. What was not there may be removed.
    pub fn remove(&mut self, path: &[u8]) {
        let key = key(&path::absolute(path));
        if key.is_empty() {
            return;
        }
        self.remove_below(&key);
        if self.known.remove(&key).is_some() {
            self.forget_above(&key);
        }
    }

    /// All that is known, in the order in which it is hashed.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.known.iter().flat_map(|(key, known)| {
            let mut path = path::of_key(key);
            if path.is_empty() {
                path.push(b'/');
            }
            let (part, sum, header) = match known {
                Known::Directory { header, tree, .. } => (Part::Tree, *tree, Some(*header)),
                Known::Symlink { sum, .. } => (Part::Symlink, *sum, None),
                Known::File { sum } => (Part::File, *sum, None),
            };
            let header = header.map(|sum| Record { path: path.clone(), part: Part::Header, sum });
            std::iter::once(Record { path, part, sum }).chain(header)
        })
    }

    /// The first thing in a directory behind `last`, which is in it, too.
    pub(super) fn child_behind(&self, directory: &[u8], last: Option<&[u8]>) -> Option<(&[u8], &Known)> {
        let from = last.map_or_else(|| child(directory, b""), behind);
        let (key, known) = self.known.range(from..).next()?;
        is_below(key, directory).then_some((key, known))
    }

    /// Adds what a source says. What is known already is right.
    pub(super) fn learn(&mut self, key: Vec<u8>, node: Node) {
        self.known.entry(key).or_insert_with(|| Known::new(node, None, false));
    }

    /// Notes the digest of a file, or of a directory with what is below it.
    pub(super) fn note(&mut self, key: &[u8], sum: Sum) {
        if let Some(
            Known::Directory { tree: slot, .. }
            | Known::Symlink { sum: slot, .. }
            | Known::File { sum: slot },
        ) = self.known.get_mut(key)
        {
            *slot = Some(sum);
        }
    }

    fn place(&self, path: &[u8]) -> Result<Vec<u8>> {
        let invalid = |reason| Error::invalid(OPERATION, path.escape_ascii(), reason);
        let key = key(&path::absolute(path));
        if !path::fits(&key) || path.contains(&0) {
            return Err(invalid("no file can be called so"));
        }
        let parent = parent(&key).ok_or_else(|| invalid("the root is always there"))?;
        match self.known.get(parent) {
            Some(Known::Directory { .. }) => Ok(key),
            _ => Err(invalid("it is in what is no directory")),
        }
    }

    fn remove_below(&mut self, key: &[u8]) {
        if !self.known.get(key).is_some_and(Known::is_directory) {
            return;
        }
        let (from, to) = (child(key, b""), behind(key));
        let below: Vec<_> = self.known.range(from..to).map(|(key, _)| key.clone()).collect();
        for key in below {
            self.known.remove(&key);
        }
    }

    /// Forgets the digests of all trees this is in. Above one that is not known none is.
    fn forget_above(&mut self, key: &[u8]) {
        let mut at = key;
        while let Some(above) = parent(at) {
            if !self.forget_tree(above) {
                return;
            }
            at = above;
        }
    }

    /// Returns whether it was known.
    fn forget_tree(&mut self, key: &[u8]) -> bool {
        match self.known.get_mut(key) {
            Some(Known::Directory { tree, .. }) => tree.take().is_some(),
            _ => false,
        }
    }
}
