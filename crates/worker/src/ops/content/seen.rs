//! A tree that is looked at.

use std::sync::Arc;

use lazyblob_cache::Result;
use lazyblob_cache::contenthash::{Directory, Meta, Node, Root, Source};
use lazyblob_cache::tree::Tree;

/// A tree at a path, which stays there until this goes.
pub(super) struct Seen {
    directory: Directory,
    _tree: Arc<Tree>,
}

impl Seen {
    /// A tree with this root.
    pub(super) fn open(tree: Arc<Tree>, root: Root) -> Result<Self> {
        let directory = match root {
            Root::Local => Directory::local(tree.path())?,
            Root::Snapshot | Root::AsFound => Directory::snapshot(tree.path())?,
        };
        Ok(Self { directory, _tree: tree })
    }
}

impl Source for Seen {
    fn node(&mut self, path: &[u8]) -> Result<Option<Node>> {
        self.directory.node(path)
    }

    fn list(&mut self, directory: &[u8]) -> Result<Vec<(Vec<u8>, Node)>> {
        self.directory.list(directory)
    }

    fn meta(&mut self, path: &[u8]) -> Result<Meta> {
        self.directory.meta(path)
    }

    fn read(&mut self, path: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.directory.read(path, each)
    }
}
