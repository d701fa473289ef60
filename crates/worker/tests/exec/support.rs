//! A cache in a directory, a solver, and commands that are lists of instructions.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use lazyblob_cache::manager::Components as CacheComponents;
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::record::RecordType;
use lazyblob_cache::root::{Root, RootSettings};
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::{Manager, RecordId};
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::Settings as ClientSettings;
use lazyblob_remote::testing::TestRegistry;
use lazyblob_remote::{Access, Registry, What};
use lazyblob_solver::testing::Gate;
use lazyblob_solver::{
    Built, CacheIndex, Edge, Event, Job, JobOptions, LoadCx, LoadError, MemoryKeys, ResultId, ResultStore,
    Settings, Solver, StoreError, StoredResult,
};
use lazyblob_worker::executor::{Exit, MountSource, Process};
use lazyblob_worker::llb::{Exec, State, host_platform};
use lazyblob_worker::ops::{LoadOptions, graph};
use lazyblob_worker::session::{OpenSession, Session};
use lazyblob_worker::testing::{FakeExecutor, Stage};
use lazyblob_worker::{Components, Error, Worker, WorkerRef};
use tempfile::TempDir;

/// What commands wait at, by name, and what was run.
#[derive(Default)]
pub(crate) struct Theatre {
    gates: Mutex<HashMap<String, Gate>>,
    played: Mutex<Vec<Process>>,
}

impl Theatre {
    pub(crate) fn gate(&self, name: &str) -> Gate {
        self.gates.lock().unwrap().entry(name.to_owned()).or_insert_with(Gate::closed).clone()
    }

    /// All processes so far.
    pub(crate) fn played(&self) -> Vec<Process> {
        self.played.lock().unwrap().clone()
    }

    /// The process whose first instruction this is.
    pub(crate) fn process(&self, first: &str) -> Process {
        let played = self.played();
        played.into_iter().find(|process| process.args[1] == first).unwrap()
    }

    /// Follows the instructions of a command.
    async fn play(&self, stage: Stage<'_>) -> Result<Exit, Error> {
        self.played.lock().unwrap().push(stage.process.clone());
        for line in &stage.process.args[1..] {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            let path = || stage.path(words[1]).unwrap();
            match words[0] {
                "say" => stage.print(words[1..].join(" ")),
                "write" => {
                    fs::create_dir_all(path().parent().unwrap()).unwrap();
                    fs::write(path(), words.get(2).unwrap_or(&"")).unwrap();
                }
                "append" => {
                    let before = fs::read_to_string(path()).unwrap_or_default();
                    fs::write(path(), format!("{before}{}", words[2])).unwrap();
                }
                "link" => std::os::unix::fs::symlink(words[2], path()).unwrap(),
                "remove" => fs::remove_file(path()).unwrap(),
                "cat" => stage.print(fs::read_to_string(path()).unwrap_or_else(|_| "nothing".to_owned())),
                "env" => stage.print(stage.process.env.join("\n")),
                "exit" => return Ok(Exit { code: words[1].parse().unwrap() }),
                "break" => return Err(Error::failed("run", "fake", "the runtime died")),
                "gate" => {
                    let passed = stage.cancel.run_until_cancelled(self.gate(words[1]).clone().pass()).await;
                    passed.ok_or_else(|| Error::Cancelled { what: What::new("run", "fake") })?;
                }
                other => panic!("{other}"),
            }
        }
        Ok(Exit { code: 0 })
    }
}

/// A command of these instructions.
pub(crate) fn run(base: &State, instructions: &[&str]) -> Exec {
    base.run(["play"].iter().chain(instructions).copied())
}

pub(crate) struct World {
    pub(crate) theatre: Arc<Theatre>,
    pub(crate) executor: FakeExecutor,
    pub(crate) registry: TestRegistry,
    pub(crate) client: Registry,
    pub(crate) manager: Manager,
    pub(crate) worker: Worker,
    pub(crate) results: Arc<Results>,
    pub(crate) session: Mutex<OpenSession>,
    solver: Solver<WorkerRef>,
    pub(crate) dir: Arc<TempDir>,
}

impl World {
    pub(crate) async fn new(wanted: Wanted) -> Self {
        Self::with(wanted, Session::default()).await
    }

