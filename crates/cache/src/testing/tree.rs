//! A directory tree as a value that tests compare: everything an image may say of a file, and nothing of where it lies.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use lazyblob_remote::digest::Hasher;
use oci_spec::image::DigestAlgorithm;
use rustix::fs::{SeekFrom, llistxattr, major, minor, seek};
use rustix::io::Errno;

use crate::error::{IoContext as _, Result};

/// The tree below a directory and the directory itself, whose name is the empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// By path, relative to the root.
    pub nodes: BTreeMap<PathBuf, Node>,
}

/// A file of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is, and what it has in it.
    pub kind: Kind,
    /// Permissions, setuid, setgid and sticky bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds of the last change of content.
    pub mtime: (i64, i64),
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first name of the file, by the order of names, where it has several in this tree.
    pub link: Option<PathBuf>,
}

/// What a file is, and what it has in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Of the content.
        digest: String,
        /// Where there are data, as offset and end; the rest is holes.
        data: Vec<(u64, u64)>,
    },
    /// A symbolic link to this.
    Symlink(PathBuf),
    /// A block device, major and minor.
    Block(u32, u32),
    /// A character device, major and minor.
    Character(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What a comparison may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Owners and groups.
    Owners,
    /// Modification times of all files.
    Times,
    /// Modification times of directories.
    DirectoryTimes,
    /// Permissions, setuid, setgid and sticky bits.
    Modes,
    /// Extended attributes.
    Xattrs,
    /// Which names are one file.
    Links,
    /// Where files have holes.
    Holes,
    /// Everything about the root directory itself.
    Root,
}

impl Tree {
    /// Reads the tree at `dir`, all content included.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) with the file that cannot be read.
    pub fn of(dir: &Path) -> Result<Self> {
        let mut nodes = BTreeMap::new();
        let mut inodes: BTreeMap<PathBuf, (u64, u64)> = BTreeMap::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(name) = waiting.pop() {
            let path = if name.as_os_str().is_empty() { dir.to_owned() } else { dir.join(&name) };
            let (node, inode) = read(&path).during("list tree", dir.display(), &path)?;
            if matches!(node.kind, Kind::Directory) {
                for entry in std::fs::read_dir(&path).during("list tree", dir.display(), &path)? {
                    let entry = entry.during("list tree", dir.display(), &path)?;
                    waiting.push(name.join(entry.file_name()));
                }
            } else if let Some(inode) = inode {
                inodes.insert(name.clone(), inode);
            }
            nodes.insert(name, node);
        }
        group(&mut nodes, &inodes);
        Ok(Self { nodes })
    }

    /// The same tree without one part of what it says.
    #[must_use]
    pub fn without(mut self, part: Part) -> Self {
        if part == Part::Root {
            self.nodes.remove(Path::new(""));
        }
        for node in self.nodes.values_mut() {
            match part {
                Part::Owners => node.owner = (0, 0),
                Part::Times => node.mtime = (0, 0),
                Part::DirectoryTimes if matches!(node.kind, Kind::Directory) => node.mtime = (0, 0),
                Part::Modes => node.mode = 0,
                Part::Xattrs => node.xattrs.clear(),
                Part::Links => node.link = None,
                Part::Holes => {
                    if let Kind::File { data, .. } = &mut node.kind {
                        data.clear();
                    }
                }
                Part::DirectoryTimes | Part::Root => {}
            }
        }
        self
    }

    /// The file of this name, relative to the root.
    #[must_use]
    pub fn get(&self, name: impl AsRef<Path>) -> Option<&Node> {
        self.nodes.get(name.as_ref())
    }

    /// All names but the root's, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.nodes.keys().filter_map(|name| name.to_str()).filter(|name| !name.is_empty()).collect()
    }

    /// What differs, a line for each name: `here` is this tree, `there` the other one. Empty where the trees are equal.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, here) in &self.nodes {
            match other.nodes.get(name) {
                None => lines.push(format!("{}: only here: {here}", name.display())),
                Some(there) if there != here => {
                    lines.push(format!("{}: here {here}; there {there}", name.display()));
                }
                Some(_) => {}
            }
        }
        for (name, there) in &other.nodes {
            if !self.nodes.contains_key(name) {
                lines.push(format!("{}: only there: {there}", name.display()));
            }
        }
        lines
    }

    /// Checks that two trees are the same.
    ///
    /// # Panics
    /// Where they are not, with what differs.
    pub fn assert_equals(&self, other: &Self) {
        let lines = self.diff(other);
        assert!(lines.is_empty(), "the trees differ:\n{}", lines.join("\n"));
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, gid) = self.owner;
        write!(f, "{:?} {:04o} {uid}:{gid} {}.{:09}", self.kind, self.mode, self.mtime.0, self.mtime.1)?;
        for (name, value) in &self.xattrs {
            write!(f, " {name}={}", value.escape_ascii())?;
        }
        match &self.link {
            Some(first) => write!(f, " is {}", first.display()),
            None => Ok(()),
        }
    }
}

