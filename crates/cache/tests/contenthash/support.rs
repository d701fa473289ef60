//! Trees in memory that say what was read of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;

use lazyblob_cache::contenthash::{FileHasher, Kind, Meta, Node, Part, Root, Selector, Source, Sum, Table};
use lazyblob_cache::{Error, Result};
use tokio_util::sync::CancellationToken;

/// A tree in memory, by relative paths; the root is always there.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) files: BTreeMap<Vec<u8>, (Meta, Vec<u8>)>,
    /// Every call, as `operation path`.
    pub(crate) calls: Vec<String>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let root = (Meta::new(Kind::Directory, 0o755), Vec::new());
        Self { files: BTreeMap::from([(Vec::new(), root)]), calls: Vec::new() }
    }

    /// Of words: `d/` is a directory, `l -> target` a link, `f=content` a file.
    pub(crate) fn of(words: &[&str]) -> Self {
        let mut tree = Self::new();
        for word in words {
            if let Some((path, target)) = word.split_once(" -> ") {
                tree.add(path, Meta { target: target.into(), ..Meta::new(Kind::Symlink, 0o777) }, "");
            } else if let Some(path) = word.strip_suffix('/') {
                tree.add(path, Meta::new(Kind::Directory, 0o755), "");
            } else {
                let (path, content) = word.split_once('=').unwrap_or((word, ""));
                tree.add(path, Meta::new(Kind::File, 0o644), content);
            }
        }
        tree
    }

    pub(crate) fn add(&mut self, path: impl Into<Vec<u8>>, mut meta: Meta, content: impl Into<Vec<u8>>) {
        let content = content.into();
        if meta.kind == Kind::File {
            meta.size = content.len() as u64;
        }
        self.files.insert(path.into(), (meta, content));
    }

    pub(crate) fn sum(&mut self, table: &mut Table, selector: &Selector) -> Result<Sum> {
        table.sum(self, selector, &CancellationToken::new())
    }

    /// What a selector means of this tree, of which nothing is known yet.
    pub(crate) fn fresh(&self, selector: &Selector) -> Result<Sum> {
        self.clone().sum(&mut Table::unread(Root::Snapshot), selector)
    }

    /// The digest of one file or directory, not followed.
    pub(crate) fn at(&self, path: &str) -> Sum {
        self.fresh(&Selector::path(path)).unwrap()
    }

    /// A table that was told all of it.
    pub(crate) fn told(&self, root: Root) -> Table {
        let mut table = Table::empty(root);
        for (path, (meta, content)) in self.files.iter().filter(|(path, _)| !path.is_empty()) {
            let mut hasher = FileHasher::new(meta);
            hasher.update(content);
            table.insert(path, node(meta), Some(hasher.finish())).unwrap();
        }
        table
    }

    /// The calls since the last time, those that read content, in words.
    pub(crate) fn reads(&mut self) -> Vec<String> {
        let calls = std::mem::take(&mut self.calls);
        calls.into_iter().filter_map(|call| call.strip_prefix("read ").map(str::to_owned)).collect()
    }

    fn call(&mut self, operation: &str, path: &[u8]) {
        self.calls.push(format!("{operation} {}", path.escape_ascii()));
    }

    fn below(&self, directory: &[u8]) -> Range<'_, Vec<u8>, (Meta, Vec<u8>)> {
        let from = if directory.is_empty() { vec![] } else { [directory, b"/"].concat() };
        self.files.range((Bound::Excluded(from), Bound::Unbounded))
    }
}

fn node(meta: &Meta) -> Node {
    match meta.kind {
        Kind::Directory => Node::Directory,
        Kind::Symlink => Node::Symlink(meta.target.clone()),
        _ => Node::File,
    }
}

impl Source for Memory {
    fn node(&mut self, path: &[u8]) -> Result<Option<Node>> {
        self.call("node", path);
        Ok(self.files.get(path).map(|(meta, _)| node(meta)))
    }

    fn list(&mut self, directory: &[u8]) -> Result<Vec<(Vec<u8>, Node)>> {
        self.call("list", directory);
        let prefix = if directory.is_empty() { vec![] } else { [directory, b"/"].concat() };
        let below = self.below(directory).take_while(|(path, _)| path.starts_with(&prefix));
        let names = below.filter_map(|(path, (meta, _))| {
            let name = &path[prefix.len()..];
            (!name.contains(&b'/')).then(|| (name.to_vec(), node(meta)))
        });
        Ok(names.collect())
    }

    fn meta(&mut self, path: &[u8]) -> Result<Meta> {
        self.call("meta", path);
        let found = self.files.get(path).map(|(meta, _)| meta.clone());
        found.ok_or_else(|| Error::not_found("read", path.escape_ascii(), ""))
    }

    fn read(&mut self, path: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.call("read", path);
        let content = self.files.get(path).map(|(_, content)| content.clone()).unwrap_or_default();
        content.chunks(7).try_for_each(each)
    }
}

/// A selector with wildcards.
pub(crate) fn wild(path: &str) -> Selector {
    Selector { wildcard: true, ..Selector::path(path) }
}

/// A selector with patterns.
pub(crate) fn filtered(path: &str, include: &[&str], exclude: &[&str]) -> Selector {
    let owned = |list: &[&str]| list.iter().map(|&pattern| pattern.to_owned()).collect();
    Selector { include: owned(include), exclude: owned(exclude), ..Selector::path(path) }
}

/// What a selector that takes these must come to: names as they are hashed, and digests.
pub(crate) fn expected(entries: &[(&str, Sum)]) -> Sum {
    let mut text = Vec::new();
    for (name, sum) in entries {
        text.extend(name.replace('/', "\0").into_bytes());
        if name.is_empty() {
            text.push(0);
        }
        text.extend(sum.to_string().into_bytes());
    }
    Sum::of(&text)
}

/// The digest of a directory itself.
pub(crate) fn header(mode: u32) -> Sum {
    FileHasher::new(&Meta::new(Kind::Directory, mode)).finish()
}

/// All records of a table, in words, after everything has been computed.
pub(crate) fn records(table: &mut Table, source: &mut dyn Source) -> Vec<(String, Part, Sum)> {
    table.checksum(source, &[], &CancellationToken::new()).unwrap();
    table
        .records()
        .map(|record| (String::from_utf8_lossy(&record.path).into_owned(), record.part, record.sum.unwrap()))
        .collect()
}