    pub(crate) async fn with(wanted: Wanted, session: Session) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::at(&dir, wanted, session, None, None).await
    }

    /// No more than so many commands are run at once.
    pub(crate) async fn narrow(wanted: Wanted, at_once: usize) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::at(&dir, wanted, Session::default(), None, Some(at_once)).await
    }

    /// Commands are run by this executor.
    pub(crate) async fn running(wanted: Wanted, session: Session, executor: FakeExecutor) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::at(&dir, wanted, session, Some(executor), None).await
    }

    /// Another process on the root of this one, which shares nothing in memory with it.
    pub(crate) async fn another(&self, wanted: Wanted) -> Self {
        Self::at(&self.dir, wanted, Session::default(), None, None).await
    }

    async fn at(
        dir: &Arc<TempDir>,
        wanted: Wanted,
        session: Session,
        executor: Option<FakeExecutor>,
        at_once: Option<usize>,
    ) -> Self {
        let registry = TestRegistry::builder().settings(|settings| settings.serve_unnamed = true);
        let registry = registry.in_memory("registry.test").await;
        let client =
            Registry::new(Arc::new(registry.transport()), Hosts::default(), ClientSettings::default());
        let manager = manager(dir.path(), &client, wanted).await;
        let theatre = Arc::<Theatre>::default();
        let plays = Arc::clone(&theatre);
        let plays = FakeExecutor::new(move |stage| -> BoxFuture<'_, _> {
            let plays = Arc::clone(&plays);
            Box::pin(async move { plays.play(stage).await })
        });
        let executor = executor.unwrap_or(plays);
        let worker = Worker::new(Components {
            manager: manager.clone(),
            registry: client.clone(),
            executor: Arc::new(executor.clone()),
            platform: host_platform(),
        });
        let results = Arc::<Results>::default();
        let cache = CacheIndex::new("own", Arc::new(MemoryKeys::new()), Arc::clone(&results) as _);
        let mut settings = Settings::default();
        settings.check = true;
        settings.parallelism.extend(at_once.map(|at_once| ("exec".to_owned(), at_once)));
        let solver = Solver::new(Arc::new(cache), settings);
        let session = Mutex::new(worker.sessions().open(session));
        Self {
            theatre,
            executor,
            registry,
            client,
            manager,
            worker,
            results,
            session,
            solver,
            dir: Arc::clone(dir),
        }
    }

    /// A job that has this to build.
    pub(crate) async fn job(&self, state: &State) -> (Job<WorkerRef>, Edge) {
        let definition = state.definition(&host_platform()).unwrap();
        let graph = graph(&self.worker, &definition, &LoadOptions::default()).unwrap();
        let session = Some(self.session.lock().unwrap().id().clone());
        let job = self.solver.job(JobOptions { session, ..JobOptions::default() }).await.unwrap();
        job.load(graph).await.unwrap();
        (job, definition.result().clone())
    }

    pub(crate) async fn try_build(&self, state: &State) -> lazyblob_solver::Result<Built<WorkerRef>> {
        let (job, edge) = self.job(state).await;
        job.build(&edge).await
    }

    pub(crate) async fn build(&self, state: &State) -> Built<WorkerRef> {
        self.try_build(state).await.unwrap()
    }

    /// What commands said while this was built.
    pub(crate) async fn said(&self, state: &State) -> String {
        let (job, edge) = self.job(state).await;
        job.build(&edge).await.unwrap();
        let logs = logs(&ended(job).await);
        String::from_utf8(logs).unwrap()
    }

    /// Files of what was built, by path, with what they contain; directories end with a slash.
    pub(crate) async fn files(&self, state: &State) -> BTreeMap<String, String> {
        files(&self.build(state).await.result).await
    }

    /// Records that may change.
    pub(crate) async fn mutable(&self) -> Vec<(RecordId, RecordType)> {
        let usage = self.manager.usage(&[]).await.unwrap();
        let records = usage.entries.into_iter().map(|entry| entry.record);
        // What was committed is a pair until it is a snapshot.
        records
            .filter(|record| record.mutable && record.twin.is_none())
            .map(|record| (record.id, record.record_type))
            .collect()
    }

    /// Caches there are.
    pub(crate) async fn caches(&self) -> Vec<RecordId> {
        let caches = self.mutable().await.into_iter();
        caches.filter(|(_, kind)| *kind == RecordType::ExecCacheMount).map(|(id, _)| id).collect()
    }

    /// Checks that nothing is left of any command: no mount, no tree that is shown, no tree that may change but caches.
    pub(crate) async fn assert_clean(&self) {
        assert!(self.manager.mounts().await.unwrap().is_empty());
        let root = self.dir.path().canonicalize().unwrap();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounted = table.lines().filter(|line| line.contains(root.to_str().unwrap()));
        assert_eq!(mounted.collect::<Vec<_>>(), Vec::<&str>::new());
        // What dropped handles have left is done with the next turn.
        drop(self.manager.new_mutable(None, &Access::anonymous(), Default::default()).await.unwrap());
        let left = self.mutable().await;
        let left: Vec<_> = left.into_iter().filter(|(_, kind)| *kind != RecordType::ExecCacheMount).collect();
        assert!(left.len() <= 1, "{left:?}");
    }

    /// Waits until all work has returned.
    pub(crate) async fn stop(&self) {
        self.solver.close().await;
    }

    /// Ends everything.
    pub(crate) async fn close(self) {
        self.solver.close().await;
        self.results.0.lock().unwrap().clear();
        self.manager.close().await.unwrap();
    }
}

