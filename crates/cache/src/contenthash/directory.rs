//! A tree that lies in a directory: a mounted snapshot, or a local directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, openat};

use super::header::{Kind, Meta};
use super::source::{Node, Source};
use super::table::OPERATION;
use crate::error::{Error, IoContext as _, Result};
use crate::snapshot::file::{Facts, facts, list, read_link};
use crate::snapshot::xattrs;

/// How much of a file is read at once.
const PIECE: usize = 256 << 10;

/// A directory that is read beneath an open descriptor: whatever becomes of the tree meanwhile, no link is followed.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    root: OwnedFd,
    is_local: bool,
    /// The directory that was asked of last.
    recent: Option<(Vec<u8>, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Directory {
    /// The tree of a snapshot.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened.
    pub fn snapshot(path: &Path) -> Result<Self> {
        Self::open(path, false)
    }

    /// A local directory as its sender says it: all is root's, and device numbers count.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened.
    pub fn local(path: &Path) -> Result<Self> {
        Self::open(path, true)
    }

    fn open(path: &Path, is_local: bool) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from);
        let root = root.during(OPERATION, path.display(), path)?;
        Ok(Self { path: path.to_owned(), root, is_local, recent: None, buffer: Vec::new() })
    }

    /// The directory something is in, and its name there; the root is `.` in itself.
    fn at<'a>(&mut self, path: &'a [u8]) -> io::Result<(&OwnedFd, &'a OsStr)> {
        let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
            return Ok((&self.root, OsStr::from_bytes(if path.is_empty() { b"." } else { path })));
        };
        let (directory, name) = path.split_at(slash);
        let directory = self.directory(directory)?;
        Ok((directory, OsStr::from_bytes(name.get(1..).unwrap_or_default())))
    }

    fn directory(&mut self, path: &[u8]) -> io::Result<&OwnedFd> {
        if path.is_empty() {
            return Ok(&self.root);
        }
        let recent = match self.recent.take() {
            Some(recent) if recent.0 == path => recent,
            _ => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut opened: Option<OwnedFd> = None;
                for name in path.split(|byte| *byte == b'/') {
                    opened = Some(openat(opened.as_ref().unwrap_or(&self.root), name, flags, Mode::empty())?);
                }
                (path.to_vec(), opened.ok_or(io::ErrorKind::NotFound)?)
            }
        };
        Ok(&self.recent.insert(recent).1)
    }

    /// Names the file that something went wrong with.
    fn during<T>(&self, path: &[u8], done: io::Result<T>) -> Result<T> {
        let whole = self.path.join(OsStr::from_bytes(path));
        done.during(OPERATION, self.path.display(), &whole)
    }

    fn try_node(&mut self, path: &[u8]) -> io::Result<Option<Node>> {
        let (directory, name) = match self.at(path) {
            // It was a directory before.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            other => other?,
        };
        let Some(facts) = facts(directory, name)? else { return Ok(None) };
        node(directory, name, facts.kind()).map(Some)
    }

    fn try_list(&mut self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Node)>> {
        let directory = self.directory(path)?;
        let mut found = Vec::new();
        for (name, kind) in list(directory)? {
            let kind = match kind {
                FileType::Unknown => match facts(directory, &name)? {
                    Some(facts) => facts.kind(),
                    None => continue,
                },
                kind => kind,
            };
            let node = node(directory, &name, kind)?;
            found.push((name.into_vec(), node));
        }
        Ok(found)
    }

    fn try_meta(&mut self, path: &[u8]) -> io::Result<Option<Meta>> {
        let is_local = self.is_local;
        let (directory, name) = self.at(path)?;
        let Some(facts) = facts(directory, name)? else { return Ok(None) };
        let kind = kind(&facts);
        let mut meta = Meta::new(kind, facts.mode());
        meta.size = facts.size();
        if kind == Kind::Symlink {
            meta.target = read_link(directory, name)?.into_os_string().into_vec();
        }
        if is_local {
            if matches!(kind, Kind::Character | Kind::Block) {
                meta.device = facts.device();
            }
        } else {
            (meta.uid, meta.gid) = facts.owner();
        }
        let found = xattrs::with_mode((directory, name), &facts)?;
        (meta.mode, meta.xattrs) = found;
        Ok(Some(meta))
    }
}

impl Source for Directory {
    fn node(&mut self, path: &[u8]) -> Result<Option<Node>> {
        let done = self.try_node(path);
        self.during(path, done)
    }

    fn list(&mut self, directory: &[u8]) -> Result<Vec<(Vec<u8>, Node)>> {
        let done = self.try_list(directory);
        self.during(directory, done)
    }

    fn meta(&mut self, path: &[u8]) -> Result<Meta> {
        let done = self.try_meta(path);
        let gone = || Error::not_found(OPERATION, path.escape_ascii(), "it was removed meanwhile");
        self.during(path, done)?.ok_or_else(gone)
    }

    fn read(&mut self, path: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        // A pipe that has taken its place would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened =
            self.at(path).and_then(|(directory, name)| Ok(openat(directory, name, flags, Mode::empty())?));
        let mut file = File::from(self.during(path, opened)?);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(PIECE, 0);
        let done = loop {
            match file.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(length) => {
                    if let Err(error) = each(buffer.get(..length).unwrap_or_default()) {
                        break Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break self.during(path, Err(error)),
            }
        };
        self.buffer = buffer;
        done
    }
}

fn node(directory: &OwnedFd, name: &OsStr, kind: FileType) -> io::Result<Node> {
    Ok(match kind {
        FileType::Directory => Node::Directory,
        FileType::Symlink => Node::Symlink(read_link(directory, name)?.into_os_string().into_vec()),
        _ => Node::File,
    })
}

fn kind(facts: &Facts) -> Kind {
    match facts.kind() {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Character,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        _ => Kind::File,
    }
}
