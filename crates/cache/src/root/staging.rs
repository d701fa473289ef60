//! One maker per thing: the flock of `staging/<name>.lock`, within a process and between processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lazyblob_remote::layout::flock::{self, Attempt, FileLock, Holder, PerKey};
use lazyblob_remote::{Progress, What};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{RootSettings, Trash};
use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result};

const OPERATION: &str = "make";
const SWEEP: &str = "clean up";
const LOCK: &str = ".lock";

/// The locks of what is being made. Clones share those who wait.
#[derive(Clone, Debug)]
pub struct StagingLocks {
    dir: PathBuf,
    settings: RootSettings,
    waiters: Arc<PerKey<String, Notify>>,
}

/// The right to make something, until the last one that shares it drops it: whoever works on its files has a share. It
/// may be dropped on any thread, which takes two short calls.
#[derive(Debug)]
#[must_use = "others make it when this is dropped"]
pub struct Claim {
    path: PathBuf,
    lock: FileLock,
    released: Arc<Notify>,
}

impl StagingLocks {
    pub(super) fn new(dir: PathBuf, settings: RootSettings) -> Self {
        Self { dir, settings, waiters: Arc::default() }
    }

    /// Gets hold of `name`, waiting for whoever makes it, of which `progress` is told once. Who has it looks first whether
    /// it was made meanwhile. What is made is called `staging/<name>` or `staging/<name>.<anything>` while it is.
    ///
    /// Who has a claim of a name and claims it again waits for itself.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when `cancel` is, [`Error::Invalid`] for what is not a name of a file, [`Error::Io`].
    pub async fn claim(
        &self,
        name: &str,
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<Claim> {
        if name.is_empty() || name.contains(['/', '\0', '.']) {
            return Err(Error::invalid(
                OPERATION,
                format_args!("{name:?}"),
                "that is not the name of a file",
            ));
        }
        let released = self.waiters.of(&name.to_owned());
        let tell = |holder: &str| {
            let said = format!("{name}: waiting for {holder}");
            tracing::info!("{said}");
            progress.note(&said);
        };
        let claim = flock::wait(&released, self.settings.poll, || self.attempt(name, &released), tell);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled { what: What::new(OPERATION, name) }),
            claim = claim => claim,
        }
    }

    async fn attempt(&self, name: &str, released: &Arc<Notify>) -> Result<Attempt<Claim>> {
        let (locks, name, released) = (self.clone(), name.to_owned(), Arc::clone(released));
        let what = What::new(OPERATION, &name);
        blocking(|| what, move || locks.attempt_now(&name, released).during(OPERATION, name, &locks.dir))
            .await
    }

    fn attempt_now(&self, name: &str, released: Arc<Notify>) -> io::Result<Attempt<Claim>> {
        let path = self.dir.join(format!("{name}{LOCK}"));
        Ok(match FileLock::attempt(&path)? {
            Attempt::Held(lock) => {
                let claim = Claim { path, lock, released };
                claim.lock.sign(&Holder::this_process(self.settings.holder))?;
                Attempt::Held(claim)
            }
            Attempt::Busy(holder) => Attempt::Busy(holder),
            // Nobody but ourselves makes the directory.
            Attempt::Missing => return Err(io::ErrorKind::NotFound.into()),
        })
    }

    /// Removes what makers have left that were killed: everything that is called `<name>` or `<name>.<anything>` and is
    /// made by nobody now. Returns how much that was. Blocking; what is removed is deleted later.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sweep(&self, trash: &Trash) -> Result<usize> {
        let mut removed = 0;
        self.each_left(|path| {
            removed += usize::from(trash.put(path)?.is_some());
            Ok(())
        })?;
        Ok(removed)
    }

    /// What [`StagingLocks::sweep`] would remove. Blocking.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn left(&self) -> Result<Vec<PathBuf>> {
        let mut left = Vec::new();
        self.each_left(|path| {
            left.push(path.to_owned());
            Ok(())
        })?;
        Ok(left)
    }

    /// Shows `each` what nobody makes any more, while nobody can begin to.
    fn each_left(&self, mut each: impl FnMut(&Path) -> Result<()>) -> Result<()> {
        let entries = fs::read_dir(&self.dir).during(SWEEP, self.dir.display(), &self.dir)?;
        for entry in entries {
            let entry = entry.during(SWEEP, self.dir.display(), &self.dir)?;
            let file = entry.file_name();
            // What is called otherwise has no maker of ours.
            let Some(name) =
                file.to_str().and_then(|file| file.split('.').next()).filter(|name| !name.is_empty())
            else {
                continue;
            };
            let claim = self.attempt_now(name, self.waiters.of(&name.to_owned()));
            let Attempt::Held(_claim) = claim.during(SWEEP, name, &self.dir)? else { continue };
            // The lock goes with the claim.
            if file.to_str() != Some(&format!("{name}{LOCK}")) {
                each(&entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // One without a name was removed by somebody: what is in its place is not ours.
        if self.lock.is_named() {
            drop(fs::remove_file(&self.path));
        }
        self.lock.let_go();
        self.released.notify_waiters();
    }
}
