//! The tree of a ref mounted, to stay when this process has ended.

use std::path::Path;
use std::sync::Arc;

use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::error::{Error, Result, What};
use crate::image::Image;
use crate::manager::Manager;
use crate::manager::mutable::keys;
use crate::mount::{Mode, MountRecord, Mounted, Request, Trusts};
use crate::refs::ImmutableRef;
use crate::tree::Few;

/// How a tree is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Whether it may be written to: what is written goes with the mount.
    pub mode: Mode,
    /// What of the image works there; nothing if not said.
    pub trusts: Trusts,
    /// What this process was asked to do, for who finds the mount later: never its arguments.
    pub command: &'static str,
}

impl ImmutableRef {
    /// Makes the snapshots that are not there, on behalf of `access`, and mounts its tree at `dir`, which is made if it
    /// does not exist. It stays until [`Manager::unmount`] or a reboot, and its snapshots as long.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::extract`]; [`Error::Locked`]: one of ours is mounted there; [`Error::Refused`]: this
    /// process may not mount, the directory has something in it, or there are too many layers; [`Error::Io`].
    pub async fn mount(&self, dir: &Path, options: MountOptions, access: &Access) -> Result<MountRecord> {
        mount(self.manager(), Some(self.clone()), None, dir, options, access).await
    }
}

impl Image {
    /// Mounts its tree, as [`ImmutableRef::mount`].
    ///
    /// # Errors
    /// Those of [`Image::files`] and [`ImmutableRef::mount`].
    pub async fn mount(
        &self,
        manager: &Manager,
        dir: &Path,
        options: MountOptions,
        access: &Access,
    ) -> Result<MountRecord> {
        let name = Some(self.reference.to_string());
        mount(manager, self.files()?.cloned(), name, dir, options, access).await
    }
}

impl Manager {
    /// All mounts of this root, also those that do not exist any more, by directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn mounts(&self) -> Result<Vec<Mounted>> {
        let mounter = Arc::clone(self.mounter());
        blocking(|| What::new("list mounts", ""), move || mounter.list()).await
    }

    /// Takes a mount away, and with it what was written there; one that does not exist any more is forgotten. If `lazy`,
    /// one that is in use goes out of sight at once.
    ///
    /// # Errors
    /// [`Error::NotFound`]: nothing of this root is mounted there; [`Error::Locked`]: somebody uses it;
    /// [`Error::Refused`]: this process may not unmount; [`Error::Io`].
    pub async fn unmount(&self, dir: &Path, lazy: bool) -> Result<MountRecord> {
        let (mounter, dir) = (Arc::clone(self.mounter()), dir.to_owned());
        let what = What::new("unmount", dir.display());
        blocking(move || what, move || mounter.unmount(&dir, lazy)).await
    }
}

async fn mount(
    manager: &Manager,
    of: Option<ImmutableRef>,
    image: Option<String>,
    dir: &Path,
    options: MountOptions,
    access: &Access,
) -> Result<MountRecord> {
    let (dir, access, own) = (dir.to_owned(), access.clone(), manager.clone());
    let work = move |cancel: CancellationToken| async move {
        let what = What::new("mount", dir.display());
        let mut stack = Vec::new();
        if let Some(of) = &of {
            let extracted = cancel.run_until_cancelled(of.extract(&access)).await;
            extracted.ok_or_else(|| Error::Cancelled { what: what.clone() })??;
            stack = keys(of.live(), "mount")?;
        }
        let Few { stack, pins } = own.few(stack, &cancel).await?;
        let mounted = blocking(
            || what.clone(),
            move || {
                let MountOptions { mode, trusts, command } = options;
                let image = image.as_deref();
                let request = Request { stack: &stack, upper: None, dir: &dir, mode, trusts, command, image };
                own.mounter().mount(&request, &cancel)
            },
        )
        .await;
        // The record of the mount holds the snapshots from now on.
        drop((of, pins));
        mounted
    };
    manager.see_through(|cancel| Box::pin(work(cancel))).await
}
