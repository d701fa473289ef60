//! What runs the command of an exec op.
//!
//! An [`Executor`] is given a root and what is mounted in it, and leaves the root as the command left it: what it had to
//! make there to run it (mount points, `resolv.conf`, `hosts`) is gone again. A working directory that was not there stays.

mod memory;
mod oci;
mod process;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

pub(crate) use memory::memory;
pub use memory::state_dir;
pub use oci::{OciRuntime, Settings};
pub use process::{MountSource, Mounted, Network, Process, Security, Ulimit};

use crate::error::Result;

/// Takes what a command writes.
pub trait Output: Send + Sync {
    /// Bytes of standard output (1) or standard error (2), as they were written. Must return at once.
    fn write(&self, stream: u8, data: Bytes);
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its status; 128 and the signal's number if a signal ended it.
    pub code: u32,
}

/// Runs commands.
#[async_trait]
pub trait Executor: Send + Sync + std::fmt::Debug {
    /// What people call it.
    fn name(&self) -> &str;

    /// Whether it can work here: asked before anything runs that needs it.
    ///
    /// # Errors
    /// [`Error::Executor`](crate::Error::Executor) with what is missing and what to do about it.
    async fn ready(&self) -> Result<()>;

    /// Takes away what executors of this kind left that were killed, if there is any. What cannot be taken away stays for the
    /// next one.
    async fn sweep(&self) {}

    /// Runs a process to its end. When `cancel` is signalled, or this is dropped, all its processes are killed and what was
    /// set up for it is taken away; the future returns once that is done.
    ///
    /// # Errors
    /// [`Error::Executor`](crate::Error::Executor) if it could not be run at all; [`Error::Cancelled`](crate::Error::Cancelled).
    /// A status that is not 0 is no error here.
    async fn run(&self, process: Process, output: &dyn Output, cancel: &CancellationToken) -> Result<Exit>;

    /// Kills what runs, and waits until nothing is left of it; nothing is run afterwards.
    async fn close(&self) {}
}
