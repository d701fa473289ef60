//! A file of a tree: what a layer says of it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr, major, minor};
use rustix::io::Errno;
use tar::EntryType;

use crate::layer::xattr::{is_of_image, mode_of};

/// What xattr names and values may take at most (Linux: XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_MAX: usize = 64 * 1024;

/// A file; what is told apart by it is all an image may say of one, but for its content.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) meta: Metadata,
    /// As an image says it: what is stored may be another.
    mode: u32,
    pub(super) kind: EntryType,
}

/// Extended attributes, by name.
pub(super) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

impl Node {
    /// The file at `path`, links not followed. Nothing where there is none, and where there is a socket.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = match meta.file_type() {
            kind if kind.is_dir() => EntryType::Directory,
            kind if kind.is_file() => EntryType::Regular,
            kind if kind.is_symlink() => EntryType::Symlink,
            kind if kind.is_char_device() => EntryType::Char,
            kind if kind.is_block_device() => EntryType::Block,
            kind if kind.is_fifo() => EntryType::Fifo,
            _ => return Ok(None),
        };
        let mut mode = meta.mode() & 0o7777;
        if matches!(kind, EntryType::Directory | EntryType::Regular) {
            mode = mode_of(mode, meta.is_dir(), |name, value| lgetxattr(path, name, value))?;
        }
        Ok(Some(Self { path: path.to_owned(), meta, mode, kind }))
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == EntryType::Directory
    }

    /// What tells inodes apart.
    pub(super) fn inode(&self) -> (u64, u64) {
        (self.meta.dev(), self.meta.ino())
    }

    /// Permissions, setuid, setgid and sticky bits. Those of a symbolic link mean nothing and are always 0777.
    pub(super) fn mode(&self) -> u32 {
        if self.kind == EntryType::Symlink { 0o777 } else { self.mode }
    }

    /// Seconds since 1970 and nanoseconds after these.
    pub(super) fn mtime(&self) -> (i64, u32) {
        (self.meta.mtime(), u32::try_from(self.meta.mtime_nsec()).unwrap_or_default())
    }

    /// Major and minor number of a device.
    pub(super) fn device(&self) -> (u32, u32) {
        if !matches!(self.kind, EntryType::Char | EntryType::Block) {
            return (0, 0);
        }
        (major(self.meta.rdev()), minor(self.meta.rdev()))
    }

    /// Where a symbolic link leads.
    pub(super) fn target(&self) -> io::Result<Vec<u8>> {
        if self.kind != EntryType::Symlink {
            return Ok(Vec::new());
        }
        Ok(fs::read_link(&self.path)?.into_os_string().into_vec())
    }

    /// The extended attributes that belong to an image: not those that steer overlayfs, and not those that belong to the
    /// machine the tree is on.
    pub(super) fn xattrs(&self) -> io::Result<Xattrs> {
        let mut xattrs = Xattrs::new();
        for name in xattr_names(&self.path)? {
            if !is_of_image(&name) {
                continue;
            }
            if let Some(value) = xattr(&self.path, &name)? {
                xattrs.insert(name, value);
            }
        }
        Ok(xattrs)
    }

    /// Whether two files are the same but for their content, whose size is compared.
    pub(super) fn resembles(&self, other: &Self) -> io::Result<bool> {
        let (one, two) = (&self.meta, &other.meta);
        let size = |node: &Self| if node.kind == EntryType::Regular { node.meta.len() } else { 0 };
        Ok(self.kind == other.kind
            && self.mode() == other.mode()
            && one.uid() == two.uid()
            && one.gid() == two.gid()
            && self.mtime() == other.mtime()
            && size(self) == size(other)
            && self.device() == other.device()
            && self.target()? == other.target()?
            && self.xattrs()? == other.xattrs()?)
    }
}

/// One extended attribute of a file, links not followed.
pub(super) fn xattr(path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut small = [0; 256];
    let mut large = Vec::new();
    loop {
        let buffer = if large.is_empty() { &mut small[..] } else { &mut large[..] };
        match lgetxattr(path, name, &mut *buffer) {
            Ok(len) => return Ok(Some(buffer[..len].to_vec())),
            Err(Errno::RANGE) if large.is_empty() => large = vec![0; XATTR_MAX],
            // It went away in between, or there is no such thing here.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn xattr_names(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut small = [0; 1024];
    let mut large = Vec::new();
    loop {
        let buffer = if large.is_empty() { &mut small[..] } else { &mut large[..] };
        match llistxattr(path, &mut *buffer) {
            Ok(len) => {
                let names = buffer[..len].split(|byte| *byte == 0);
                return Ok(names.filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect());
            }
            Err(Errno::RANGE) if large.is_empty() => large = vec![0; XATTR_MAX],
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    }
}
