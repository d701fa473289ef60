//! What was removed, and is deleted later: `trash/<nonce>`.
//!
//! To remove is to rename: that takes no time however large a tree is, and what is removed is gone at once and as a
//! whole. To delete is done later and slowly, for creating files soon after a mass delete is 7 to 20 times slower on
//! ext4. Nobody waits for it; several processes may do it at once, and each takes what it finds.
//!
//! What is deleted may come from anybody's layer: links in it are deleted and not followed, directories that may not be
//! read are made readable first, and however deep a tree is, only a few directories are open at a time.

mod sweep;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lazyblob_remote::What;
use rustix::fs::{CWD, RenameFlags};
use tokio_util::sync::CancellationToken;

pub use sweep::{Left, Swept};

use self::sweep::Sweeper;
use super::Pace;
use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result};
use crate::snapshot::places::nonce;

const REMOVE: &str = "remove";
const OPERATION: &str = "empty trash";

/// What was removed and is deleted later. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Trash {
    dir: PathBuf,
    pace: Pace,
}

/// Something that was removed a moment ago.
#[derive(Debug)]
pub struct Trashed {
    from: PathBuf,
    to: PathBuf,
}

impl Trash {
    pub(super) fn new(dir: PathBuf, pace: Pace) -> Self {
        Self { dir, pace }
    }

    /// Removes a file or a whole tree, which must be on the same file system. Nothing where there is none. It is not
    /// durable: after a power cut it may be back. Blocking, and short.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&self, path: &Path) -> Result<Option<Trashed>> {
        Ok(put(path, &self.dir)?.map(|to| Trashed { from: path.to_owned(), to }))
    }

    /// Deletes what is there, slowly, until it is empty or `cancel` is cancelled. What cannot be deleted is left, and
    /// told.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read.
    pub async fn sweep(&self, cancel: &CancellationToken) -> Result<Swept> {
        self.run(cancel, None, Some(self.pace)).await
    }

    /// Deletes what is there without a pause, at most until `limit` bytes are freed or `cancel` is cancelled: for who is
    /// asked to make room now, and says how much there is. The step that passes the limit is finished.
    ///
    /// # Errors
    /// Those of [`Trash::sweep`].
    pub async fn empty(&self, limit: Option<u64>, cancel: &CancellationToken) -> Result<Swept> {
        self.run(cancel, limit, None).await
    }

    /// Whether there is nothing to delete. Blocking, and short.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_empty(&self) -> Result<bool> {
        match fs::read_dir(&self.dir) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error).during(OPERATION, self.dir.display(), &self.dir),
        }
    }

    async fn run(&self, cancel: &CancellationToken, limit: Option<u64>, pace: Option<Pace>) -> Result<Swept> {
        let dir = self.dir.clone();
        let what = || What::new(OPERATION, self.dir.display());
        let mut sweeper =
            blocking(what, move || Sweeper::begin(&dir).during(OPERATION, dir.display(), &dir)).await?;
        let step = pace.unwrap_or(self.pace).step.max(1);
        loop {
            let (dir, token) = (self.dir.clone(), cancel.clone());
            let more;
            (sweeper, more) = blocking(what, move || {
                let more = sweeper.step(step, &token).during(OPERATION, dir.display(), &dir)?;
                Ok((sweeper, more))
            })
            .await?;
            let enough = limit.is_some_and(|limit| sweeper.swept().bytes >= limit);
            if !more || enough || cancel.is_cancelled() {
                return Ok(sweeper.into_swept());
            }
            if let Some(pace) = pace {
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = tokio::time::sleep(pace.pause) => {}
                }
            }
        }
    }
}

/// Moves a file or tree into the directory `trash` under a name nobody has, which is returned: at once, whatever its size.
/// Nothing where there is none.
pub(crate) fn put(path: &Path, trash: &Path) -> Result<Option<PathBuf>> {
    let to = trash.join(nonce());
    let renamed = match fs::rename(path, &to) {
        // Only who may write a directory may give it another parent.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_dir(path) => {
            fs::set_permissions(path, Permissions::from_mode(0o700)).and_then(|()| fs::rename(path, &to))
        }
        renamed => renamed,
    };
    match renamed {
        Ok(()) => Ok(Some(to)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_there(path) => Ok(None),
        Err(error) => Err(error).during(REMOVE, path.display(), path),
    }
}

impl Trashed {
    /// Puts it back where it was: somebody needs it after all. Where something else has come into its place meanwhile, or
    /// it is being deleted already, it stays removed, and this says so.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn restore(self) -> Result<bool> {
        let Self { from, to } = self;
        match rustix::fs::renameat_with(CWD, &to, CWD, &from, RenameFlags::NOREPLACE).map_err(io::Error::from)
        {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
                Ok(false)
            }
            Err(source) => {
                let what = What::new("put back", from.display());
                Err(Error::Io { what, path: from, source })
            }
        }
    }
}

/// Deletes a tree that is ours and nobody's any more, at once. Blocking.
pub(crate) fn delete(tree: &Path) -> io::Result<()> {
    let mut sweeper = Sweeper::begin(tree)?;
    let never = CancellationToken::new();
    while sweeper.step(usize::MAX, &never)? {}
    match sweeper.into_swept().left.pop() {
        Some(left) => Err(left.cause),
        None => fs::remove_dir(tree),
    }
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
