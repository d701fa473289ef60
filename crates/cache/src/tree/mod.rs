//! Trees of refs at a path of the file system, for as long as a handle lives.
//!
//! ```text
//! mounts/live-NONCE/      flocked by its process for its life: what a dead one leaves is taken away
//!                   0 1   layers of nothing, which overlayfs wants beside a single one
//!                   ID    where a tree is mounted, or was copied to
//! ```
//! These are the process's own, unlike what [`Mounter`](crate::mount::Mounter) makes: nothing is written down of them and
//! nothing is synced. All who want the tree of one ref share one mount. It is made with the first handle and goes with the
//! last one, and which mount exists is known under one lock for each record.
//!
//! A mutable tree that somebody has open is flocked as one that is mounted for good, so that neither this nor another
//! process commits it to a snapshot meanwhile.

mod few;
mod open;
mod process;
mod shown;
mod slot;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use self::few::{Few, Sizes};
pub(crate) use self::process::{PREFIX, Trees};
pub(crate) use self::slot::Slot;
use crate::error::Result;
use crate::manager::Manager;
use crate::manager::live::Live;

/// A tree that can be seen at [`path`](Self::path) until this goes, and the hold on what it is made of: neither the
/// ref nor the snapshots below are pruned meanwhile.
///
/// Whoever wants to be sure that it is gone calls [`close`](Self::close). Dropping only asks for it;
/// [`Manager::close`] waits until it was done.
#[must_use = "the tree is there only as long as this lives"]
pub struct Tree {
    manager: Manager,
    live: Arc<Live>,
    path: PathBuf,
    is_open: bool,
}

impl Tree {
    /// Takes over one of those that the slot of `live` counts.
    fn new(manager: Manager, live: Arc<Live>, path: PathBuf) -> Self {
        Self { manager, live, path, is_open: true }
    }

    /// Its root directory: absolute, and the process's own.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets it go, and waits until it is unmounted if nobody else has it open.
    ///
    /// # Errors
    /// [`Error::Locked`](crate::Error::Locked) where a tree that may be written to is still in use by some process: it is
    /// out of sight then, and what that process writes is no part of it that anybody may count on.
    /// [`Error::Refused`](crate::Error::Refused) where this process may not unmount any more;
    /// [`Error::Io`](crate::Error::Io).
    pub async fn close(mut self) -> Result<()> {
        self.is_open = false;
        self.live.slot().leave();
        let (trees, live) = (Arc::clone(self.manager.trees()), Arc::clone(&self.live));
        // To its end, also where nobody waits for it any more.
        self.manager.see_through(|_| async move { live.slot().clear(&trees).await }).await
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (trees, live) = (Arc::clone(self.manager.trees()), Arc::clone(&self.live));
        live.slot().leave();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            if let Err(error) = live.slot().clear_now(&trees) {
                tracing::warn!(%error, "a tree stays mounted");
            }
            return;
        };
        let clear = async move {
            if let Err(error) = live.slot().clear(&trees).await {
                tracing::warn!(%error, "a tree was not unmounted as it should be");
            }
        };
        self.manager.spawn_on(clear, &runtime);
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("path", &self.path).finish_non_exhaustive()
    }
}
