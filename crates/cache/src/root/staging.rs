//! One maker per thing: the flock of `staging/<name>.lock`, within a process and between processes.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use lazyblob_remote::layout::flock::{self, Attempt, FileLock, Holder, PerKey};
use lazyblob_remote::{Progress, What};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{RootSettings, blocking};
use crate::error::{Error, IoContext as _, Result};

const OPERATION: &str = "make";

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
    /// it was made meanwhile.
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
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
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
        let (path, holder) = (self.dir.join(format!("{name}.lock")), self.settings.holder);
        let (dir, name, released) = (self.dir.clone(), name.to_owned(), Arc::clone(released));
        blocking(What::new(OPERATION, &name), move || {
            let attempt = || {
                Ok(match FileLock::attempt(&path)? {
                    Attempt::Held(lock) => {
                        let claim = Claim { path: path.clone(), lock, released };
                        claim.lock.sign(&Holder::this_process(holder))?;
                        Attempt::Held(claim)
                    }
                    Attempt::Busy(holder) => Attempt::Busy(holder),
                    // Nobody but ourselves makes it.
                    Attempt::Missing => return Err(std::io::ErrorKind::NotFound.into()),
                })
            };
            attempt().during(OPERATION, name, &dir)
        })
        .await
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
