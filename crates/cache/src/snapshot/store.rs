//! What snapshotters that keep one directory per layer have in common.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::copy::{Keep, dress};
use super::info::{self, About, SnapshotInfo};
use super::key::SnapshotKey;
use super::layers::Layers;
use super::places::{Places, nonce, private_directory, sync_directory};
use super::staged::{Active, Staged, Synced};
use super::{assemble, file, settle, usage};
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer::{Applied, Form, Skipped};

const INFO: &str = "info.json";
const ACTIVE: &str = "active.json";

/// Whether something is on disk when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Now,
    /// Somebody else sees to it.
    Later,
}

impl Sync {
    fn directory(self, path: &Path, operation: &'static str) -> Result<()> {
        if self == Self::Now { sync_directory(path, operation) } else { Ok(()) }
    }

    fn write<T: Serialize>(self, path: &Path, value: &T, operation: &'static str) -> Result<()> {
        match self {
            Self::Now => info::write(path, value, operation),
            Self::Later => info::write_later(path, value, operation),
        }
    }
}

/// Directories of snapshots.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) places: Places,
    pub(super) form: Form,
}

impl Store {
    fn path(&self, key: &SnapshotKey) -> PathBuf {
        self.places.snapshots.join(key.file_name())
    }

    fn active_path(&self, key: &SnapshotKey) -> PathBuf {
        self.places.snapshots.join(format!("active-{}", key.file_name()))
    }

    pub(super) fn info(&self, key: &SnapshotKey) -> Result<Option<SnapshotInfo>> {
        let path = self.path(key);
        let found: Option<SnapshotInfo> = info::read(&path.join(INFO), "read snapshot")?;
        match found.filter(|info| info.key == *key) {
            None if path.join(ACTIVE).exists() => self.committed(key, &path),
            found => Ok(found),
        }
    }

    /// What a snapshot was before it was one: it has its name, and a power cut took what says the rest.
    fn committed(&self, key: &SnapshotKey, path: &Path) -> Result<Option<SnapshotInfo>> {
        let Some(active) = info::read::<Active>(&path.join(ACTIVE), "read snapshot")? else {
            return Ok(None);
        };
        let fs = path.join("fs");
        let usage = usage::measure(&fs).during("read snapshot", key, &fs)?;
        let parent = active.stack.last().cloned();
        Ok(Some(SnapshotInfo::new(key.clone(), About { parent, usage, ..About::default() })))
    }

    /// The directory of a committed snapshot.
    pub(super) fn directory(&self, key: &SnapshotKey) -> Result<PathBuf> {
        match self.info(key)? {
            Some(_) => Ok(self.path(key).join("fs")),
            None => Err(Error::not_found("open snapshot", key, "")),
        }
    }

    pub(super) fn stack(&self, keys: &[SnapshotKey]) -> Result<Vec<PathBuf>> {
        keys.iter().map(|key| self.directory(key)).collect()
    }

