//! An executor without a runtime.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::executor::{Executor, Exit, MountSource, Output, Process};

/// What plays a command.
type Act = dyn for<'a> Fn(Stage<'a>) -> BoxFuture<'a, Result<Exit>> + Send + Sync;

/// Runs a closure for each command, which reads and writes the mounted directories where they are: no runtime, mount or
/// privilege is needed, and no stub is made.
#[derive(Clone)]
pub struct FakeExecutor {
    act: Arc<Act>,
    runs: Arc<AtomicUsize>,
}

/// What a closure has of a command.
pub struct Stage<'a> {
    /// The command with all it sees.
    pub process: Process,
    /// Takes what it writes.
    pub output: &'a dyn Output,
    /// Says that nobody wants it any more.
    pub cancel: &'a CancellationToken,
}

impl FakeExecutor {
    /// Runs `act` for each command.
    pub fn new(
        act: impl for<'a> Fn(Stage<'a>) -> BoxFuture<'a, Result<Exit>> + Send + Sync + 'static,
    ) -> Self {
        Self { act: Arc::new(act), runs: Arc::default() }
    }

    /// How many commands it was given.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Stage<'_> {
    /// Where the command would find `path`, outside of it: below the last mount that has it, or in the root. Links are not
    /// followed. Nothing for a path in memory.
    #[must_use]
    pub fn path(&self, path: &str) -> Option<PathBuf> {
        let path = Path::new(path);
        for mount in self.process.mounts.iter().rev() {
            let Ok(below) = path.strip_prefix(&mount.dest) else { continue };
            let MountSource::Bind(source) = &mount.source else { return None };
            // A file with nothing joined to it has no slash at its end.
            return Some(if below.as_os_str().is_empty() { source.clone() } else { source.join(below) });
        }
        Some(self.process.root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// Writes to standard output.
    pub fn print(&self, text: impl Into<Bytes>) {
        self.output.write(1, text.into());
    }
}

#[async_trait]
impl Executor for FakeExecutor {
    fn name(&self) -> &str {
        "fake"
    }

    async fn ready(&self) -> Result<()> {
        Ok(())
    }

    async fn run(&self, process: Process, output: &dyn Output, cancel: &CancellationToken) -> Result<Exit> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (self.act)(Stage { process, output, cancel }).await
    }
}

impl fmt::Debug for FakeExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeExecutor").field("runs", &self.runs()).finish_non_exhaustive()
    }
}