/// The file, and its inode where it may have other names.
fn read(path: &Path) -> std::io::Result<(Node, Option<(u64, u64)>)> {
    let status = std::fs::symlink_metadata(path)?;
    let (kind, device) = (status.file_type(), status.rdev());
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink(std::fs::read_link(path)?)
    } else if kind.is_file() {
        let (digest, data) = content(path, status.size())?;
        Kind::File { size: status.size(), digest, data }
    } else if kind.is_block_device() {
        Kind::Block(major(device), minor(device))
    } else if kind.is_char_device() {
        Kind::Character(major(device), minor(device))
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    };
    let node = Node {
        mode: if matches!(kind, Kind::Symlink(_)) { 0o777 } else { status.mode() & 0o7777 },
        kind,
        owner: (status.uid(), status.gid()),
        mtime: (status.mtime(), status.mtime_nsec()),
        xattrs: xattrs(path)?,
        link: None,
    };
    Ok((node, (status.nlink() > 1).then(|| (status.dev(), status.ino()))))
}

/// The digest of the content, and where there are data.
fn content(path: &Path, size: u64) -> std::io::Result<(String, Vec<(u64, u64)>)> {
    let mut file = File::open(path)?;
    let mut data = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = seek(&file, SeekFrom::Hole(start))?;
        data.push((start, at));
    }
    seek(&file, SeekFrom::Start(0))?;
    let mut hasher =
        Hasher::new(&DigestAlgorithm::Sha256).ok_or_else(|| std::io::Error::other("no sha256"))?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher.finish(), data)),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

fn xattrs(path: &Path) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    let length = match llistxattr(path, &mut list) {
        Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        other => other?,
    };
    list.truncate(length);
    let mut found = BTreeMap::new();
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value)?;
        value.truncate(length);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    Ok(found)
}

/// Gives all names of an inode the first one; an inode with one name in this tree has none.
fn group(nodes: &mut BTreeMap<PathBuf, Node>, inodes: &BTreeMap<PathBuf, (u64, u64)>) {
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for (name, inode) in inodes {
        let original = match first.entry(*inode) {
            Entry::Vacant(entry) => {
                entry.insert(name.clone());
                continue;
            }
            Entry::Occupied(entry) => entry.get().clone(),
        };
        for name in [&original, name] {
            if let Some(node) = nodes.get_mut(name) {
                node.link = Some(original.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn example() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/one"), "content").unwrap();
        fs::hard_link(dir.path().join("d/one"), dir.path().join("two")).unwrap();
        symlink("d/one", dir.path().join("link")).unwrap();
        let file = File::create(dir.path().join("sparse")).unwrap();
        file.set_len(1 << 20).unwrap();
        dir
    }

    #[test]
    fn names_of_one_file_are_a_group_and_holes_are_seen() {
        let dir = example();
        let tree = Tree::of(dir.path()).unwrap();
        assert_eq!(tree.names(), ["d", "d/one", "link", "sparse", "two"]);
        assert_eq!(tree.get("two").unwrap().link.as_deref(), Some(Path::new("d/one")));
        assert_eq!(tree.get("d/one").unwrap().link.as_deref(), Some(Path::new("d/one")));
        let Kind::File { size, data, .. } = &tree.get("sparse").unwrap().kind else { panic!("a file") };
        assert_eq!((*size, data.len()), (1 << 20, 0), "nothing but a hole");
        assert_eq!(tree.get("link").unwrap().kind, Kind::Symlink("d/one".into()));
    }

    #[test]
    fn what_differs_is_said_by_name_and_may_be_left_out() {
        let (one, two) = (example(), example());
        fs::set_permissions(two.path().join("d"), fs::Permissions::from_mode(0o700)).unwrap();
        let (here, there) = (Tree::of(one.path()).unwrap(), Tree::of(two.path()).unwrap());
        let (here, there) = (here.without(Part::Times), there.without(Part::Times));
        let lines = here.diff(&there);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("d: here Directory 0755"), "{lines:?}");
        here.clone().without(Part::Modes).assert_equals(&there.clone().without(Part::Modes));
        fs::remove_file(two.path().join("link")).unwrap();
        let there = Tree::of(two.path()).unwrap();
        assert!(here.diff(&there).iter().any(|line| line.starts_with("link: only here")));
        assert_ne!(here, there);
    }
}
