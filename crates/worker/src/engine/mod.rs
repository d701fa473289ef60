//! The façade that a build tool embeds: one value that solves definitions, exports what they make, and cleans up.
//!
//! ```text
//! Engine::builder(root) ─▶ Engine ── session(credentials, directories, secrets) ─▶ OpenSession
//!                            │
//!                            ├─ solve(Request) ─▶ Build ─ status() ─ results() ─ export(…) ─ export_cache(…) ─ why()
//!                            ├─ prune(…)
//!                            └─ close()
//! ```
//!
//! Many builds run at once on one engine and share whatever they have in common: vertices, pulls, connections. Several
//! engines, also of several processes, may have one root.

mod build;
mod builder;
mod cache;
mod exports;
mod request;

use std::fmt;
use std::sync::Arc;

use lazyblob_cache::Manager;
use lazyblob_cache::prune::{PruneOptions, Pruned};
use lazyblob_solver::{CacheIndex, Edge, Graph, JobOptions, Solver};
use tokio_util::sync::CancellationToken;

pub use build::{Build, Output};
pub use builder::Builder;
pub use exports::Stdout;
pub use request::Request;

use crate::error::{Error, Result};
use crate::ops::{self, LoadOptions};
use crate::result::WorkerRef;
use crate::session::{OpenSession, Session};
use crate::worker::Worker;

/// A build engine. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    worker: Worker,
    solver: Solver<WorkerRef>,
    index: Arc<CacheIndex<WorkerRef>>,
    owned: Owned,
}

/// What the engine has made itself, and closes.
#[derive(Clone, Copy, Debug, Default)]
struct Owned {
    manager: bool,
    registry: bool,
    executor: bool,
}

impl Engine {
    /// What an engine is made of, where it keeps everything below the directory `root`.
    #[must_use]
    pub fn builder(root: impl Into<std::path::PathBuf>) -> Builder {
        Builder::new(root.into())
    }

    /// Opens a session: whose credentials, directories and secrets builds use. It ends when what is returned is dropped.
    pub fn session(&self, session: Session) -> OpenSession {
        self.0.worker.sessions().open(session)
    }

    /// Begins a build of a definition. Nothing runs before something of it is asked for.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for what the session does not allow, [`Error::Unsupported`] for ops that are not run:
    /// both before anything is. Those of the solver.
    pub async fn solve(&self, request: Request<'_>) -> Result<Build> {
        let Request { definition, session, platforms, no_cache, imports, explain } = request;
        let allowed = self.0.worker.sessions().get(session.id()).map(|it| it.allowed.clone());
        ops::check_entitlements(definition, &allowed.unwrap_or_default())?;
        let options = JobOptions { session: Some(session.id().clone()), sources: imports, explain };
        let job = self.0.solver.job(options).await?;
        let own = self.0.worker.platform().clone();
        let platforms = if platforms.is_empty() { vec![own] } else { platforms };
        let mut outputs = Vec::new();
        let mut options =
            LoadOptions { no_cache, session: Some(session.id().clone()), ..LoadOptions::default() };
        for platform in platforms {
            options.platform = Some(platform.clone());
            job.load(ops::graph(&self.0.worker, definition, &options)?).await?;
            outputs.push(Output { platform, edge: ops::result(&self.0.worker, definition, &options) });
        }
        Ok(Build::new(self.clone(), job, outputs))
    }

    /// Begins a build of a graph that may have ops of the embedder's own, for this engine's platform.
    ///
    /// # Errors
    /// Those of the solver.
    pub async fn solve_graph(
        &self,
        graph: Graph<WorkerRef>,
        edge: Edge,
        options: JobOptions<WorkerRef>,
    ) -> Result<Build> {
        let job = self.0.solver.job(options).await?;
        job.load(graph).await?;
        let output = Output { platform: self.0.worker.platform().clone(), edge };
        Ok(Build::new(self.clone(), job, vec![output]))
    }

    /// Removes what nobody uses, as `options` say, and forgets under what it was known.
    ///
    /// # Errors
    /// Those of [`Manager::prune`]; [`Error::Failed`] where the index cannot be read or written.
    pub async fn prune(&self, options: &PruneOptions, cancel: &CancellationToken) -> Result<Pruned> {
        let pruned = self.manager().prune(options, cancel).await?;
        if !options.dry_run {
            let released = self.0.index.release_unreferenced().await;
            released.map_err(|error| Error::failed("prune", "the solver's index", error))?;
        }
        Ok(pruned)
    }

    /// Waits until everything that builds have made until now is durable. Many share one sync, so it is asked once, before
    /// somebody outside is told that a build is done.
    ///
    /// # Errors
    /// Those of [`Manager::settle`].
    pub async fn settle(&self) -> Result<()> {
        Ok(self.manager().settle().await?)
    }

    /// Ends all builds, waits until all work has returned and everything is durable, and closes what the engine has made.
    ///
    /// # Errors
    /// Those of [`Manager::close`].
    pub async fn close(&self) -> Result<()> {
        self.0.solver.close().await;
        self.0.worker.exports().close();
        self.0.worker.exports().wait().await;
        if self.0.owned.executor {
            self.0.worker.executor().close().await;
        }
        let settled = self.manager().settle().await;
        let closed = match self.0.owned.manager {
            true => self.manager().close().await,
            false => Ok(()),
        };
        if self.0.owned.registry {
            self.0.worker.registry().close().await;
        }
        settled?;
        Ok(closed?)
    }

    /// What its ops share: for embedders that have ops of their own.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.0.worker
    }

    /// The solver: for embedders that have jobs of their own.
    #[must_use]
    pub fn solver(&self) -> &Solver<WorkerRef> {
        &self.0.solver
    }

    /// The cache.
    #[must_use]
    pub fn manager(&self) -> &Manager {
        self.0.worker.manager()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("worker", &self.0.worker).finish_non_exhaustive()
    }
}
