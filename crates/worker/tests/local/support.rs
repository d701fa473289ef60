//! A worker with a solver, and what is seen of local directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lazyblob_cache::manager::{Components, Settings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::root::{Root, RootSettings};
pub(crate) use lazyblob_cache::snapshot::Wanted;
use lazyblob_cache::snapshot::{self, Places};
use lazyblob_cache::{ImmutableRef, Manager};
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::Settings as ClientSettings;
use lazyblob_remote::testing::TestRegistry;
use lazyblob_remote::{Access, Registry};
use lazyblob_solver::testing::digest;
use lazyblob_solver::{
    Built, CacheIndex, CacheMap, Dep, Edge, Graph, JobOptions, MemoryKeys, Op, OpCx, OpError, SlowDigest,
    Solver, Vertex,
};
use lazyblob_worker::executor::{Executor, Exit, Output, Process};
use lazyblob_worker::keys::ContentSelector;
use lazyblob_worker::llb::{Definition, LocalSource, local_with};
use lazyblob_worker::ops::{self, ContentDigest, LoadOptions};
use lazyblob_worker::session::{LocalReads, Session};
use lazyblob_worker::{Results, Worker, WorkerRef};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The registry of images.
pub(crate) const HOST: &str = "registry.test";

/// Runs nothing: no test here has a command.
#[derive(Debug)]
pub(crate) struct Nothing;

#[async_trait]
impl Executor for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }

    async fn ready(&self) -> lazyblob_worker::Result<()> {
        Ok(())
    }

    async fn run(&self, _: Process, _: &dyn Output, _: &CancellationToken) -> lazyblob_worker::Result<Exit> {
        panic!("no command is run")
    }
}

/// The snapshotters that work here.
pub(crate) fn kinds() -> Vec<Wanted> {
    let dir = tempfile::tempdir().unwrap();
    match snapshot::open(Places::below(dir.path()), Wanted::Overlay) {
        Ok(_) => vec![Wanted::Plain, Wanted::Overlay],
        Err(_) => vec![Wanted::Plain],
    }
}

/// A root, and what works in it as one process.
pub(crate) struct Bench {
    root: Option<Arc<TempDir>>,
    pub(crate) registry: Arc<TestRegistry>,
    pub(crate) worker: Worker,
    pub(crate) solver: Solver<WorkerRef>,
}

impl Bench {
    pub(crate) async fn new(wanted: Wanted) -> Self {
        let registry = TestRegistry::builder().in_memory(HOST).await;
        Self::on(Arc::new(tempfile::tempdir().unwrap()), Arc::new(registry), wanted).await
    }

    /// Another process with the same root, which this one has left.
    pub(crate) async fn again(self, wanted: Wanted) -> Self {
        let (root, registry) = (self.root.clone().unwrap(), Arc::clone(&self.registry));
        self.close().await;
        Self::on(root, registry, wanted).await
    }

    async fn on(root: Arc<TempDir>, registry: Arc<TestRegistry>, wanted: Wanted) -> Self {
        Self { root: Some(Arc::clone(&root)), ..Self::at(root.path(), registry, wanted).await }
    }

    /// A process in a root that somebody else keeps.
    pub(crate) async fn at(root: &Path, registry: Arc<TestRegistry>, wanted: Wanted) -> Self {
        let client =
            Registry::new(Arc::new(registry.transport()), Hosts::default(), ClientSettings::default());
        let opened = Root::open(root, RootSettings::default()).await.unwrap();
        let components = Components {
            transfers: client.transfers().clone(),
            remotes: Arc::new(client.clone()),
            engine: Arc::new(Sled),
            snapshots: snapshot::open(Places::below(opened.path()), wanted).unwrap(),
        };
        let manager = Manager::open(opened, components, Settings::default()).await.unwrap();
        let worker = Worker::new(lazyblob_worker::Components {
            manager,
            registry: client,
            executor: Arc::new(Nothing),
            platform: "linux/amd64".parse().unwrap(),
        });
        let results = Arc::new(Results::new(&worker));
        let index = CacheIndex::new("local", Arc::new(MemoryKeys::new()), results);
        let solver = Solver::new(Arc::new(index), lazyblob_solver::Settings::default());
        Self { root: None, registry, worker, solver }
    }

    pub(crate) async fn close(self) {
        self.solver.close().await;
        self.worker.manager().close().await.unwrap();
    }

    /// Builds a local directory for a session of its own.
    pub(crate) async fn build(&self, local: LocalSource, session: Session) -> Result<ImmutableRef, String> {
        let definition = definition(local);
        let graph = ops::graph(&self.worker, &definition, &LoadOptions::default()).unwrap();
        let built = self.solve(graph, definition.result(), session).await?;
        Ok(built.result.tree().unwrap().clone())
    }

    pub(crate) async fn solve(
        &self,
        graph: Graph<WorkerRef>,
        edge: &Edge,
        session: Session,
    ) -> Result<Built<WorkerRef>, String> {
        let session = self.worker.sessions().open(session);
        let options = JobOptions { session: Some(session.id().clone()), ..JobOptions::default() };
        let job = self.solver.job(options).await.unwrap();
        job.load(graph).await.unwrap();
        let built = job.build(edge).await.map_err(|error| error.to_string());
        job.discard();
        built
    }

