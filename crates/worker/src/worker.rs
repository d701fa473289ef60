//! What all ops of an engine share.

use std::fmt;
use std::sync::Arc;

use lazyblob_cache::Manager;
use lazyblob_remote::{Access, Registry};
use lazyblob_solver::LoadCx;
use tokio_util::task::TaskTracker;

use crate::executor::Executor;
use crate::llb::pb::Platform;
use crate::ops::{CacheMounts, Tables};
use crate::session::Sessions;

/// What a worker stands on.
#[derive(Clone, Debug)]
pub struct Components {
    /// Where trees and blobs are kept.
    pub manager: Manager,
    /// The client for registries: its connections and tokens are shared by all builds.
    pub registry: Registry,
    /// Runs commands.
    pub executor: Arc<dyn Executor>,
    /// The platform of ops that name none, under its normal names.
    pub platform: Platform,
}

/// What all ops of an engine share. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Worker(Arc<Inner>);

struct Inner {
    components: Components,
    sessions: Sessions,
    cache_mounts: CacheMounts,
    tables: Tables,
    /// What is written out, also for who has lost interest.
    exports: TaskTracker,
}

impl Worker {
    /// A worker on `components`, without sessions yet.
    #[must_use]
    pub fn new(components: Components) -> Self {
        let (sessions, cache_mounts, tables, exports) = Default::default();
        Self(Arc::new(Inner { components, sessions, cache_mounts, tables, exports }))
    }

    /// Where trees and blobs are kept.
    #[must_use]
    pub fn manager(&self) -> &Manager {
        &self.0.components.manager
    }

    /// The client for registries.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.components.registry
    }

    /// Runs commands.
    #[must_use]
    pub fn executor(&self) -> &Arc<dyn Executor> {
        &self.0.components.executor
    }

    /// The platform of ops that name none.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.0.components.platform
    }

    /// Who is building.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// Who waits for a cache mount.
    pub(crate) fn cache_mounts(&self) -> &CacheMounts {
        &self.0.cache_mounts
    }

    /// What is written out: the engine waits for it when it closes.
    pub(crate) fn exports(&self) -> &TaskTracker {
        &self.0.exports
    }

    /// What is known of trees.
    pub(crate) fn tables(&self) -> &Tables {
        &self.0.tables
    }

    /// Access on behalf of whoever wants the vertex of `cx`.
    #[must_use]
    pub fn access(&self, cx: &LoadCx) -> Access {
        self.0.sessions.access(cx)
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("manager", self.manager()).finish_non_exhaustive()
    }
}
