//! A build that was begun.

use std::sync::Arc;

use futures::future::try_join_all;
use lazyblob_solver::{Built, Edge, GraphView, Job, Status, Why};

use super::Engine;
use crate::error::Result;
use crate::llb::pb::Platform;
use crate::result::WorkerRef;

/// What a build is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// For which platform.
    pub platform: Platform,
    /// Which output of which vertex.
    pub edge: Edge,
}

/// A build that was begun. It holds what it has made until it is dropped; then work that nobody else wants is cancelled,
/// and the engine waits for it.
#[must_use = "a build that is dropped is given up"]
pub struct Build {
    engine: Engine,
    pub(super) job: Arc<Job<WorkerRef>>,
    outputs: Vec<Output>,
}

impl Build {
    pub(super) fn new(engine: Engine, job: Job<WorkerRef>, outputs: Vec<Output>) -> Self {
        Self { engine, job: Arc::new(job), outputs }
    }

    /// The engine it runs on.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What it was asked for, one for each platform.
    #[must_use]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// What it tells while it runs, from its beginning.
    pub fn status(&self) -> Status {
        self.job.status()
    }

    /// Builds everything that was asked for, in the order of [`outputs`](Self::outputs). What comes from a cache, or is an
    /// image, may still be lazy.
    ///
    /// # Errors
    /// What kept a vertex from having a result.
    pub async fn results(&self) -> Result<Vec<Built<WorkerRef>>> {
        Ok(try_join_all(self.outputs.iter().map(|output| self.job.build(&output.edge))).await?)
    }

    /// What there is of the build at this moment, to be drawn.
    ///
    /// # Errors
    /// Those of the solver.
    pub async fn graph(&self) -> Result<GraphView> {
        Ok(self.job.graph().await?)
    }

    /// Why the vertices that ran were not found in the cache, if the request asked for it.
    ///
    /// # Errors
    /// Those of the solver.
    pub async fn why(&self) -> Result<Vec<Why>> {
        Ok(self.job.why().await?)
    }
}
