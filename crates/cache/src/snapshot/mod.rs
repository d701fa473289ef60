//! Snapshots: the unpacked diff of each layer, kept by snapshotters.
//!
//! A snapshot is one layer's own entries, in the form its snapshotter stacks them in, and is never changed once it has
//! its name. A stack of keys is a tree: those of an image's layers, or of layers that never met before, which is what a
//! merge is.
//!
//! ```text
//! stage ─ layer applied to staging/ ─ settle (with those below) ─┐
//! stage ─ …                                                      ├─ sync (one syncfs) ─ publish each ─ snapshots/KEY/
//! stage ─ …                                                      ┘
//! prepare (active-ID) ─ changed by whoever mounts it ─ commit ──────────────────────── snapshots/KEY/
//! ```
//!
//! Nobody is locked out here: who makes a key holds its lock in `staging/`, and two who do not know of each other end
//! with the snapshot of the one who came first. After a crash there is nothing but what [`Snapshotter::clear_staging`]
//! takes away.

mod assemble;
mod copy;
mod difference;
pub(crate) mod file;
pub(crate) mod info;
mod key;
mod layers;
mod overlay;
mod pick;
pub(crate) mod places;
mod plain;
mod settle;
mod squash;
mod staged;
mod store;
mod usage;
pub(crate) mod xattrs;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

pub use assemble::Assembled;
pub use copy::Keep;
pub use info::{About, SnapshotInfo};
pub use key::SnapshotKey;
pub use overlay::Overlay;
pub use pick::{Wanted, open};
pub use places::Places;
pub use plain::Plain;
pub(crate) use squash::squash;
pub use staged::{Active, Staged, Synced};
pub(crate) use store::dress_root;
pub(crate) use usage::{measure, measure_any, measure_changing, measure_in};

use crate::error::Result;
use crate::layer::{Applied, Form};

/// Where the unpacked diff of each layer is kept. All calls block: they belong in blocking threads.
pub trait Snapshotter: Send + Sync + Debug {
    /// `overlay` or `plain`.
    fn name(&self) -> &'static str;

    /// How a layer is to be applied to a staged directory.
    fn form(&self) -> Form;

    /// A committed snapshot; nothing where there is none that is whole.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn info(&self, key: &SnapshotKey) -> Result<Option<SnapshotInfo>>;

    /// The directory with the entries of a committed snapshot, not to be changed. It stays while somebody holds a lease
    /// on the snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    fn directory(&self, key: &SnapshotKey) -> Result<PathBuf>;

    /// All committed ones, by key.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn list(&self) -> Result<Vec<SnapshotInfo>>;

    /// An empty directory to apply a layer to, its parent for the owner alone.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn stage(&self, key: &SnapshotKey) -> Result<Staged>;

    /// Settles what the layer leaves to those below: their directories, the bottom one first, each settled, whether it
    /// is staged or committed. To be called once for every layer, also where nothing is pending.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a link to nothing, to a directory, or to what the same layer
    /// removes, and for entries in what is not a directory below: where a sequential apply fails.
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    fn settle(
        &self,
        staged: &mut Staged,
        applied: &Applied,
        below: &[PathBuf],
        cancel: &CancellationToken,
    ) -> Result<()>;

    /// Waits until all of them are on disk, in one go for the batch.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io): they have gone to the trash.
    fn sync(&self, staged: Vec<Staged>) -> Result<Vec<Synced>>;

    /// Gives a snapshot its name, durably. Where there is one already, that one is returned and this one goes to the
    /// trash.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn publish(&self, synced: Synced, about: About) -> Result<SnapshotInfo>;

    /// Moves a committed snapshot to the trash. None is none to remove.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn remove(&self, key: &SnapshotKey) -> Result<()>;

    /// Moves everything staged under a key to the trash. For the holder of the key's lock, before it begins anew.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn clear_staging(&self, key: &SnapshotKey) -> Result<()>;

    /// Makes a snapshot that may be changed, on a stack, the bottom one first.
    ///
    /// # Errors
    /// [`Error::Locked`](crate::Error::Locked) where there is an active one of this key,
    /// [`Error::NotFound`](crate::Error::NotFound) for a part of the stack.
    fn prepare(&self, key: &SnapshotKey, stack: &[SnapshotKey], cancel: &CancellationToken)
    -> Result<Active>;

    /// One that was prepared, in this process or another.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn active(&self, key: &SnapshotKey) -> Result<Option<Active>>;

    /// The keys of all that are active.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn actives(&self) -> Result<Vec<SnapshotKey>>;

    /// Moves an active one to the trash.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn remove_active(&self, key: &SnapshotKey) -> Result<()>;

    /// Makes what was changed a committed snapshot, durably. Nobody may have it mounted, which
    /// [`Mounter::keep_unmounted`](crate::mount::Mounter::keep_unmounted) sees to. `key` may be the active one's
    /// own. Where there is a snapshot of this key it is returned, and the active one goes to the trash.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io): the active one is as it was.
    fn commit(&self, active: &Active, key: &SnapshotKey, cancel: &CancellationToken) -> Result<SnapshotInfo>;

    /// As [`prepare`](Self::prepare) for a stack whose top one is known to be there, without waiting for the disk: for who
    /// syncs the file system before anything durable speaks of it.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare).
    fn prepare_soon(
        &self,
        key: &SnapshotKey,
        stack: &[SnapshotKey],
        cancel: &CancellationToken,
    ) -> Result<Active> {
        self.prepare(key, stack, cancel)
    }

    /// As [`commit`](Self::commit), without waiting for the disk: for who syncs the file system before anything durable
    /// speaks of the snapshot, and has done so before anything durable spoke of the active one. Whatever a power cut takes of
    /// the commit, there is the active one or the snapshot.
    ///
    /// # Errors
    /// Those of [`commit`](Self::commit).
    fn commit_soon(
        &self,
        active: &Active,
        key: &SnapshotKey,
        cancel: &CancellationToken,
    ) -> Result<SnapshotInfo> {
        self.commit(active, key, cancel)
    }

    /// Waits until all that is there is on disk.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn sync_all(&self) -> Result<()>;

    /// How the tree of a stack, the bottom one first, gets to be seen: read-only, or with an active one on top, whose
    /// stack it then is.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for a part of the stack.
    fn mounts(&self, stack: &[SnapshotKey], upper: Option<&Active>) -> Result<Mounts>;

    /// Copies the whole tree of a stack, the bottom one first, to an empty directory. Nothing is synced.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for a part of the stack,
    /// [`Error::Refused`](crate::Error::Refused) where the directory has something in it,
    /// [`Error::Cancelled`](crate::Error::Cancelled): what has been copied is left there.
    fn assemble(
        &self,
        stack: &[SnapshotKey],
        to: &Path,
        keep: Keep,
        cancel: &CancellationToken,
    ) -> Result<Assembled>;
}

/// How a tree gets to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mounts {
    /// By overlayfs.
    Overlay {
        /// The top one first.
        lower: Vec<PathBuf>,
        /// Where changes go, and the work directory.
        upper: Option<(PathBuf, PathBuf)>,
    },
    /// It has to be copied.
    Copy {
        /// The bottom one first.
        stack: Vec<SnapshotKey>,
    },
    /// It is a directory, and may be changed.
    Tree(PathBuf),
}