async fn manager(root: &Path, client: &Registry, wanted: Wanted) -> Manager {
    let root = Root::open(root, RootSettings::default()).await.unwrap();
    let snapshots = snapshot::open(Places::below(root.path()), wanted).unwrap();
    let components = CacheComponents {
        transfers: client.transfers().clone(),
        remotes: Arc::new(client.clone()),
        engine: Arc::new(Sled),
        snapshots,
    };
    let settings = lazyblob_cache::manager::Settings {
        linger: Duration::from_millis(1),
        ..lazyblob_cache::manager::Settings::default()
    };
    Manager::open(root, components, settings).await.unwrap()
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

/// All that a job tells until it ends.
pub(crate) async fn ended(job: Job<WorkerRef>) -> Vec<Event> {
    let status = job.status();
    job.discard();
    status.collect().await
}

/// What commands wrote.
pub(crate) fn logs(events: &[Event]) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        if let lazyblob_solver::What::Log(log) = &event.what {
            all.extend_from_slice(&log.data);
        }
    }
    all
}

pub(crate) async fn files(result: &WorkerRef) -> BTreeMap<String, String> {
    let Some(tree) = result.tree() else { return BTreeMap::new() };
    let view = tree.view(&Access::anonymous()).await.unwrap();
    let mut found = BTreeMap::new();
    let mut waiting = vec![view.path().to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(view.path()).unwrap().to_str().unwrap().to_owned();
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
    view.close().await.unwrap();
    found
}

/// A map of files.
pub(crate) fn tree<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, String> {
    files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// Where a mount of a process is.
pub(crate) fn bound(process: &Process, dest: &str) -> PathBuf {
    let mount = process.mounts.iter().find(|mount| mount.dest == dest).unwrap();
    let MountSource::Bind(source) = &mount.source else { panic!("{mount:?}") };
    source.clone()
}

/// Results by name, each with a handle on its tree.
#[derive(Default)]
pub(crate) struct Results(pub(crate) Mutex<BTreeMap<ResultId, (WorkerRef, SystemTime)>>);

impl Results {
    fn of(&self, id: &ResultId) -> Result<WorkerRef, LoadError> {
        let found = self.0.lock().unwrap().get(id).map(|(result, _)| result.clone());
        found.ok_or_else(|| LoadError::gone("no such result"))
    }

    /// Has every result of this tree be another one.
    pub(crate) fn exchange(&self, tree: &WorkerRef, other: &WorkerRef) -> usize {
        let id = |tree: &WorkerRef| tree.tree().map(lazyblob_cache::ImmutableRef::id);
        let mut results = self.0.lock().unwrap();
        let mut exchanged = 0;
        for (result, _) in results.values_mut().filter(|(result, _)| id(result) == id(tree)) {
            *result = other.clone();
            exchanged += 1;
        }
        exchanged
    }
}

#[async_trait]
impl ResultStore<WorkerRef> for Results {
    async fn save(&self, result: &WorkerRef, at: Option<SystemTime>) -> Result<StoredResult, StoreError> {
        let mut results = self.0.lock().unwrap();
        let name = result.tree().map_or_else(|| "scratch".to_owned(), |tree| tree.id().to_string());
        let id = ResultId::new(name);
        let created_at = at.unwrap_or_else(SystemTime::now);
        results.insert(id.clone(), (result.clone(), created_at));
        Ok(StoredResult { id, created_at })
    }

    async fn load(&self, _: &LoadCx, id: &ResultId) -> Result<WorkerRef, LoadError> {
        self.of(id)
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        Ok(self.of(id).is_ok())
    }

    async fn remotes(
        &self,
        _: &LoadCx,
        _: &ResultId,
        _: bool,
    ) -> Result<Vec<lazyblob_cache::ImmutableRef>, LoadError> {
        Ok(Vec::new())
    }
}
