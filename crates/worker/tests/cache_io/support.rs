//! A registry in memory, and builders that have nothing in common but it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use lazyblob_cache::layer::{Compression, Family, LayerType};
use lazyblob_cache::manager::{Components, Settings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::refs::BlobOptions;
use lazyblob_cache::root::{Root, RootSettings};
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::{ImmutableRef, Manager};
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry as client;
use lazyblob_remote::testing::{Builder, TestRegistry};
use lazyblob_remote::transfer::{self, Retry};
use lazyblob_remote::{Access, Digest, Registry, Transport};
use lazyblob_solver::{
    CacheIndex, CacheSource, Edge, ExportMode, ExportOptions, Exported, Graph, Job, JobOptions, LoadCx,
    LoadError, MemoryKeys, ResultId, ResultStore, SessionId, Solver, StoreError, StoredResult, What,
};
use lazyblob_worker::cache_io::{ExportSpec, ImportSpec, Imported, import};
use lazyblob_worker::executor::{Executor, Exit, Output, Process};
use lazyblob_worker::{Worker, WorkerRef};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::ops::Step;

/// The registry of all tests.
pub(crate) const HOST: &str = "registry.test";

pub(crate) async fn registry() -> TestRegistry {
    registry_of(TestRegistry::builder()).await
}

pub(crate) async fn registry_of(builder: Builder) -> TestRegistry {
    builder.settings(|settings| settings.serve_unnamed = true).in_memory(HOST).await
}

/// A client with short waits.
pub(crate) fn client_over(transport: Arc<dyn Transport>, hosts: Hosts) -> Registry {
    let retry = Retry {
        first: Duration::from_millis(2),
        cap: Duration::from_millis(10),
        jitter: 0.0,
        ..Retry::default()
    };
    let settings = client::Settings {
        transfers: transfer::Settings { retry, ..transfer::Settings::default() },
        ..client::Settings::default()
    };
    Registry::new(transport, hosts, settings)
}

/// A builder: a root, a client, a solver that remembers nothing yet.
pub(crate) struct Bench {
    pub(crate) worker: Worker,
    pub(crate) solver: Solver<WorkerRef>,
    _dir: TempDir,
}

impl Bench {
    /// One that knows this registry alone.
    pub(crate) async fn new(registry: &TestRegistry) -> Self {
        Self::over(client_over(Arc::new(registry.transport()), Hosts::default())).await
    }

    /// One that gives an import so much time for an answer.
    pub(crate) async fn patient(registry: &TestRegistry, patience: Duration) -> Self {
        let client = client_over(Arc::new(registry.transport()), Hosts::default());
        Self::made(client, patience).await
    }

    pub(crate) async fn over(registry: Registry) -> Self {
        Self::made(registry, Duration::from_secs(30)).await
    }

    async fn made(registry: Registry, patience: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path(), RootSettings::default()).await.unwrap();
        let snapshots = snapshot::open(Places::below(root.path()), Wanted::Plain).unwrap();
        let components = Components {
            transfers: registry.transfers().clone(),
            remotes: Arc::new(registry.clone()),
            engine: Arc::new(Sled),
            snapshots,
        };
        let manager = Manager::open(root, components, Settings::default()).await.unwrap();
        let worker = Worker::new(lazyblob_worker::Components {
            manager,
            registry,
            executor: Arc::new(NoExecutor),
            platform: "linux/amd64".parse().unwrap(),
        });
        let cache = CacheIndex::new("local", Arc::new(MemoryKeys::new()), Arc::new(Held::default()));
        let mut settings = lazyblob_solver::Settings::default();
        settings.check = true;
        settings.source_deadline = patience;
        Self { worker, solver: Solver::new(Arc::new(cache), settings), _dir: dir }
    }

    pub(crate) fn import(&self, spec: &str) -> Arc<Imported> {
        self.import_as(spec, &Access::anonymous())
    }

    pub(crate) fn import_as(&self, spec: &str, access: &Access) -> Arc<Imported> {
        import(&self.worker, &spec.parse::<ImportSpec>().unwrap(), access)
    }

    pub(crate) async fn job(
        &self,
        session: Option<SessionId>,
        imports: &[Arc<Imported>],
        ops: &[&Step],
    ) -> Job<WorkerRef> {
        let sources = imports.iter().map(|import| Arc::clone(import) as Arc<dyn CacheSource<WorkerRef>>);
        let options = JobOptions { session, sources: sources.collect(), ..JobOptions::default() };
        let job = self.solver.job(options).await.unwrap();
        job.load(Graph::new(ops.iter().map(|op| op.vertex())).unwrap()).await.unwrap();
        job
    }

    /// Builds the last op.
    pub(crate) async fn build(
        &self,
        imports: &[Arc<Imported>],
        ops: &[&Step],
    ) -> (Job<WorkerRef>, WorkerRef) {
        let job = self.job(None, imports, ops).await;
        let built = job.build(&ops.last().unwrap().edge()).await.unwrap();
        (job, built.result)
    }

    pub(crate) async fn export(
        &self,
        exported: &Exported<WorkerRef>,
        spec: &str,
    ) -> lazyblob_worker::Result<lazyblob_worker::cache_io::CacheExport> {
        let spec: ExportSpec = spec.parse().unwrap();
        lazyblob_worker::cache_io::export(&self.worker, exported, &spec, &Access::anonymous()).await
    }

    pub(crate) async fn close(self) {
        self.solver.close().await;
        self.worker.manager().close().await.unwrap();
        self.worker.registry().close().await;
    }
}

