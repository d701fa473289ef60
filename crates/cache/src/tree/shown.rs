//! One tree at a path, and taking it away.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::process::Trees;
use crate::error::{Error, IoContext as _, Result, What};
use crate::mount::overlayfs::{MAX_LAYERS, Overlayfs, Trusts};
use crate::mount::{KeptUnmounted, attach};
use crate::root::{Pinned, trash};
use crate::snapshot::{Keep, Mounts, Snapshotter};

pub(super) const SHOW: &str = "show tree";
pub(super) const CLOSE: &str = "close tree";

/// A program of an image needs them, and nobody else gets to see the tree.
const TRUSTS: Trusts = Trusts { setuid: true, devices: true };

/// A tree that can be seen.
#[derive(Debug)]
pub(super) struct Shown {
    path: PathBuf,
    how: How,
    /// Nobody commits it meanwhile.
    kept: Option<KeptUnmounted>,
    /// What it shows and no record refers to stays.
    _pins: Option<Pinned>,
}

#[derive(Debug)]
enum How {
    /// It is a directory that is there anyway.
    Itself,
    /// It was copied.
    Copied,
    /// It is mounted; what is written to it may count.
    Mounted { is_read_only: bool },
}

impl Shown {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Shows it in a directory of this process. What is written to `upper` is kept by `kept`, which goes with it.
    pub(super) fn make(
        trees: &Trees,
        how: Mounts,
        kept: Option<KeptUnmounted>,
        pins: Option<Pinned>,
        snapshots: &dyn Snapshotter,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        match how {
            Mounts::Tree(path) => Ok(Self { path, how: How::Itself, kept, _pins: pins }),
            // Nothing is hidden in what has nothing below: it is the tree.
            Mounts::Overlay { lower, upper: Some((path, _)) } if lower.is_empty() => {
                Ok(Self { path, how: How::Itself, kept, _pins: pins })
            }
            Mounts::Copy { stack } => {
                let path = trees.new_directory()?;
                if let Err(error) = snapshots.assemble(&stack, &path, Keep::as_able(), cancel) {
                    trees.discard(&path);
                    return Err(error);
                }
                Ok(Self { path, how: How::Copied, kept, _pins: pins })
            }
            Mounts::Overlay { lower, upper } => {
                let path = trees.new_directory()?;
                let upper = upper.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path()));
                if let Err(error) = mount(trees, lower, upper, &path) {
                    trees.discard(&path);
                    return Err(error);
                }
                Ok(Self { path, how: How::Mounted { is_read_only: upper.is_none() }, kept, _pins: pins })
            }
        }
    }

    /// Takes it away. Gives it back where it may be written to and some process uses it.
    pub(super) fn take_away(self, trees: &Trees) -> Result<Option<Self>> {
        let path = &self.path;
        match self.how {
            How::Itself => {}
            How::Copied => trash::delete(path).during(CLOSE, path.display(), path)?,
            How::Mounted { is_read_only } => {
                // Whoever still has a file open reads it to the end.
                match attach::detach(path, is_read_only) {
                    Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                        return Ok(Some(self));
                    }
                    done => done.map_err(|error| not_unmounted(error, path))?,
                }
                trees.discard(path);
            }
        }
        // Until now whoever would commit it was told to wait.
        drop(self.kept);
        Ok(None)
    }

    /// Takes it out of sight though it is in use, and says so.
    pub(super) fn tear_away(self, trees: &Trees) -> Result<()> {
        let path = &self.path;
        attach::detach(path, true).map_err(|error| not_unmounted(error, path))?;
        trees.discard(path);
        let reason = "a process still has a file open there, or its working directory".to_owned();
        Err(Error::Locked { what: What::new(CLOSE, path.display()), reason })
    }
}

fn mount(trees: &Trees, mut lower: Vec<PathBuf>, upper: Option<(&Path, &Path)>, path: &Path) -> Result<()> {
    let what = || What::new(SHOW, path.display());
    if lower.len() >= MAX_LAYERS {
        let reason = format!("{} layers; overlayfs takes fewer than {MAX_LAYERS}", lower.len());
        return Err(Error::Refused { what: what(), reason });
    }
    let mut nothing = trees.nothing()?.into_iter();
    while lower.len() + usize::from(upper.is_some()) < 2 {
        lower.extend(nothing.next());
    }
    let mount = Overlayfs { source: "lazyblob", lower: &lower, upper, trusts: TRUSTS, volatile: true };
    mount.attach(path).map_err(|source| match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            let reason = "mounting needs root (CAP_SYS_ADMIN): use a root with plain snapshots".to_owned();
            Error::Refused { what: what(), reason }
        }
        Some(Errno::TOOBIG) => {
            let reason = "this kernel (before 6.5) takes no more than some 200 layers".to_owned();
            Error::Refused { what: what(), reason }
        }
        _ => Error::Io { what: what(), path: path.to_owned(), source },
    })
}

fn not_unmounted(source: std::io::Error, path: &Path) -> Error {
    let what = What::new(CLOSE, path.display());
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM) => {
            Error::Refused { what, reason: "unmounting needs root (CAP_SYS_ADMIN)".to_owned() }
        }
        _ => Error::Io { what, path: path.to_owned(), source },
    }
}

/// Takes away all that is mounted on a directory of a process that is no more. Says whether nothing is left there.
pub(super) fn bare(path: &Path) -> bool {
    loop {
        match attach::detach(path, true) {
            Ok(()) => {}
            // Nothing is mounted there.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return true,
            Err(error) => {
                // Without the right to mount, nothing was: but who can tell what another has mounted there.
                let is_plain = is_of_the_same_mount(path);
                tracing::debug!(path = %path.display(), %error, is_plain, "a tree of a dead process");
                return is_plain;
            }
        }
    }
}

/// Whether a directory shows what its parent's file system has there.
fn is_of_the_same_mount(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| fs::symlink_metadata(path).map(|found| found.dev()).ok();
    let above = path.parent().and_then(device);
    above.is_some() && device(path) == above
}
