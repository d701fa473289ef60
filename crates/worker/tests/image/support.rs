//! A registry in memory, a root on disk, and engines on it: worker, solver and keys, as a process has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _};
use lazyblob_cache::manager::{Components as CacheComponents, Settings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::root::{Root, RootSettings};
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, image};
use lazyblob_cache::{ImmutableRef, Manager};
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::{self as client};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Builder, Image, TestRegistry};
use lazyblob_remote::transfer::{self, Retry};
use lazyblob_remote::{Digest, Registry, digest};
use lazyblob_solver::{
    Built, CacheIndex, CacheMap, Dep, Edge, Event, Graph, Job, JobOptions, KeyStore, Op, OpCx, OpError,
    Settings as SolverSettings, Solver, Vertex, What,
};
use lazyblob_worker::executor::{Executor, Exit, Output, Process};
use lazyblob_worker::llb::State;
use lazyblob_worker::llb::pb::Platform;
use lazyblob_worker::ops::{self, LoadOptions};
use lazyblob_worker::session::{OpenSession, Session};
use lazyblob_worker::{Components, DiskKeys, Error, Results, Worker, WorkerRef};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The registry of all tests.
pub(crate) const HOST: &str = "registry.test";

pub(crate) fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// A registry and a root.
pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) dir: TempDir,
}

impl World {
    /// With nothing in the registry.
    pub(crate) async fn new() -> Self {
        Self::of(TestRegistry::builder()).await
    }

    pub(crate) async fn of(builder: Builder) -> Self {
        let registry = builder.settings(|settings| settings.serve_unnamed = true).in_memory(HOST).await;
        Self { registry, dir: tempfile::tempdir().unwrap() }
    }

    /// With an image called `app:1`.
    pub(crate) async fn with_app() -> (Self, Image) {
        let world = Self::new().await;
        let image = world.push("app", "1", &["base", "top"]).await;
        (world, image)
    }

    /// Puts an image with a layer for each of these names into the registry.
    pub(crate) async fn push(&self, repository: &str, tag: &str, layers: &[&str]) -> Image {
        let image = image_of(layers);
        self.registry.seed(repository, tag, &image).await;
        self.registry.reset();
        image
    }

    /// What runs builds, as another process would have it.
    pub(crate) async fn engine(&self) -> Engine {
        Engine::new(self.dir.path(), &self.registry).await
    }

    /// Requests so far: for manifests, and for configs and layers, with all others.
    pub(crate) fn requests(&self) -> (u64, u64, usize) {
        let of = |kind| self.registry.requests(kind);
        let (manifests, blobs) = (of(Kind::ManifestGet), of(Kind::BlobGet));
        let others = self.registry.lines().len() - usize::try_from(manifests + blobs).unwrap();
        (manifests, blobs, others)
    }

    /// GETs of one blob so far.
    pub(crate) fn gets(&self, digest: &Digest) -> usize {
        let path = format!("/blobs/{digest}");
        let log = self.registry.log();
        log.iter().filter(|entry| entry.method.as_str() == "GET" && entry.target.ends_with(&path)).count()
    }

    /// GETs of an image's layers so far.
    pub(crate) fn pulls(&self, image: &Image) -> usize {
        image.layers().map(|layer| self.gets(layer.digest())).sum()
    }
}

/// An image with a layer for each of these names, which has a file of that name.
pub(crate) fn image_of(layers: &[&str]) -> Image {
    let tar = |name: &&str| (Tar::new().file(name, *name).end(), Packed::Gzip);
    image(&layers.iter().map(tar).collect::<Vec<_>>())
}

/// What runs builds.
pub(crate) struct Engine {
    pub(crate) worker: Worker,
    pub(crate) solver: Solver<WorkerRef>,
    pub(crate) cache: Arc<CacheIndex<WorkerRef>>,
}

impl Engine {
    pub(crate) async fn new(dir: &std::path::Path, registry: &TestRegistry) -> Self {
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
        let client = Registry::new(Arc::new(registry.transport()), Hosts::default(), settings);
        let root = Root::open(dir, RootSettings::default()).await.unwrap();
        let snapshots = snapshot::open(Places::below(root.path()), Wanted::Plain).unwrap();
        let components = CacheComponents {
            transfers: client.transfers().clone(),
            remotes: Arc::new(client.clone()),
            engine: Arc::new(Sled),
            snapshots,
        };
        let manager = Manager::open(root, components, Settings::default()).await.unwrap();
        let keys: Arc<dyn KeyStore> = Arc::new(DiskKeys::new(manager.database()));
        let executor = Arc::new(NoCommands);
        let worker = Worker::new(Components { manager, registry: client, executor, platform: amd64() });
        let cache = Arc::new(CacheIndex::new("local", keys, Arc::new(Results::new(&worker))));
        let mut settings = SolverSettings::default();
        settings.check = true;
        let solver = Solver::new(Arc::clone(&cache), settings);
        Self { worker, solver, cache }
    }

