//! Reading tar: v7, ustar, star, GNU and PAX, with all that real layers are made of.
//!
//! The `tar` crate is not used for it: it splits PAX records at line ends, which binary xattrs have in them, does not
//! know GNU's sparse forms 0.0 to 1.0 in PAX, and copies every name several times.

mod base64;
mod header;
mod pax;
mod read;
mod sparse;

use rustix::fs::Timespec;

pub(super) use header::{Header, is_zero, looks_like_tar};
pub(super) use pax::{record, time};
pub(super) use read::Reader;

/// The unit of a tar.
const BLOCK: usize = 512;

/// One file of a tar, as it is written there.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    /// The target of a link.
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timespec,
    /// The size of the file, holes and all.
    pub(super) size: u64,
    /// Major and minor of a device.
    pub(super) device: (u32, u32),
    pub(super) xattrs: Vec<Xattr>,
    /// Where the data of the entry go, where the file has holes.
    pub(super) extents: Option<Vec<Extent>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Character,
    Block,
    Fifo,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Xattr {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// A stretch of data in a file with holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}
