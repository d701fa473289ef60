//! What was sent of a directory the last time, so that nothing that is as it was is read again.

use std::collections::HashMap;

use lazyblob_cache::contenthash::{Node, Root, Sum, Table};
use prost::Message;
use rustix::fs::FileType;

use super::file::Facts;
use super::scan::Item;
use crate::error::Result;

/// All that was sent, in the order of the scan, each with its digest.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(pub(super) Vec<(Item, Sum)>);

/// The version of what is written. Another one is not read.
const VERSION: u32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Written {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, repeated, tag = "2")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(bytes = "vec", tag = "1")]
    path: Vec<u8>,
    #[prost(uint32, tag = "2")]
    mode: u32,
    #[prost(uint64, tag = "3")]
    size: u64,
    #[prost(sint64, tag = "4")]
    modified: i64,
    #[prost(uint32, tag = "5")]
    modified_nanos: u32,
    #[prost(sint64, tag = "6")]
    changed: i64,
    #[prost(uint32, tag = "7")]
    changed_nanos: u32,
    #[prost(uint32, tag = "8")]
    on_major: u32,
    #[prost(uint32, tag = "9")]
    on_minor: u32,
    #[prost(uint64, tag = "10")]
    inode: u64,
    #[prost(uint32, tag = "11")]
    names: u32,
    #[prost(uint32, tag = "12")]
    major: u32,
    #[prost(uint32, tag = "13")]
    minor: u32,
    #[prost(bytes = "vec", tag = "14")]
    target: Vec<u8>,
    #[prost(string, tag = "15")]
    digest: String,
}

impl Index {
    /// Whether the directory has exactly what it had.
    pub(super) fn is_of(&self, items: &[Item]) -> bool {
        self.0.len() == items.len()
            && self.0.iter().zip(items).all(|((then, _), now)| then.path == now.path && then.is_still(now))
    }

    /// By path.
    pub(super) fn by_path(&self) -> HashMap<&[u8], (&Item, Sum)> {
        self.0.iter().map(|(item, sum)| (item.path.as_slice(), (item, *sum))).collect()
    }

    /// The table of digests of the tree.
    ///
    /// # Errors
    /// [`Error::Cache`](crate::Error::Cache) for paths that no tree has.
    pub(super) fn table(&self) -> Result<Table> {
        let mut table = Table::empty(Root::Local);
        for (item, sum) in &self.0 {
            let node = match item.facts.kind() {
                FileType::Directory => Node::Directory,
                FileType::Symlink => Node::Symlink(item.target.clone()),
                _ => Node::File,
            };
            table.insert(&item.path, node, Some(*sum))?;
        }
        Ok(table)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let files = self.0.iter().map(|(item, sum)| {
            let facts = &item.facts;
            File {
                path: item.path.clone(),
                mode: facts.mode,
                size: facts.size,
                modified: facts.mtime.0,
                modified_nanos: facts.mtime.1,
                changed: facts.ctime.0,
                changed_nanos: facts.ctime.1,
                on_major: facts.inode.0,
                on_minor: facts.inode.1,
                inode: facts.inode.2,
                names: facts.names,
                major: facts.device.0,
                minor: facts.device.1,
                target: item.target.clone(),
                digest: sum.to_string(),
            }
        });
        let bytes = Written { version: VERSION, files: files.collect() }.encode_to_vec();
        // What is cut short or damaged is as good as none, and must be seen to be.
        [Sum::of(&bytes).to_string().into_bytes(), bytes].concat()
    }

    /// What [`encode`](Self::encode) wrote; nothing of anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        const LENGTH: usize = "sha256:".len() + 64;
        let (sum, bytes) = bytes.split_at_checked(LENGTH)?;
        if Sum::of(bytes).to_string().as_bytes() != sum {
            return None;
        }
        let written = Written::decode(bytes).ok().filter(|written| written.version == VERSION)?;
        let files = written.files.into_iter().map(|file| {
            let facts = Facts {
                mode: file.mode,
                size: file.size,
                mtime: (file.modified, file.modified_nanos),
                ctime: (file.changed, file.changed_nanos),
                inode: (file.on_major, file.on_minor, file.inode),
                names: file.names,
                device: (file.major, file.minor),
            };
            let sum = Sum::from_digest(&file.digest.parse().ok()?)?;
            Some((Item { path: file.path, facts, target: file.target }, sum))
        });
        files.collect::<Option<Vec<_>>>().map(Self)
    }
}

impl Item {
    /// Whether this is how it was left.
    pub(super) fn is_still(&self, now: &Self) -> bool {
        self.facts == now.facts && self.target == now.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_as_it_was_written_or_not_at_all() {
        let facts = Facts {
            mode: 0o100_644,
            size: 3,
            mtime: (-1, 999_999_999),
            ctime: (1 << 40, 1),
            inode: (8, 1, u64::MAX),
            names: 2,
            device: (1, 3),
        };
        let item = Item { path: b"a/\xff".to_vec(), facts, target: b"x".to_vec() };
        let index = Index(vec![(item, Sum::of(b"abc"))]);
        let bytes = index.encode();
        let read = Index::decode(&bytes).unwrap();
        assert!(read.is_of(&[index.0[0].0.clone()]));
        assert_eq!(read.0[0].1, Sum::of(b"abc"));
        for cut in 0..bytes.len() {
            assert!(Index::decode(&bytes[..cut]).is_none(), "{cut}");
        }
        let mut other = bytes;
        *other.last_mut().unwrap() ^= 1;
        assert!(Index::decode(&other).is_none());
    }
}
