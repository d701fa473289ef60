//! Active snapshots under mounts, and those that must not be. The directory of an active snapshot is flocked: shared by who
//! mounts it until the record of the mount says so, alone by who is about to commit it.

use std::fs::File;
use std::io;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::mounter::Mounter;
use crate::error::{Error, IoContext as _, Result, What};
use crate::snapshot::Active;

/// As long as this lives nobody mounts the active snapshot.
#[derive(Debug)]
pub struct KeptUnmounted(#[allow(dead_code, reason = "the lock goes with it")] File);

impl Mounter {
    /// Keeps an active snapshot from being mounted: for who commits it, which takes its directory away from under a mount.
    ///
    /// # Errors
    /// [`Error::Locked`] where it is mounted or somebody mounts it, read-only or not; [`Error::NotFound`];
    /// [`Error::Io`].
    pub fn keep_unmounted(&self, active: &Active) -> Result<KeptUnmounted> {
        let operation = "commit snapshot";
        let lock = self.lock(active, FlockOperation::NonBlockingLockExclusive, operation)?;
        let locked = |reason: String| Error::Locked { what: What::new(operation, &active.key), reason };
        let lock = lock.ok_or_else(|| locked("somebody is mounting or committing it".to_owned()))?;
        let mut mounted = self.list()?.into_iter().filter(|mounted| mounted.state.is_live());
        match mounted.find(|mounted| mounted.record.upper.as_ref() == Some(&active.key)) {
            Some(mounted) => Err(locked(format!("it is mounted at {}", mounted.record.dir.display()))),
            None => Ok(KeptUnmounted(lock)),
        }
    }

    /// Keeps an active snapshot from being committed until it is recorded that it is mounted.
    pub(super) fn use_upper(&self, active: &Active) -> Result<File> {
        let operation = "mount";
        let lock = self.lock(active, FlockOperation::NonBlockingLockShared, operation)?;
        let lock = lock.ok_or_else(|| Error::Locked {
            what: What::new(operation, &active.key),
            reason: "it is being committed".to_owned(),
        })?;
        // It may have been, between opening and locking it.
        match self.snapshots().active(&active.key)? {
            Some(_) => Ok(lock),
            None => Err(Error::not_found(operation, &active.key, "it was committed")),
        }
    }

    fn lock(&self, active: &Active, how: FlockOperation, operation: &'static str) -> Result<Option<File>> {
        let directory = match File::open(&active.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::not_found(operation, &active.key, "it is gone"));
            }
            opened => opened.during(operation, &active.key, &active.path)?,
        };
        match rustix::fs::flock(&directory, how) {
            Ok(()) => Ok(Some(directory)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()).during(operation, &active.key, &active.path),
        }
    }
}