pub(crate) const MIN: ExportMode = ExportMode::Min;
pub(crate) const MAX: ExportMode = ExportMode::Max;

pub(crate) async fn learned(job: &Job<WorkerRef>, edge: &Edge, mode: ExportMode) -> Exported<WorkerRef> {
    let options = ExportOptions { mode, ..ExportOptions::default() };
    job.export_cache(edge, options).await.unwrap()
}

/// What a job warned of so far.
pub(crate) fn warnings(job: &Job<WorkerRef>) -> Vec<String> {
    let mut status = job.status();
    let mut warnings = Vec::new();
    while let Some(Some(event)) = status.next().now_or_never() {
        if let What::Warning(text) = event.what {
            warnings.push(text);
        }
    }
    warnings
}

/// The blobs of a tree, the bottom one first.
pub(crate) fn blobs(result: &WorkerRef) -> Vec<Digest> {
    let layers = result.tree().unwrap().layers();
    layers.iter().map(|layer| layer.descriptor().unwrap().digest().clone()).collect()
}

/// Keeps the trees themselves.
#[derive(Default)]
struct Held(Mutex<HashMap<ResultId, (WorkerRef, SystemTime)>>);

#[async_trait]
impl ResultStore<WorkerRef> for Held {
    async fn save(
        &self,
        result: &WorkerRef,
        created_at: Option<SystemTime>,
    ) -> Result<StoredResult, StoreError> {
        let id = ResultId::new(result.tree().map_or("scratch".into(), |tree| tree.id().to_string()));
        let mut held = self.0.lock().unwrap();
        let now = created_at.unwrap_or_else(SystemTime::now);
        let (_, created_at) = held.entry(id.clone()).or_insert_with(|| (result.clone(), now));
        Ok(StoredResult { id, created_at: *created_at })
    }

    async fn load(&self, _: &LoadCx, id: &ResultId) -> Result<WorkerRef, LoadError> {
        let held = self.0.lock().unwrap().get(id).map(|(result, _)| result.clone());
        held.ok_or_else(|| LoadError::gone("no such result"))
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        Ok(self.0.lock().unwrap().contains_key(id))
    }

    async fn remotes(&self, cx: &LoadCx, id: &ResultId, make: bool) -> Result<Vec<ImmutableRef>, LoadError> {
        let Some(tree) = self.load(cx, id).await?.tree().cloned() else { return Ok(Vec::new()) };
        if make {
            let options = BlobOptions {
                layer: LayerType::new(Family::Oci, lazyblob_cache::layer::Algorithm::Gzip),
                compression: Compression::GZIP,
                threads: 1,
            };
            tree.make_blobs(&options, &Access::anonymous()).await.map_err(LoadError::failed)?;
        }
        Ok(tree.layers().iter().all(|layer| layer.blob().is_some()).then_some(tree).into_iter().collect())
    }
}

#[derive(Debug)]
struct NoExecutor;

#[async_trait]
impl Executor for NoExecutor {
    fn name(&self) -> &str {
        "none"
    }

    async fn ready(&self) -> lazyblob_worker::Result<()> {
        Ok(())
    }

    async fn run(
        &self,
        process: Process,
        _: &dyn Output,
        _: &CancellationToken,
    ) -> lazyblob_worker::Result<Exit> {
        panic!("{} is run", process.id);
    }
}

/// Bytes of a test.
#[derive(Debug)]
pub(crate) struct InMemory(pub(crate) Bytes);

#[async_trait]
impl lazyblob_remote::Provider for InMemory {
    async fn open(
        &self,
        _: &lazyblob_remote::Descriptor,
        range: std::ops::Range<u64>,
    ) -> lazyblob_remote::Result<lazyblob_remote::verify::Unverified> {
        let at = |offset: u64| usize::try_from(offset).unwrap();
        let bytes = self.0.slice(at(range.start)..at(range.end));
        Ok(lazyblob_remote::verify::Unverified::new(range, lazyblob_remote::body::once(bytes)))
    }

    async fn info(
        &self,
        _: &lazyblob_remote::Descriptor,
    ) -> lazyblob_remote::Result<lazyblob_remote::provider::BlobInfo> {
        Ok(lazyblob_remote::provider::BlobInfo { size: Some(self.0.len() as u64) })
    }

    fn origin(&self) -> lazyblob_remote::provider::Origin {
        lazyblob_remote::provider::Origin { host: "test".to_owned(), repository: "memory".to_owned() }
    }
}
