//! A cache in a directory, a solver on it, and what is built by it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lazyblob_cache::manager::{Components as CacheComponents, Settings as CacheSettings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::root::{Root, RootSettings};
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::{ImmutableRef, Manager};
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::Settings as ClientSettings;
use lazyblob_remote::testing::TestRegistry;
use lazyblob_remote::{Access, Registry};
use lazyblob_solver::{Built, CacheIndex, Edge, Event, Job, JobOptions, Settings, Solver, What};
use lazyblob_worker::executor::{Executor, Exit, Output, Process};
use lazyblob_worker::llb::{Definition, State, host_platform};
use lazyblob_worker::ops::{self, LoadOptions};
use lazyblob_worker::session::{OpenSession, Session};
use lazyblob_worker::{Components, DiskKeys, Error, Results, Worker, WorkerRef};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The registry of all tests.
pub(crate) const HOST: &str = "localhost:5000";

/// Nothing here runs commands.
#[derive(Debug)]
struct NoCommands;

#[async_trait]
impl Executor for NoCommands {
    fn name(&self) -> &str {
        "none"
    }

    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn run(&self, _: Process, _: &dyn Output, _: &CancellationToken) -> Result<Exit, Error> {
        Err(Error::failed("run", "a command", "there is nobody to do so"))
    }
}

pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) manager: Manager,
    pub(crate) worker: Worker,
    pub(crate) solver: Solver<WorkerRef>,
    pub(crate) session: OpenSession,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) async fn new(wanted: Wanted) -> Self {
        Self::at(HOST, wanted, Session::default()).await
    }

    /// With a registry of this name.
    pub(crate) async fn at(host: &str, wanted: Wanted, session: Session) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = TestRegistry::builder().settings(|settings| settings.serve_unnamed = true);
        let registry = registry.in_memory(host).await;
        let client =
            Registry::new(Arc::new(registry.transport()), Hosts::default(), ClientSettings::default());
        let root = Root::open(dir.path(), RootSettings::default()).await.unwrap();
        let snapshots = snapshot::open(Places::below(root.path()), wanted).unwrap();
        let components = CacheComponents {
            transfers: client.transfers().clone(),
            remotes: Arc::new(client.clone()),
            engine: Arc::new(Sled),
            snapshots,
        };
        let settings = CacheSettings { linger: Duration::from_millis(1), ..CacheSettings::default() };
        let manager = Manager::open(root, components, settings).await.unwrap();
        let worker = Worker::new(Components {
            manager: manager.clone(),
            registry: client,
            executor: Arc::new(NoCommands),
            platform: host_platform(),
        });
        let keys = Arc::new(DiskKeys::new(manager.database()));
        let cache = CacheIndex::new("local", keys, Arc::new(Results::new(&worker)));
        let mut settings = Settings::default();
        settings.check = true;
        let solver = Solver::new(Arc::new(cache), settings);
        let session = worker.sessions().open(session);
        Self { registry, manager, worker, solver, session, dir }
    }

    /// A job that has a definition to build.
    pub(crate) async fn job(&self, definition: &Definition) -> (Job<WorkerRef>, Edge) {
        let options = LoadOptions::default();
        let graph = ops::graph(&self.worker, definition, &options).unwrap();
        let edge = ops::result(&self.worker, definition, &options);
        let session = Some(self.session.id().clone());
        let job = self.solver.job(JobOptions { session, ..JobOptions::default() }).await.unwrap();
        job.load(graph).await.unwrap();
        (job, edge)
    }

    pub(crate) async fn run(&self, definition: &Definition) -> lazyblob_solver::Result<Built<WorkerRef>> {
        let (job, edge) = self.job(definition).await;
        job.build(&edge).await
    }

    pub(crate) async fn try_build(&self, state: &State) -> lazyblob_solver::Result<Built<WorkerRef>> {
        self.run(&state.definition(&host_platform()).unwrap()).await
    }

    /// What went wrong, causes and all.
    pub(crate) async fn fails(&self, state: &State) -> String {
        match self.try_build(state).await {
            Ok(_) => panic!("it was built"),
            Err(error) => error.to_string(),
        }
    }

    /// What was built: files by path with what they contain; directories end with a slash.
    pub(crate) async fn files(&self, state: &State) -> BTreeMap<String, String> {
        files(&self.try_build(state).await.unwrap().result).await
    }

    /// Checks that nothing is mounted, and that no tree may be changed any more that was not committed.
    pub(crate) async fn assert_clean(&self) {
        assert!(self.manager.mounts().await.unwrap().is_empty());
        let root = self.dir.path().canonicalize().unwrap();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounted = table.lines().filter(|line| line.contains(root.to_str().unwrap()));
        assert_eq!(mounted.collect::<Vec<_>>(), Vec::<&str>::new());
        // What dropped handles have left is done with the next turn.
        drop(self.manager.new_mutable(None, &Access::anonymous(), Default::default()).await.unwrap());
        let usage = self.manager.usage(&[]).await.unwrap();
        let records = usage.entries.into_iter().map(|entry| entry.record);
        let left: Vec<_> = records.filter(|record| record.mutable && record.twin.is_none()).collect();
        assert!(left.len() <= 1, "{left:?}");
    }

    /// Ends everything.
    pub(crate) async fn close(self) {
        self.solver.close().await;
        self.manager.close().await.unwrap();
    }
}

/// The snapshotters that work here.
pub(crate) fn kinds() -> Vec<Wanted> {
    let dir = tempfile::tempdir().unwrap();
    match snapshot::open(Places::below(dir.path()), Wanted::Overlay) {
        Ok(_) => vec![Wanted::Plain, Wanted::Overlay],
        Err(error) => {
            println!("not run with overlayfs: {error}");
            vec![Wanted::Plain]
        }
    }
}

pub(crate) async fn files(result: &WorkerRef) -> BTreeMap<String, String> {
    match result.tree() {
        Some(tree) => files_of(tree).await,
        None => BTreeMap::new(),
    }
}

async fn files_of(tree: &ImmutableRef) -> BTreeMap<String, String> {
    let view = tree.view(&Access::anonymous()).await.unwrap();
    let found = listed(view.path());
    view.close().await.unwrap();
    found
}

fn listed(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                found.insert(format!("{name}/"), String::new());
                waiting.push(path);
            } else if kind.is_symlink() {
                found.insert(name, format!("-> {}", fs::read_link(&path).unwrap().display()));
            } else {
                found.insert(name, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());
            }
        }
    }
    found
}

/// A map of files.
pub(crate) fn tree<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, String> {
    files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// What the ops of a job warned of.
pub(crate) fn warnings(events: &[Event]) -> Vec<String> {
    let warning = |event: &Event| match &event.what {
        What::Warning(text) => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(warning).collect()
}
