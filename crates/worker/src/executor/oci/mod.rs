//! The executor that drives an OCI runtime (runc, crun) as a program.
//!
//! ```text
//! ready      may containers be made here, and by which runtime (find)
//! home       where state is kept; sweeps what processes left that were killed
//! bundle     check → user → files → mount points and working directory (root) → config.json (spec)
//! container  `runc run`, killing, and then no trace: purge, cgroup, mount points, bundle
//! streams    what the command writes
//! ```
//!
//! A runtime is started once per command: `run`. It says with the file of the process's number that the command runs; what
//! it ends with before is an error of its own, and afterwards the command's status. Everything in a container is killed by
//! killing its first process, as all others are in its namespace. No process of a container outlives [`Executor::run`].
//!
//! Out of reach here: that the kernel killed a command for want of memory. Its cgroup, which counts that, goes with the
//! runtime; asking before would take another start of it.

mod bundle;
mod cgroup;
mod check;
mod container;
mod files;
mod find;
mod home;
mod kill;
mod purge;
mod ready;
mod root;
mod spec;
mod streams;
mod user;
mod words;

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use lazyblob_remote::What;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::container::Ended;
use self::home::Home;
use self::streams::Streams;
use super::{Executor, Exit, Output, Process};
use crate::error::{Error, Result};

const OPERATION: &str = "prepare";

/// What an [`OciRuntime`] is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The runtime: a path, or a name in the search path. Otherwise runc if it is there, else crun.
    pub runtime: Option<PathBuf>,
    /// Where state is kept. Several processes may share it; it is best in memory (below `/run`).
    pub state: PathBuf,
}

/// Runs commands in containers, by an OCI runtime. Needs root. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct OciRuntime(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// Made when it is needed first.
    home: Mutex<Option<Arc<Home>>>,
    containers: TaskTracker,
    closing: CancellationToken,
}

impl OciRuntime {
    /// One that has not looked at the machine yet: [`Executor::ready`] and the first [`Executor::run`] do.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            settings,
            home: Mutex::default(),
            containers: TaskTracker::new(),
            closing: CancellationToken::new(),
        }))
    }

    async fn home(&self) -> Result<Arc<Home>> {
        let mut home = self.0.home.lock().await;
        if self.0.closing.is_cancelled() {
            return Err(Error::Cancelled { what: What::new(OPERATION, "containers") });
        }
        if let Some(home) = &*home {
            return Ok(Arc::clone(home));
        }
        let settings = self.0.settings.clone();
        let opened = tokio::task::spawn_blocking(move || ready::open(&settings)).await;
        let opened = opened.map_err(|e| Error::failed(OPERATION, "containers", e))??;
        Ok(Arc::clone(home.insert(Arc::new(opened))))
    }
}

#[async_trait]
impl Executor for OciRuntime {
    fn name(&self) -> &str {
        "OCI runtime"
    }

    async fn ready(&self) -> Result<()> {
        self.home().await.map(drop)
    }

    async fn sweep(&self) {
        let state = self.0.settings.state.clone();
        let is_left = tokio::task::spawn_blocking(move || home::has_dead(&state)).await;
        if is_left.unwrap_or(false)
            && let Err(error) = self.home().await
        {
            tracing::debug!(%error, "what a dead process left stays");
        }
    }

    async fn close(&self) {
        self.0.closing.cancel();
        self.0.containers.close();
        self.0.containers.wait().await;
        drop(self.0.home.lock().await.take());
    }

    async fn run(&self, process: Process, output: &dyn Output, cancel: &CancellationToken) -> Result<Exit> {
        let what = What::new("run", &process.id);
        if cancel.is_cancelled() {
            return Err(Error::Cancelled { what });
        }
        let home = self.home().await?;
        let (mut streams, ends) = Streams::new().map_err(|e| Error::failed("run", &process.id, e))?;
        let stop = self.0.closing.child_token();
        // Nobody wants it any more when this is dropped.
        let _stop = stop.clone().drop_guard();
        let runtime = home.runtime.path.clone();
        let mut task = self.0.containers.spawn(container::run(home, process, ends, stop.clone()));
        let ended = loop {
            tokio::select! {
                ended = &mut task => break ended,
                () = cancel.cancelled(), if !stop.is_cancelled() => stop.cancel(),
                () = streams.forward(output) => {}
            }
        };
        let ended = ended.map_err(|e| Error::failed("run", &what.object, e))??;
        streams.drain(output);
        exit(&ended, &streams.tail())
            .map_err(|reason| Error::Executor { reason: format!("{}: {reason}", runtime.display()), what })
    }
}

/// The command's status, or why there is none.
fn exit(ended: &Ended, stderr: &str) -> std::result::Result<Exit, String> {
    let Ended { status, is_started, words } = ended;
    let code = status.code().and_then(|code| u32::try_from(code).ok());
    if let (true, Some(code)) = (*is_started, code) {
        return Ok(Exit { code });
    }
    let words = if words.is_empty() { words::told(stderr) } else { words.clone() };
    let how = match (status.code(), status.signal()) {
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (Some(0), _) => "ended without having run the command".to_owned(),
        (code, _) => format!("ended with status {}", code.unwrap_or_default()),
    };
    Err(if words.is_empty() { how } else { format!("{how}: {words}") })
}

impl fmt::Debug for OciRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciRuntime").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
