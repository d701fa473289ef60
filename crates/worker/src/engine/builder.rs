//! What an engine is made of.

use std::path::PathBuf;
use std::sync::Arc;

use lazyblob_cache::root::RootSettings;
use lazyblob_cache::{self as cache, Components, Manager, Root};
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::transport::{self, HttpTransport};
use lazyblob_remote::{Registry, registry};
use lazyblob_solver::{CacheIndex, Settings, Solver};

use super::{Engine, Inner, Owned};
use crate::error::Result;
use crate::executor::{self, Executor, OciRuntime};
use crate::index::DiskKeys;
use crate::llb::host_platform;
use crate::llb::pb::Platform;
use crate::results::Results;
use crate::worker::{self, Worker};

/// Makes an engine. What is not given is what is usual: a client for registries over HTTPS without credentials of its own,
/// the cache in the root, the OCI runtime that is installed, this machine's platform.
#[derive(Debug)]
pub struct Builder {
    root: PathBuf,
    manager: Option<Manager>,
    registry: Option<Registry>,
    executor: Option<Arc<dyn Executor>>,
    platform: Option<Platform>,
    solver: Settings,
}

impl Builder {
    pub(super) fn new(root: PathBuf) -> Self {
        let mut solver = Settings::default();
        // A command uses what cores there are; more of them at once would only wait for each other.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        solver.parallelism.insert("exec".to_owned(), cores.max(2));
        Self { root, manager: None, registry: None, executor: None, platform: None, solver }
    }

    /// The cache to use, in place of one in the root; the embedder closes it after the engine.
    #[must_use]
    pub fn manager(mut self, manager: Manager) -> Self {
        self.manager = Some(manager);
        self
    }

    /// The client for registries: hosts, mirrors, proxies, limits. The embedder closes it after the engine.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// What runs commands.
    #[must_use]
    pub fn executor(mut self, executor: Arc<dyn Executor>) -> Self {
        self.executor = Some(executor);
        self
    }

    /// The platform of ops that name none.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// How the solver works.
    #[must_use]
    pub fn solver(mut self, settings: Settings) -> Self {
        self.solver = settings;
        self
    }

    /// Opens what is not there yet, and the engine on it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Root::open`] and [`Manager::open`].
    pub async fn open(self) -> Result<Engine> {
        let Self { root, manager, registry, executor, platform, solver } = self;
        let mut owned = Owned { manager: manager.is_none(), registry: registry.is_none(), executor: false };
        let registry = registry.unwrap_or_else(|| {
            let transport = Arc::new(HttpTransport::new(transport::Settings::default()));
            Registry::new(transport, Hosts::default(), registry::Settings::default())
        });
        let manager = match manager {
            Some(manager) => manager,
            None => {
                let root = Root::open(root, RootSettings::default()).await?;
                let components = Components::usual(&root, &registry).await?;
                Manager::open(root, components, cache::manager::Settings::default()).await?
            }
        };
        let executor = match executor {
            Some(executor) => executor,
            None => {
                owned.executor = true;
                let state = executor::state_dir(manager.root().path());
                Arc::new(OciRuntime::new(executor::Settings { runtime: None, state }))
            }
        };
        executor.sweep().await;
        let platform = platform.unwrap_or_else(host_platform);
        let worker = Worker::new(worker::Components { manager, registry, executor, platform });
        let keys = Arc::new(DiskKeys::new(worker.manager().database()));
        let index = Arc::new(CacheIndex::new("local", keys, Arc::new(Results::new(&worker))));
        let solver = Solver::new(Arc::clone(&index), solver);
        Ok(Engine(Arc::new(Inner { worker, solver, index, owned })))
    }
}