    /// What is in a tree: each path with its kind, mode, and content or target; `=` and the first name for further ones.
    pub(crate) async fn listing(&self, tree: &ImmutableRef) -> Vec<String> {
        let view = tree.view(&Access::anonymous()).await.unwrap();
        let listed = list(view.path());
        view.close().await.unwrap();
        listed
    }
}

pub(crate) fn definition(local: LocalSource) -> Definition {
    local_with(local).definition(&"linux/amd64".parse().unwrap()).unwrap()
}

/// The directory `context`, all of it.
pub(crate) fn context() -> LocalSource {
    LocalSource { name: "context".into(), ..LocalSource::default() }
}

pub(crate) fn session(path: &Path, reads: &Arc<Reads>) -> Session {
    let mut session = Session::default();
    session.locals.insert("context".into(), path.to_owned());
    session.local_reads = Some(Arc::clone(reads) as Arc<dyn LocalReads>);
    session
}

type Hook = Box<dyn Fn(&Path) + Send + Sync>;

/// The files that were read.
#[derive(Default)]
pub(crate) struct Reads {
    read: Mutex<Vec<PathBuf>>,
    /// What is done when a file is read.
    pub(crate) hook: Mutex<Option<Hook>>,
}

impl Reads {
    /// The names of files read since this was asked last.
    pub(crate) fn take(&self) -> Vec<String> {
        let read = std::mem::take(&mut *self.read.lock().unwrap());
        read.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn on_each(&self, hook: impl Fn(&Path) + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reads")
    }
}

impl LocalReads for Reads {
    fn reads(&self, path: &Path) {
        self.read.lock().unwrap().push(path.to_owned());
        if let Some(hook) = &*self.hook.lock().unwrap() {
            hook(path);
        }
    }
}

pub(crate) fn write(dir: &Path, path: &str, text: &str) {
    let file = dir.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

pub(crate) fn list(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
    let mut found = Vec::new();
    let mut names: Vec<(u64, String)> = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let whole = dir.join(&path);
        let meta = fs::symlink_metadata(&whole).unwrap();
        let (mode, kind) = (meta.permissions().mode() & 0o7777, meta.file_type());
        let name = path.display().to_string();
        if kind.is_dir() {
            let mut inside: Vec<_> =
                fs::read_dir(&whole).unwrap().map(|entry| path.join(entry.unwrap().file_name())).collect();
            inside.sort_by(|one, other| other.cmp(one));
            waiting.extend(inside);
            if !name.is_empty() {
                found.push(format!("{name}/ {mode:o}"));
            }
            continue;
        }
        let first = names.iter().find(|(inode, _)| *inode == meta.ino()).map(|(_, name)| name.clone());
        if let Some(first) = first {
            found.push(format!("{name} = {first}"));
            continue;
        }
        names.push((meta.ino(), name.clone()));
        found.push(if kind.is_symlink() {
            format!("{name} -> {}", fs::read_link(&whole).unwrap().display())
        } else if kind.is_fifo() {
            format!("{name} fifo {mode:o}")
        } else {
            format!("{name} {mode:o} {:?}", fs::read_to_string(&whole).unwrap())
        });
    }
    found
}

/// An op that looks at what is in its input, and hands it on.
pub(crate) struct Look {
    pub(crate) digest: Arc<ContentDigest>,
    pub(crate) ran: Arc<AtomicUsize>,
}

#[async_trait]
impl Op<WorkerRef> for Look {
    async fn cache_map(&self, _: &OpCx<WorkerRef>, _: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        let mut map = CacheMap::new(digest("look"), 1);
        let slow = Arc::clone(&self.digest) as Arc<dyn SlowDigest<WorkerRef>>;
        map.deps = vec![Dep { slow_digest: Some(slow), ..Dep::default() }];
        Ok(map)
    }

    async fn exec(&self, _: &OpCx<WorkerRef>, inputs: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        self.ran.fetch_add(1, Ordering::SeqCst);
        Ok(inputs)
    }
}

/// The graph of a definition with an op on top that looks at these parts of its result.
pub(crate) fn looking(
    bench: &Bench,
    definition: &Definition,
    parts: &[ContentSelector],
    ran: &Arc<AtomicUsize>,
) -> (Graph<WorkerRef>, Edge) {
    let options = LoadOptions::default();
    let below = ops::graph(&bench.worker, definition, &options).unwrap();
    let input = ops::result(&bench.worker, definition, &options);
    let name = digest(&format!("look at {input:?} {parts:?}"));
    let vertex = lazyblob_solver::VertexName { digest: name.clone(), name: "look".into() };
    let looks = ContentDigest::new(&bench.worker, &vertex, 0, parts);
    let op = Arc::new(Look { digest: Arc::new(looks), ran: Arc::clone(ran) });
    let top = Vertex::new(name.clone(), "look", op, vec![input]);
    let graph = Graph::new(below.vertices().cloned().chain([top])).unwrap();
    (graph, Edge { vertex: name, output: 0 })
}
