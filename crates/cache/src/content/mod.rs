//! The blobs that are here: a thin face over the image layout of a root.
//!
//! Bytes come in through [`Ingests`] and no other way. What is here is known in two places: the file system is the truth,
//! and a table in memory answers without asking it. The table is told what this process stores and removes; what others
//! store is found when the table does not have it, and what others remove when somebody wants to read it.

mod list;
mod verify;

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dashmap::DashMap;
use lazyblob_remote::layout::{Ingests, Layout, Received, blob_path};
use lazyblob_remote::transfer::Blob;
use lazyblob_remote::{Mismatch, What};
use oci_spec::image::{Descriptor, Digest};

pub use list::Stored;

use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result};
use crate::root::{Root, Trash, Trashed};

const READ: &str = "read blob";
const LOOK: &str = "look for blob";

/// The blobs of a root. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Store {
    layout: Layout,
    trash: Trash,
    /// The sizes of those that are here, as far as is known.
    present: Arc<DashMap<Digest, u64>>,
}

impl Store {
    /// The blobs of `root`.
    #[must_use]
    pub fn new(root: &Root) -> Self {
        Self { layout: root.store().clone(), trash: root.trash().clone(), present: Arc::default() }
    }

    /// The layout they are in.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Unfinished ones, which are listed, removed and expire here, and the way to store new ones.
    #[must_use]
    pub fn ingests(&self) -> &Ingests {
        self.layout.ingests()
    }

    /// Where a blob is, whether it is there or not.
    ///
    /// # Errors
    /// [`Error::Remote`] for a digest that cannot be verified.
    pub fn path(&self, digest: &Digest) -> Result<PathBuf> {
        Ok(blob_path(self.layout.root(), digest)?)
    }

    /// Whether a blob was here in its full size when it was looked for last. Does not touch the disk: it may have been
    /// removed by another process since, and one that another process has stored may not be known yet.
    #[must_use]
    pub fn knows(&self, blob: &Descriptor) -> bool {
        self.present.get(blob.digest()).is_some_and(|size| *size == blob.size())
    }

    /// Whether a blob is here in its full size. The disk is asked where it is not known to be. Blocking, and short.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Remote`] for a digest that cannot be verified.
    pub fn has(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.knows(blob) || self.look(blob)?)
    }

    /// Whether a blob is here in its full size: the disk is asked, whatever is known. For who may not block, and for who
    /// does something because of the answer.
    ///
    /// # Errors
    /// Those of [`Store::has`].
    pub async fn holds(&self, blob: &Descriptor) -> Result<bool> {
        let (store, blob) = (self.clone(), blob.clone());
        let what = What::new(LOOK, blob.digest());
        blocking(|| what, move || store.look(&blob)).await
    }

    /// Asks the disk, and remembers what it says.
    ///
    /// # Errors
    /// Those of [`Store::has`].
    pub fn look(&self, blob: &Descriptor) -> Result<bool> {
        let path = self.path(blob.digest())?;
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => Some(found).filter(fs::Metadata::is_file),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error).during(LOOK, blob.digest(), &path),
        };
        let is_here = found.is_some_and(|found| found.len() == blob.size());
        if is_here {
            self.stored(blob);
        } else {
            self.lost(blob.digest());
        }
        Ok(is_here)
    }

    /// Reads a blob from its sources and stores it, as [`Ingests::receive`] does.
    ///
    /// # Errors
    /// Those of [`Ingests::receive`], as [`Error::Remote`].
    pub async fn receive(&self, blob: &Blob) -> Result<Received> {
        let received = self.ingests().receive(blob).await?;
        self.stored(blob.descriptor());
        Ok(received)
    }

    /// Stores bytes that are in memory, as [`Ingests::store`] does.
    ///
    /// # Errors
    /// Those of [`Ingests::store`], as [`Error::Remote`].
    pub async fn put(&self, blob: &Descriptor, bytes: Bytes) -> Result<()> {
        self.ingests().store(blob, bytes).await?;
        self.stored(blob);
        Ok(())
    }

    /// A blob is here: what looks for it need not ask the disk, and who follows it waits no more. Another process may have
    /// stored it, of which nobody else tells them.
    pub fn stored(&self, blob: &Descriptor) {
        self.ingests().is_here(blob.digest());
        self.present.insert(blob.digest().clone(), blob.size());
    }

    /// A blob proved not to be here, or not to be what it should be.
    pub fn lost(&self, digest: &Digest) {
        self.present.remove(digest);
    }

    /// Opens a blob of the size its descriptor says. Whatever is pruned meanwhile, what is open can be read to its end.
    /// Blocking, and short.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Integrity`] for a file of another size, [`Error::Refused`] for what is no file,
    /// [`Error::Io`]; [`Error::Remote`] for a digest that cannot be verified.
    pub fn open_file(&self, blob: &Descriptor) -> Result<File> {
        let path = self.path(blob.digest())?;
        let opened = open(blob, &path);
        match &opened {
            Ok(_) => self.stored(blob),
            Err(_) => self.lost(blob.digest()),
        }
        opened
    }

    /// Removes a blob, whoever needs it: the caller has looked that nobody does. It may be put back for as long as the
    /// trash has it. Nothing where it was not there. Blocking, and short.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Remote`] for a digest that cannot be verified.
    pub fn remove(&self, digest: &Digest) -> Result<Option<Trashed>> {
        let path = self.path(digest)?;
        // Before: who looks in between finds it on disk, and who looks afterwards does not.
        self.lost(digest);
        let removed = self.trash.put(&path);
        self.lost(digest);
        removed
    }
}

fn open(blob: &Descriptor, path: &std::path::Path) -> Result<File> {
    let io = |error: io::Error| match is_missing(&error) {
        true => Error::not_found(READ, blob.digest(), "it is not in the store"),
        false => Error::Io { what: What::new(READ, blob.digest()), path: path.to_owned(), source: error },
    };
    // Before it is opened: opening a pipe waits for its other end.
    if !fs::symlink_metadata(path).map_err(io)?.is_file() {
        let reason = format!("{} is not a regular file", path.display());
        return Err(Error::refused(READ, blob.digest(), reason));
    }
    let file = File::open(path).map_err(io)?;
    let actual = file.metadata().map_err(io)?.len();
    if actual == blob.size() {
        return Ok(file);
    }
    let mismatch = Mismatch::Size { expected: blob.size(), actual };
    Err(Error::Integrity { what: What::new(READ, blob.digest()), mismatch })
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
