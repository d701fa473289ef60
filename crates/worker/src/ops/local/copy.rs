//! The content of one file, copied and hashed in one go.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lazyblob_cache::contenthash::{FileHasher, Kind, Meta, Sum};
use rustix::fs::{FileType, OFlags};
use tokio_util::sync::CancellationToken;

use super::file::{self, Facts, Xattrs};
use super::scan::cancelled;
use crate::error::{Error, Result};
use crate::session::LocalReads;

/// How much is read at once, in bytes.
const PIECE: usize = 256 << 10;
/// The kernel's clock for times of files may be this late: what changes twice within it shows but once.
const TICK: Duration = Duration::from_millis(20);

/// A directory whose files are read.
pub(super) struct Reader<'a> {
    pub(super) root: &'a OwnedFd,
    /// Where it is, for messages.
    pub(super) path: &'a Path,
    /// Told of every file that is read.
    pub(super) reads: Option<Arc<dyn LocalReads>>,
    pub(super) cancel: &'a CancellationToken,
    pub(super) buffer: Vec<u8>,
    /// Told of bytes that were read so far.
    pub(super) told: &'a dyn Fn(u64),
    /// Files and bytes that were read.
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// What was copied: what the file was then, its attributes, and its digest.
pub(super) struct Copied {
    pub(super) facts: Facts,
    pub(super) xattrs: Xattrs,
    pub(super) sum: Sum,
}

/// What one try ended with.
enum Tried {
    Copied(Copied),
    /// It changed meanwhile.
    Changed,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        root: &'a OwnedFd,
        path: &'a Path,
        reads: Option<Arc<dyn LocalReads>>,
        cancel: &'a CancellationToken,
        told: &'a dyn Fn(u64),
    ) -> Self {
        Self { root, path, reads, cancel, buffer: vec![0; PIECE], told, files: 0, bytes: 0 }
    }

    pub(super) fn whole(&self, path: &[u8]) -> PathBuf {
        self.path.join(file::os(path))
    }

    pub(super) fn io(&self, path: &[u8], error: io::Error) -> Error {
        Error::io("read local directory", &self.whole(path), error)
    }

    /// That it is not what it was a moment ago.
    pub(super) fn changed(&self, path: &[u8]) -> Error {
        Error::failed(
            "read local directory",
            self.whole(path).display(),
            "changed while it was read: build again when nobody writes to it",
        )
    }

    /// Copies the regular file at `path` to an empty one. A file that changes meanwhile is read once more.
    pub(super) fn copy(&mut self, path: &[u8], to: &mut File) -> Result<Copied> {
        for _ in 0..2 {
            if let Tried::Copied(copied) = self.attempt(path, to)? {
                return Ok(copied);
            }
            to.rewind().and_then(|()| to.set_len(0)).map_err(|error| self.io(path, error))?;
        }
        Err(self.changed(path))
    }

    fn attempt(&mut self, path: &[u8], to: &mut File) -> Result<Tried> {
        let from = match file::open(self.root, path, OFlags::empty()) {
            Ok(from) => File::from(from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.changed(path)),
            Err(error) => return Err(self.io(path, error)),
        };
        let facts = settled(&from).map_err(|error| self.io(path, error))?;
        if facts.kind() != FileType::RegularFile {
            return Err(self.changed(path));
        }
        if let Some(reads) = &self.reads {
            reads.reads(&self.whole(path));
        }
        self.files += 1;
        let xattrs = file::xattrs(&from).map_err(|error| self.io(path, error))?;
        let mut hasher = FileHasher::new(&meta(&facts, Vec::new(), xattrs.clone()));
        let copied = self.content(path, &from, to, facts.size, &mut hasher)?;
        let after = file::facts_of(&from).map_err(|error| self.io(path, error))?;
        let is_same = copied == facts.size && after == facts;
        Ok(if is_same {
            Tried::Copied(Copied { facts, xattrs, sum: hasher.finish() })
        } else {
            Tried::Changed
        })
    }

    /// Copies at most a byte more than there should be; returns how many.
    fn content(
        &mut self,
        path: &[u8],
        from: &File,
        to: &mut File,
        size: u64,
        hasher: &mut FileHasher,
    ) -> Result<u64> {
        // A file system that shares what files have in common copies without moving a byte; it is read for its digest alone.
        let is_cloned = rustix::fs::ioctl_ficlone(&*to, from).is_ok();
        let mut source = from.take(size.saturating_add(1));
        let mut copied = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(cancelled(self.path));
            }
            let read = match source.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Error::io("read local directory", &self.path.join(file::os(path)), error));
                }
            };
            let piece = self.buffer.get(..read).unwrap_or_default();
            hasher.update(piece);
            copied += piece.len() as u64;
            self.bytes += piece.len() as u64;
            (self.told)(self.bytes);
            if is_cloned {
                continue;
            }
            // Holes stay holes, wherever they were.
            let written = if piece.len() == PIECE && piece.iter().all(|byte| *byte == 0) {
                to.seek(SeekFrom::Current(i64::try_from(PIECE).unwrap_or_default())).map(drop)
            } else {
                to.write_all(piece)
            };
            written.map_err(|error| kept(path, error))?;
        }
        to.set_len(copied).map_err(|error| kept(path, error))?;
        Ok(copied)
    }
}

/// What is hashed of something that is sent: it is root's.
pub(super) fn meta(facts: &Facts, target: Vec<u8>, xattrs: Xattrs) -> Meta {
    let kind = match facts.kind() {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Character,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        _ => Kind::File,
    };
    let mut meta = Meta::new(kind, facts.permissions());
    meta.size = facts.size;
    meta.target = target;
    meta.xattrs = xattrs;
    if matches!(kind, Kind::Character | Kind::Block) {
        meta.device = facts.device;
    }
    meta
}

/// That the copy could not be written.
pub(super) fn kept(path: &[u8], error: io::Error) -> Error {
    Error::io("keep local directory", Path::new(&file::os(path)), error)
}

/// What an open file is, once its times tell whether it changes from now on.
#[allow(clippy::disallowed_methods, reason = "in a thread that may block, and for no more than a tick")]
fn settled(file: &File) -> io::Result<Facts> {
    let mut looks = 0;
    loop {
        looks += 1;
        let facts = file::facts_of(file)?;
        let (seconds, nanos) = facts.ctime;
        let since = Duration::new(u64::try_from(seconds).unwrap_or_default(), nanos);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match now.checked_sub(since) {
            // One that never rests is found out when it has been read.
            Some(age) if age < TICK && looks < 3 => std::thread::sleep(TICK.saturating_sub(age)),
            // A clock that is ahead tells nothing.
            _ => return Ok(facts),
        }
    }
}
