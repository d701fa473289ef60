//! Opens trees.

use std::sync::Arc;

use lazyblob_remote::Access;

use super::Tree;
use super::few::Few;
use super::shown::{SHOW, Shown};
use crate::error::{Error, Result, What};
use crate::manager::Manager;
use crate::manager::live::Live;
use crate::manager::mutable::{STACK, keys};
use crate::refs::{ImmutableRef, MutableRef};
use crate::snapshot::SnapshotKey;

/// Counts for a slot until a tree does.
struct Entered(Manager, Option<Arc<Live>>);

impl Entered {
    fn new(manager: &Manager, live: &Arc<Live>) -> Self {
        live.slot().enter();
        Self(manager.clone(), Some(Arc::clone(live)))
    }

    fn open(mut self, path: std::path::PathBuf) -> Option<Tree> {
        self.1.take().map(|live| Tree::new(self.0.clone(), live, path))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(live) = self.1.take() {
            // As any other handle: what was made by another meanwhile may be for this one to take away.
            drop(Tree::new(self.0.clone(), live, std::path::PathBuf::new()));
        }
    }
}

impl ImmutableRef {
    /// Makes the snapshots that are not there, on behalf of `access`, and shows the tree, which nobody may change, until
    /// the [`Tree`] goes. Set-user-ID programs and devices work there. With plain snapshots it is copied, and then
    /// nothing keeps its owner from changing the copy, which others may be shown, too.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::extract`]; [`Error::Refused`] where this process may not mount, or there are too many
    /// layers for the kernel; [`Error::Io`]; [`Error::Cancelled`] where the manager is closed while a tree is copied.
    pub async fn view(&self, access: &Access) -> Result<Tree> {
        self.extract_soon(access).await?;
        let (manager, of) = (self.manager().clone(), self.clone());
        self.manager()
            .see_through(|cancel| async move {
                let entered = Entered::new(&manager, of.live());
                let (trees, snapshots) = (Arc::clone(manager.trees()), Arc::clone(manager.snapshots()));
                let stack = keys(of.live(), STACK)?;
                let token = cancel.clone();
                let few = manager.few(stack, &token);
                let make = move |few: Few| {
                    let how = snapshots.mounts(&few.stack, None)?;
                    Shown::make(&trees, how, None, few.pins, snapshots.as_ref(), &cancel)
                };
                let path = of.live().slot().show(|| What::new(SHOW, of.id()), few, make).await?;
                opened(entered, path, &of.id())
            })
            .await
    }
}

impl MutableRef {
    /// Shows the tree with its changes, which may be changed there, until the [`Tree`] goes; all trees of this ref are one.
    /// What is written lands in [its directory](Self::directory), and is made durable by
    /// [`finalize`](ImmutableRef::finalize) and by nothing else: neither `fsync` nor unmounting waits for the disk. Set-user-ID
    /// programs and devices work there.
    ///
    /// As long as it is open the ref is not [committed](Self::commit).
    ///
    /// # Errors
    /// [`Error::Lost`] where the tree is gone; [`Error::Locked`] where it is mounted already, by
    /// [`Mounter`](crate::mount::Mounter); [`Error::NotFound`] for a snapshot below; [`Error::Refused`] where this process
    /// may not mount, or there are too many layers for the kernel; [`Error::Io`].
    pub async fn tree(&self) -> Result<Tree> {
        let (manager, live) = (self.manager().clone(), Arc::clone(self.live()));
        let entered = Entered::new(&manager, &live);
        self.manager()
            .see_through(|cancel| async move {
                let id = live.record().id.clone();
                let key = SnapshotKey::record(id.as_str())?;
                let (trees, snapshots) = (Arc::clone(manager.trees()), Arc::clone(manager.snapshots()));
                let mounter = Arc::clone(manager.mounter());
                let lost = Error::Lost { what: What::new(SHOW, &id), reason: "it is gone".to_owned() };
                let stack =
                    live.parents().iter().map(|parent| keys(parent, STACK)).collect::<Result<Vec<_>>>()?;
                let token = cancel.clone();
                let few = manager.few(stack.concat(), &token);
                let make = move |few: Few| {
                    let active = snapshots.active(&key)?.ok_or(lost)?;
                    let kept = mounter.keep_unmounted(&active)?;
                    let how = snapshots.mounts(&few.stack, Some(&active))?;
                    Shown::make(&trees, how, Some(kept), few.pins, snapshots.as_ref(), &cancel)
                };
                let path = live.slot().show(|| What::new(SHOW, &id), few, make).await?;
                opened(entered, path, &id)
            })
            .await
    }
}

fn opened(entered: Entered, path: std::path::PathBuf, id: &crate::record::RecordId) -> Result<Tree> {
    // It counts until here.
    entered.open(path).ok_or_else(|| Error::not_found(SHOW, id, "it was let go"))
}
