//! Names of one file: which there are in a tree, and which of them a layer has to name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::content;
use super::node::Node;
use tokio_util::sync::CancellationToken;

/// Device and number of an inode.
type Inode = (u64, u64);

/// The names of those files of a tree that have several, and what was decided of them.
#[derive(Debug, Default)]
pub(super) struct Links {
    names: HashMap<Inode, Vec<PathBuf>>,
    /// Whether the file of the tree below is this one of the tree above: at most one may be, or what was one file below
    /// and is several above would stay one.
    kept: HashMap<Inode, Inode>,
    verdicts: HashMap<Inode, bool>,
}

impl Links {
    /// Takes in a name, in the order in which the tar is going to have them.
    pub(super) fn add(&mut self, node: &Node, name: &Path) {
        if node.meta.nlink() > 1 && !node.is_dir() {
            self.names.entry(node.inode()).or_default().push(name.to_owned());
        }
    }

    /// Forgets files whose other names are elsewhere.
    pub(super) fn seal(&mut self) {
        self.names.retain(|_, names| names.len() > 1);
    }

    /// The first name of a file in the tar, if `name` is another one of it.
    pub(super) fn first(&self, node: &Node, name: &Path) -> Option<&Path> {
        let first = self.names.get(&node.inode())?.first()?;
        (first != name).then_some(first)
    }

    /// Whether a file that is no directory is to be written, for `below` is not the same.
    ///
    /// It is the same if all its names are names of one file below, which has what it has, and if nothing else above is
    /// taken to be that file. Otherwise all its names are written: a layer whose links lead to a file of its own needs
    /// nothing from below.
    pub(super) fn changed(
        &mut self,
        node: &Node,
        below: Option<&Node>,
        lower: &Path,
        cancel: &CancellationToken,
    ) -> io::Result<bool> {
        let inode = node.inode();
        if let Some(verdict) = self.verdicts.get(&inode) {
            return Ok(*verdict);
        }
        let changed = !self.kept_from(node, below, lower, cancel)?;
        if self.names.contains_key(&inode) {
            self.verdicts.insert(inode, changed);
        }
        Ok(changed)
    }

    fn kept_from(
        &mut self,
        node: &Node,
        below: Option<&Node>,
        lower: &Path,
        cancel: &CancellationToken,
    ) -> io::Result<bool> {
        let Some(below) = below else { return Ok(false) };
        for name in self.names.get(&node.inode()).into_iter().flatten() {
            if inode_of(lower, name)? != Some(below.inode()) {
                return Ok(false);
            }
        }
        // One inode is the same as itself. Otherwise what can be told without reading is compared first; content is
        // never guessed: times can be set, and coarse ones do not tell two writes apart.
        if node.inode() != below.inode() {
            if !node.resembles(below)? {
                return Ok(false);
            }
            if node.kind.is_file() && !content::same(node, below, cancel)? {
                return Ok(false);
            }
        }
        if below.meta.nlink() < 2 {
            return Ok(true);
        }
        Ok(match self.kept.entry(below.inode()) {
            Entry::Occupied(kept) => *kept.get() == node.inode(),
            Entry::Vacant(free) => *free.insert(node.inode()) == node.inode(),
        })
    }
}

/// The inode of a name in a tree, if there is one on a way of directories only.
fn inode_of(root: &Path, name: &Path) -> io::Result<Option<Inode>> {
    let mut path = root.to_owned();
    let mut parts = name.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(part) = part else { return Ok(None) };
        path.push(part);
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match parts.peek() {
            None => return Ok(Some((meta.dev(), meta.ino()))),
            Some(_) if meta.is_dir() => {}
            Some(_) => return Ok(None),
        }
    }
    Ok(None)
}
