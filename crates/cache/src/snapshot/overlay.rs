//! Snapshots that overlayfs stacks: mounted at once, however large.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, makedev};
use tokio_util::sync::CancellationToken;

use super::copy::Keep;
use super::info::{About, SnapshotInfo};
use super::key::SnapshotKey;
use super::places::{Places, nonce, private_directory};
use super::staged::{Active, Staged, Synced};
use super::store::{Store, Sync, dress_root};
use super::{Assembled, Mounts, Snapshotter, file, xattrs};
use crate::error::{IoContext as _, Result};
use crate::layer::{Applied, Form};
use crate::mount::overlayfs;

/// Layers as overlayfs wants them. Needs privileges.
#[derive(Debug)]
pub struct Overlay {
    store: Store,
}

impl Overlay {
    /// Takes directories that exist. Whether overlayfs works there is [`probe`](Self::probe)'s to say.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self { store: Store { places, form: Form::Overlay } }
    }

    /// Tries what it needs: whiteouts, `trusted.` attributes, and a mount of two layers that is attached nowhere.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) with what failed as its operation: overlayfs cannot be used here by this user.
    pub fn probe(places: &Places) -> Result<()> {
        let path = places.staging.join(format!(".probe.{}", nonce()));
        private_directory(&path).during("probe overlayfs", path.display(), &path)?;
        let result = probe(&path);
        // A handful of files: the trash is for trees, and would never be empty.
        if std::fs::remove_dir_all(&path).is_err() {
            places.discard(&path)?;
        }
        result
    }
}

fn probe(path: &Path) -> Result<()> {
    let (below, above) = (path.join("below"), path.join("above"));
    let prepare = || -> io::Result<()> {
        private_directory(&below)?;
        private_directory(&above)?;
        std::fs::write(below.join("gone"), b"")?;
        let (name, nothing) = (above.join("gone"), Mode::empty());
        rustix::fs::mknodat(CWD, name, FileType::CharacterDevice, nothing, makedev(0, 0))?;
        xattrs::set(&file::open_dir(&above, Path::new(""))?, xattrs::ORIGIN, b"")
    };
    prepare().during("make whiteouts", path.display(), path)?;
    let tree = overlayfs::probe(&above, &below).during("mount overlayfs", path.display(), path)?;
    match rustix::fs::statat(&tree, "gone", AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Ok(_) => Err(io::Error::other("a whiteout hides nothing")).during(
            "look at overlayfs",
            path.display(),
            path,
        ),
        Err(error) => Err(io::Error::from(error)).during("look at overlayfs", path.display(), path),
    }
}

/// Marks every directory that has whiteouts. Where nothing is below such a directory overlayfs would list them.
fn mark_whiteouts(root: &Path) -> io::Result<()> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        let open = file::open_dir(root, &directory)?;
        let mut has_whiteouts = false;
        for (name, kind) in file::list(&open)? {
            match kind {
                FileType::Directory => waiting.push(directory.join(name)),
                FileType::CharacterDevice | FileType::Unknown => {
                    let facts = file::facts(&open, OsStr::new(&name))?;
                    has_whiteouts |= facts.is_some_and(|facts| facts.is_whiteout());
                    if facts.is_some_and(|facts| facts.is_dir()) {
                        waiting.push(directory.join(name));
                    }
                }
                _ => {}
            }
        }
        if has_whiteouts {
            xattrs::set(&open, xattrs::ORIGIN, b"")?;
        }
    }
    Ok(())
}

impl Snapshotter for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn form(&self) -> Form {
        self.store.form
    }

    fn info(&self, key: &SnapshotKey) -> Result<Option<SnapshotInfo>> {
        self.store.info(key)
    }

    fn directory(&self, key: &SnapshotKey) -> Result<PathBuf> {
        self.store.directory(key)
    }

    fn list(&self) -> Result<Vec<SnapshotInfo>> {
        self.store.list()
    }

    fn stage(&self, key: &SnapshotKey) -> Result<Staged> {
        self.store.stage(key)
    }

    fn settle(
        &self,
        staged: &mut Staged,
        applied: &Applied,
        below: &[PathBuf],
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.store.settle(staged, applied, below, cancel)?;
        // Applying has done so; settling may have moved some.
        if staged.usage.is_none() {
            return Ok(());
        }
        mark_whiteouts(&staged.fs).during("settle snapshot", &staged.key, &staged.fs)
    }

    fn sync(&self, staged: Vec<Staged>) -> Result<Vec<Synced>> {
        self.store.sync(staged)
    }

    fn publish(&self, synced: Synced, about: About) -> Result<SnapshotInfo> {
        self.store.publish(synced, about)
    }

    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.store.remove(key)
    }

    fn clear_staging(&self, key: &SnapshotKey) -> Result<()> {
        self.store.clear_staging(key)
    }

    fn prepare(
        &self,
        key: &SnapshotKey,
        stack: &[SnapshotKey],
        _cancel: &CancellationToken,
    ) -> Result<Active> {
        self.store.prepare(key, stack, Sync::Now, dress_root)
    }

    fn active(&self, key: &SnapshotKey) -> Result<Option<Active>> {
        self.store.active(key)
    }

    fn actives(&self) -> Result<Vec<SnapshotKey>> {
        self.store.actives()
    }

    fn remove_active(&self, key: &SnapshotKey) -> Result<()> {
        self.store.remove_active(key)
    }

    fn commit(
        &self,
        active: &Active,
        key: &SnapshotKey,
        _cancel: &CancellationToken,
    ) -> Result<SnapshotInfo> {
        let fs = active.directory();
        mark_whiteouts(&fs).during("commit snapshot", key, &fs)?;
        self.store.commit_whole(active, key, active.stack.last().cloned(), Sync::Now)
    }

    fn prepare_soon(
        &self,
        key: &SnapshotKey,
        stack: &[SnapshotKey],
        _cancel: &CancellationToken,
    ) -> Result<Active> {
        self.store.prepare(key, stack, Sync::Later, dress_root)
    }

    fn commit_soon(
        &self,
        active: &Active,
        key: &SnapshotKey,
        _cancel: &CancellationToken,
    ) -> Result<SnapshotInfo> {
        let fs = active.directory();
        mark_whiteouts(&fs).during("commit snapshot", key, &fs)?;
        self.store.commit_whole(active, key, active.stack.last().cloned(), Sync::Later)
    }

    fn sync_all(&self) -> Result<()> {
        self.store.sync_all("sync snapshots")
    }

    fn mounts(&self, stack: &[SnapshotKey], upper: Option<&Active>) -> Result<Mounts> {
        let mut lower = Vec::new();
        for root in self.store.stack(stack)?.into_iter().rev() {
            // Overlayfs does not look at a layer's own root: what it hides is left out.
            let open = file::open_dir(&root, Path::new(""));
            let is_last = open.and_then(|open| xattrs::is_opaque(&open)).during(
                "open snapshot",
                root.display(),
                &root,
            )?;
            lower.push(root);
            if is_last {
                break;
            }
        }
        let upper = upper.map(|active| (active.directory(), active.work()));
        Ok(Mounts::Overlay { lower, upper })
    }

    fn assemble(
        &self,
        stack: &[SnapshotKey],
        to: &Path,
        keep: Keep,
        cancel: &CancellationToken,
    ) -> Result<Assembled> {
        self.store.assemble(stack, to, keep, cancel)
    }
}