    pub(super) fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let mut found = Vec::new();
        for path in self.entries()? {
            let key = path.file_name().and_then(OsStr::to_str).and_then(SnapshotKey::of_file_name);
            if let Some(key) = key
                && let Some(info) = self.info(&key)?
            {
                found.push(info);
            }
        }
        found.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(found)
    }

    fn entries(&self) -> Result<Vec<PathBuf>> {
        let path = &self.places.snapshots;
        let read = || fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        read().during("list snapshots", path.display(), path)
    }

    pub(super) fn stage(&self, key: &SnapshotKey) -> Result<Staged> {
        let path = self.places.staging.join(format!("{}.{}", key.file_name(), nonce()));
        let fs = path.join("fs");
        let make = || -> io::Result<()> {
            private_directory(&path)?;
            fs::create_dir(&fs)?;
            fs::set_permissions(&fs, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        };
        make().during("stage snapshot", key, &path)?;
        let trash = self.places.trash.clone();
        Ok(Staged { key: key.clone(), path, fs, trash, usage: None, is_published: false })
    }

    pub(super) fn settle(
        &self,
        staged: &mut Staged,
        applied: &Applied,
        below: &[PathBuf],
        cancel: &CancellationToken,
    ) -> Result<()> {
        if settle::settle(self.form, &staged.fs, &applied.pending, below, cancel)? {
            staged.usage =
                Some(usage::measure(&staged.fs).during("settle snapshot", &staged.key, &staged.fs)?);
        }
        Ok(())
    }

    pub(super) fn sync(&self, staged: Vec<Staged>) -> Result<Vec<Synced>> {
        if !staged.is_empty() {
            self.sync_all("sync snapshots")?;
        }
        Ok(staged.into_iter().map(Synced).collect())
    }

    pub(super) fn sync_all(&self, operation: &'static str) -> Result<()> {
        let path = &self.places.staging;
        let sync = || -> io::Result<()> { Ok(rustix::fs::syncfs(File::open(path)?)?) };
        sync().during(operation, path.display(), path)
    }

    pub(super) fn publish(&self, synced: Synced, mut about: About) -> Result<SnapshotInfo> {
        let Synced(mut staged) = synced;
        about.usage = staged.usage.unwrap_or(about.usage);
        let info = SnapshotInfo::new(staged.key.clone(), about);
        info::write(&staged.path.join(INFO), &info, "publish snapshot")?;
        sync_directory(&staged.path, "publish snapshot")?;
        match self.place(&staged.path, &info, Sync::Now)? {
            None => {
                staged.is_published = true;
                Ok(info)
            }
            Some(other) => Ok(other),
        }
    }

    /// Gives a whole directory its name. Returns the one that is there already, if there is one.
    fn place(&self, path: &Path, info: &SnapshotInfo, sync: Sync) -> Result<Option<SnapshotInfo>> {
        let target = self.path(&info.key);
        loop {
            match rename_new(path, &target) {
                Ok(()) => break,
                Err(Errno::EXIST | Errno::NOTEMPTY) => {
                    if let Some(other) = self.info(&info.key)? {
                        return Ok(Some(other));
                    }
                    // Not whole, though it has the name: a disk that lost something.
                    self.places.discard(&target)?;
                }
                Err(error) => return Err(error.into()).during("publish snapshot", &info.key, &target),
            }
        }
        sync.directory(&self.places.snapshots, "publish snapshot")?;
        Ok(None)
    }

    pub(super) fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.places.discard(&self.path(key))
    }

    /// Moves what a dead maker has left of a key to the trash.
    pub(super) fn clear_staging(&self, key: &SnapshotKey) -> Result<()> {
        let path = &self.places.staging;
        let prefixes = [format!("{}.", key.file_name()), format!("active-{}.", key.file_name())];
        let read = || fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        for path in read().during("clear staging", key, path)? {
            let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
            let is_ours = prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()));
            // The lock beside it is its holder's.
            if is_ours && !name.ends_with(".lock") {
                self.places.discard(&path)?;
            }
        }
        Ok(())
    }

    /// Makes an active snapshot: `fill` gets its empty `fs/` and the directories of the stack.
    pub(super) fn prepare(
        &self,
        key: &SnapshotKey,
        stack: &[SnapshotKey],
        sync: Sync,
        fill: impl FnOnce(&Path, &[PathBuf]) -> Result<()>,
    ) -> Result<Active> {
        let target = self.active_path(key);
        let taken = || Error::Locked {
            what: What::new("prepare snapshot", key.to_string()),
            reason: "there is an active one of this name".to_owned(),
        };
        if target.exists() {
            return Err(taken());
        }
        // Whoever comes back to it soon has just looked.
        let known = if sync == Sync::Now { 0 } else { stack.len().saturating_sub(1) };
        let below = self.stack(stack.get(known..).unwrap_or_default())?;
        let mut staged = self.stage(key)?;
        fill(&staged.fs, &below)?;
        let active = Active { key: key.clone(), stack: stack.to_vec(), path: target.clone() };
        private_directory(&staged.path.join("work")).during("prepare snapshot", key, &staged.path)?;
        sync.write(&staged.path.join(ACTIVE), &active, "prepare snapshot")?;
        sync.directory(&staged.path, "prepare snapshot")?;
        match rename_new(&staged.path, &target) {
            Ok(()) => staged.is_published = true,
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Err(taken()),
            Err(error) => return Err(error.into()).during("prepare snapshot", key, &target),
        }
        sync.directory(&self.places.snapshots, "prepare snapshot")?;
        Ok(active)
    }

    pub(super) fn active(&self, key: &SnapshotKey) -> Result<Option<Active>> {
        let path = self.active_path(key);
        let found: Option<Active> = info::read(&path.join(ACTIVE), "open snapshot")?;
        Ok(found.filter(|active| active.key == *key).map(|active| Active { path, ..active }))
    }

    pub(super) fn actives(&self) -> Result<Vec<SnapshotKey>> {
        let mut found = Vec::new();
        for path in self.entries()? {
            let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
            if !name.starts_with("active-") {
                continue;
            }
            if let Some(active) = info::read::<Active>(&path.join(ACTIVE), "list snapshots")? {
                found.push(active.key);
            }
        }
        found.sort();
        Ok(found)
    }

    pub(super) fn remove_active(&self, key: &SnapshotKey) -> Result<()> {
        self.places.discard(&self.active_path(key))
    }

    /// Commits the directory of an active snapshot as it is.
    pub(super) fn commit_whole(
        &self,
        active: &Active,
        key: &SnapshotKey,
        parent: Option<SnapshotKey>,
        sync: Sync,
    ) -> Result<SnapshotInfo> {
        if let Some(there) = self.info(key)? {
            self.remove_active(&active.key)?;
            return Ok(there);
        }
        let fs = active.directory();
        let usage = usage::measure(&fs).during("commit snapshot", key, &fs)?;
        if sync == Sync::Now {
            self.sync_all("commit snapshot")?;
        }
        let info = SnapshotInfo::new(key.clone(), About { parent, usage, ..About::default() });
        sync.write(&active.path.join(INFO), &info, "commit snapshot")?;
        sync.directory(&active.path, "commit snapshot")?;
        let there = self.place(&active.path, &info, sync)?;
        if there.is_some() {
            self.remove_active(&active.key)?;
        } else {
            // Not part of it, and harmless where a crash leaves them.
            if sync == Sync::Now {
                self.places.discard(&self.path(key).join(ACTIVE))?;
            }
            // Else what it was stays, and says that it is whole where a power cut takes the rest.
            self.places.discard(&self.path(key).join("work"))?;
        }
        Ok(there.unwrap_or(info))
    }

    pub(super) fn assemble(
        &self,
        stack: &[SnapshotKey],
        to: &Path,
        keep: Keep,
        cancel: &CancellationToken,
    ) -> Result<assemble::Assembled> {
        let roots = self.stack(stack)?;
        assemble::assemble(Layers { form: self.form, roots: &roots }, to, keep, cancel)
    }
}

/// Gives an upper directory the looks of the root below it: it is the one that is seen.
pub(crate) fn dress_root(fs: &Path, below: &[PathBuf]) -> Result<()> {
    let Some(top) = below.last() else { return Ok(()) };
    let dress_it = || -> io::Result<()> {
        let (from, to) = (file::open_dir(top, Path::new(""))?, file::open_dir(fs, Path::new(""))?);
        let (facts, here) = (file::facts_of(&from)?, OsStr::new("."));
        dress((&from, here), &facts, (&to, here), Keep::as_able(), &mut Skipped::default())
    };
    dress_it().during("prepare upper directory", fs.display(), fs)
}

/// Renames where nothing is.
pub(crate) fn rename_new(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system without the flag: a directory is never renamed over one that has something in it.
        Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(from, to),
        other => other,
    }
}