    /// A build of `state`, of nobody's.
    pub(crate) async fn build(&self, state: &State) -> (Job<WorkerRef>, Built<WorkerRef>) {
        let (job, built) = self.try_build(state, None).await;
        (job, built.unwrap())
    }

    /// A build of `state` in a session.
    pub(crate) async fn build_as(
        &self,
        session: &OpenSession,
        state: &State,
    ) -> (Job<WorkerRef>, Built<WorkerRef>) {
        let (job, built) = self.try_build(state, Some(session)).await;
        (job, built.unwrap())
    }

    pub(crate) async fn try_build(
        &self,
        state: &State,
        session: Option<&OpenSession>,
    ) -> (Job<WorkerRef>, lazyblob_solver::Result<Built<WorkerRef>>) {
        let (graph, edge) = self.graph(state);
        self.run(graph, &edge, session).await
    }

    /// The vertices of a definition.
    pub(crate) fn graph(&self, state: &State) -> (Graph<WorkerRef>, Edge) {
        let definition = state.definition(&amd64()).unwrap();
        let options = LoadOptions::default();
        let graph = ops::graph(&self.worker, &definition, &options).unwrap();
        (graph, ops::result(&self.worker, &definition, &options))
    }

    pub(crate) async fn run(
        &self,
        graph: Graph<WorkerRef>,
        edge: &Edge,
        session: Option<&OpenSession>,
    ) -> (Job<WorkerRef>, lazyblob_solver::Result<Built<WorkerRef>>) {
        let session = session.map(|session| session.id().clone());
        let job = self.solver.job(JobOptions { session, ..JobOptions::default() }).await.unwrap();
        job.load(graph).await.unwrap();
        let built = job.build(edge).await;
        (job, built)
    }

    /// `state` with a vertex on top that reads all of it.
    pub(crate) fn read(&self, state: &State, reader: &Arc<Reader>) -> (Graph<WorkerRef>, Edge) {
        let (graph, edge) = self.graph(state);
        let top = digest::sha256(format!("{} over {edge:?}", reader.name).as_bytes());
        let op = Arc::clone(reader) as Arc<dyn Op<WorkerRef>>;
        let vertex = Vertex::new(top.clone(), reader.name, op, vec![edge]);
        let graph = Graph::new(graph.vertices().cloned().chain([vertex])).unwrap();
        (graph, Edge { vertex: top, output: 0 })
    }

    pub(crate) fn reader(&self, name: &'static str) -> Arc<Reader> {
        Arc::new(Reader { name, worker: self.worker.clone(), runs: AtomicUsize::new(0) })
    }

    pub(crate) fn session(&self, session: Session) -> OpenSession {
        self.worker.sessions().open(session)
    }

    /// As when the process ends.
    pub(crate) async fn close(self) {
        self.solver.close().await;
        self.worker.manager().close().await.unwrap();
    }
}

/// Reads all of its input and has it as its result.
#[derive(Debug)]
pub(crate) struct Reader {
    name: &'static str,
    worker: Worker,
    pub(crate) runs: AtomicUsize,
}

#[async_trait]
impl Op<WorkerRef> for Reader {
    async fn cache_map(&self, _: &OpCx<WorkerRef>, _: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        let mut map = CacheMap::new(digest::sha256(self.name.as_bytes()), 0);
        map.deps = vec![Dep::default()];
        Ok(map)
    }

    async fn exec(&self, cx: &OpCx<WorkerRef>, inputs: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        if let Some(tree) = inputs[0].tree() {
            let access = self.worker.access(cx);
            tree.extract(&access).await.map_err(|error| match error.is_not_found() {
                true => OpError::lost(0, error),
                false => OpError::failed(error),
            })?;
        }
        Ok(inputs)
    }
}

/// Runs nothing.
#[derive(Debug)]
struct NoCommands;

#[async_trait]
impl Executor for NoCommands {
    fn name(&self) -> &str {
        "none"
    }

    async fn ready(&self) -> Result<(), Error> {
        Err(Error::failed("run", "commands", "this test has none"))
    }

    async fn run(&self, _: Process, _: &dyn Output, _: &CancellationToken) -> Result<Exit, Error> {
        Err(Error::failed("run", "commands", "this test has none"))
    }
}

/// The tree of a result that is not the empty one.
pub(crate) fn tree(built: &Built<WorkerRef>) -> &ImmutableRef {
    built.result.tree().unwrap()
}

/// What a job has told so far.
pub(crate) fn told(job: &Job<WorkerRef>) -> Vec<Event> {
    let mut status = job.status();
    std::iter::from_fn(|| status.next().now_or_never().flatten()).collect()
}

/// What happened to a blob, by the vertices it was told to.
pub(crate) fn actions(job: &Job<WorkerRef>, blob: &Digest) -> Vec<(String, String)> {
    let of = |event: Event| match event.what {
        What::Progress(progress) if *progress.id == *blob.as_ref() => {
            Some((event.vertex.unwrap().name.to_string(), progress.action.to_string()))
        }
        _ => None,
    };
    told(job).into_iter().filter_map(of).collect()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited for half a minute: {what}");
}
