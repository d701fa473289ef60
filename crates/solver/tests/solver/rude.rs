//! Ops and sources that never answer, or panic where nothing waits for them: nobody hangs on them, and the solver goes on.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use lazyblob_solver::testing::{Gate, Import, Script, Shelf, memory_cache};
use lazyblob_solver::{
    CacheMap, CacheSource, DropReason, Error, ExportOptions, Graph, JobOptions, KeyId, Link, LoadCx,
    LoadError, Miss, Op, OpCx, OpError, Record, ResultId, SlowDigest, Solver, Stage, StoreError,
};
use oci_spec::image::Digest;
use tokio::time::Instant;

use crate::support::{asked, checked, graph, job, job_with, noted, once, solver, soon, warnings};

/// What a source never answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mute {
    Load,
    Forget,
    Remotes,
    /// It panics where it is asked for its name, and answers no questions.
    Name,
}

/// Hands on, but for what it is mute about; the drop of what it was asked is all that ends that.
struct Muted {
    inner: Import,
    about: Mute,
    asked: AtomicUsize,
}

impl Muted {
    async fn speak(&self, of: Mute) {
        if self.about == of {
            self.asked.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl CacheSource<i64> for Muted {
    fn name(&self) -> &str {
        assert!(self.about != Mute::Name, "no name");
        self.inner.name()
    }

    async fn targets(&self, from: &[KeyId], link: &Link) -> Result<Vec<KeyId>, StoreError> {
        self.inner.targets(from, link).await
    }

    async fn records(&self, key: KeyId) -> Result<Vec<Record>, StoreError> {
        if self.about == Mute::Name {
            return Err(StoreError::new("no answer"));
        }
        self.inner.records(key).await
    }

    async fn load(&self, cx: &LoadCx, record: &Record) -> Result<i64, LoadError> {
        self.speak(Mute::Load).await;
        self.inner.load(cx, record).await
    }

    async fn remotes(&self, cx: &LoadCx, record: &Record, make: bool) -> Result<Vec<i64>, LoadError> {
        self.speak(Mute::Remotes).await;
        self.inner.remotes(cx, record, make).await
    }

    async fn links_to(&self, key: KeyId) -> Result<Vec<(KeyId, Link)>, StoreError> {
        self.inner.links_to(key).await
    }

    async fn forget(&self, results: &[ResultId]) -> Result<(), StoreError> {
        self.speak(Mute::Forget).await;
        self.inner.forget(results).await
    }
}

/// A solver that gives a source seven seconds, and a source with a record of an op.
async fn muted(about: Mute) -> (Solver<i64>, Arc<Muted>, Arc<Shelf>, Script) {
    let (cache, there) = memory_cache("far");
    let far = Solver::new(Arc::clone(&cache), checked());
    once(&far, &[&Script::new("op", 3)]).await;
    far.close().await;
    let mut settings = checked();
    settings.source_deadline = Duration::from_secs(7);
    let solver = Solver::new(memory_cache("local").0, settings);
    let source = Muted { inner: Import::of(&cache), about, asked: AtomicUsize::new(0) };
    (solver, Arc::new(source), there, Script::new("op", 3))
}

fn bringing(source: &Arc<Muted>) -> JobOptions<i64> {
    JobOptions { sources: vec![Arc::clone(source) as _], ..JobOptions::default() }
}

/// BuildKit rows 68, 79: a record of an import that is not loaded in time is passed over: the op runs, and the job is told.
#[tokio::test(start_paused = true)]
async fn loading_from_an_import_has_a_deadline() {
    let (solver, source, _, op) = muted(Mute::Load).await;
    let begun = Instant::now();
    let job = job_with(&solver, bringing(&source), &[&op]).await;
    let built = soon(job.build(&op.edge())).await.unwrap();
    assert_eq!((built.result, built.cached, begun.elapsed()), (3, false, Duration::from_secs(7)));
    assert_eq!((asked([&op]), source.asked.load(Ordering::SeqCst)), ([(1, 1)], 1));
    let warned = warnings(&job);
    assert!(matches!(&warned[..], [only] if only.contains("7s")), "{warned:?}");
    drop(job);
    solver.close().await;
}

/// BuildKit row 79: the solver closes at once, whatever an import is loading.
#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_a_load_from_an_import() {
    let (solver, source, _, op) = muted(Mute::Load).await;
    let begun = Instant::now();
    let job = job_with(&solver, bringing(&source), &[&op]).await;
    let edge = op.edge();
    let closes = async {
        while source.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        solver.close().await;
    };
    let (built, ()) = soon(async { tokio::join!(job.build(&edge), closes) }).await;
    assert!(matches!(built, Err(Error::Cancelled { .. })));
    assert_eq!((begun.elapsed(), asked([&op])), (Duration::ZERO, [(1, 0)]));
}

/// BuildKit row 79: nobody waits for an import to drop a record, neither the build nor the solver that closes.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_import_to_forget() {
    for waits in [true, false] {
        let (solver, source, there, op) = muted(Mute::Forget).await;
        there.lose_all();
        let begun = Instant::now();
        let job = job_with(&solver, bringing(&source), &[&op]).await;
        let built = soon(job.build(&op.edge())).await.unwrap();
        assert_eq!((built.result, begun.elapsed()), (3, Duration::ZERO));
        assert_eq!((asked([&op]), source.asked.load(Ordering::SeqCst)), ([(1, 1)], 1));
        if waits {
            tokio::time::sleep(Duration::from_secs(8)).await;
            assert!(warnings(&job).iter().any(|warning| warning.contains("not dropped")));
        }
        drop(job);
        let begun = Instant::now();
        soon(solver.close()).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

type Said<'a, T> = Pin<Box<dyn Future<Output = Result<T, OpError>> + Send + 'a>>;

/// An op that panics before it has a future, as one may that is not written with `async_trait`.
struct Early(Script, Stage);

impl Op<i64> for Early {
    fn cache_map<'a, 'b, 'c>(&'a self, cx: &'b OpCx<i64>, index: usize) -> Said<'c, CacheMap<i64>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        assert!(self.1 != Stage::CacheMap, "too early");
        self.0.cache_map(cx, index)
    }

    fn exec<'a, 'b, 'c>(&'a self, _: &'b OpCx<i64>, _: Vec<i64>) -> Said<'c, Vec<i64>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        panic!("too early")
    }
}

/// BuildKit rows 71, 74: a panic before there is a future is a panic of the vertex like any other.
#[tokio::test(start_paused = true)]
async fn a_panic_before_the_future_is_told() {
    for at in [Stage::CacheMap, Stage::Exec] {
        let (solver, shelf) = solver();
        let op = Script::new("op", 1);
        let mut vertex = op.vertex();
        vertex.op = Arc::new(Early(op.clone(), at));
        let job = solver.job(JobOptions::default()).await.unwrap();
        job.load(Graph::new([vertex]).unwrap()).await.unwrap();
        let error = soon(job.build(&op.edge())).await.err().unwrap();
        let Error::Panicked { stage, message, .. } = &error else { panic!("{error}") };
        assert_eq!((*stage, message.as_str()), (at, "too early"));
        assert!(shelf.is_empty());
        drop(job);
        assert_eq!(once(&solver, &[&Script::new("plain", 7)]).await.0, 7);
        solver.close().await;
    }
}

/// What is sent behind the end of a solver is refused, although it was taken in.
#[tokio::test(start_paused = true)]
async fn what_comes_behind_the_end_is_refused() {
    let (solver, _) = solver();
    let op = Script::new("op", 1);
    let open = job(&solver, &[&op]).await;
    let mut closing = Box::pin(solver.close());
    // The end is sent; the scheduler has not looked yet.
    assert!((&mut closing).now_or_never().is_none());
    let edge = op.edge();
    let (late, built) =
        soon(async { tokio::join!(solver.job(JobOptions::default()), open.build(&edge)) }).await;
    assert!(matches!(late.err(), Some(Error::Closed)));
    assert!(matches!(built.err(), Some(Error::Closed)));
    soon(closing).await;
    assert_eq!(asked([&op]), [(0, 0)]);
}

/// An op that says another kind each time, and panics where it is asked what it looks at.
struct Fickle(Script, AtomicUsize);

/// A slow digest that does not say what it looks at.
struct Wordless(Arc<dyn SlowDigest<i64>>);

#[async_trait]
impl SlowDigest<i64> for Wordless {
    async fn slow_digest(&self, cx: &LoadCx, input: &i64) -> Result<Digest, OpError> {
        self.0.slow_digest(cx, input).await
    }

    fn looks_at(&self) -> String {
        panic!("no words")
    }
}

#[async_trait]
impl Op<i64> for Fickle {
    fn kind(&self) -> &str {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 { "one" } else { "other" }
    }

    async fn cache_map(&self, cx: &OpCx<i64>, index: usize) -> Result<CacheMap<i64>, OpError> {
        let mut map = self.0.cache_map(cx, index).await?;
        for dep in &mut map.deps {
            dep.slow_digest = dep.slow_digest.take().map(|digest| Arc::new(Wordless(digest)) as _);
        }
        Ok(map)
    }

    async fn exec(&self, cx: &OpCx<i64>, inputs: Vec<i64>) -> Result<Vec<i64>, OpError> {
        self.0.exec(cx, inputs).await
    }
}

/// BuildKit rows 71, 74: an op is asked for its kind once, so that the place it takes is the place it gives back.
#[tokio::test(start_paused = true)]
async fn an_op_of_many_kinds_gives_its_place_back() {
    let mut settings = checked();
    settings.parallelism.insert("one".to_owned(), 1);
    settings.parallelism.insert("other".to_owned(), 1);
    let solver = Solver::new(memory_cache("local").0, settings);
    let op = Script::new("op", 1);
    let fickle = Arc::new(Fickle(op.clone(), AtomicUsize::new(0)));
    let mut vertex = op.vertex();
    vertex.op = Arc::clone(&fickle) as _;
    let job = solver.job(JobOptions::default()).await.unwrap();
    job.load(Graph::new([vertex]).unwrap()).await.unwrap();
    assert_eq!(soon(job.build(&op.edge())).await.unwrap().result, 1);
    assert_eq!((job.graph().await.unwrap().vertices[0].kind.as_ref(), asked([&op])), ("one", [(1, 1)]));
    assert_eq!(fickle.1.load(Ordering::SeqCst), 1);
    drop(job);
    for kind in ["one", "other"] {
        assert_eq!(once(&solver, &[&Script::new(kind, 2).of_kind(kind)]).await.0, 2);
    }
    solver.close().await;
}

/// BuildKit row 74: an op that panics where it is asked what it looks at is built; only why it ran is not known.
#[tokio::test(start_paused = true)]
async fn an_op_without_words_is_built() {
    let (solver, _) = solver();
    let base = Script::new("base", 1);
    let over = |value: i64| {
        let local = Script::new(&format!("local {value}"), value);
        let top = Script::new(&format!("top {value}"), 10).key("key of top").input(&base).input(&local);
        (local, top.by_content())
    };
    let (local, top) = over(1);
    once(&solver, &[&base, &local, &top]).await;
    let (local, top) = over(2);
    let mut vertex = top.vertex();
    vertex.op = Arc::new(Fickle(top.clone(), AtomicUsize::new(0)));
    let explain = true;
    let job = solver.job(JobOptions { explain, ..JobOptions::default() }).await.unwrap();
    job.load(Graph::new([base.vertex(), local.vertex(), vertex]).unwrap()).await.unwrap();
    assert_eq!(soon(job.build(&top.edge())).await.unwrap().result, 13);
    let whys = job.why().await.unwrap();
    let why = whys.iter().find(|why| *why.vertex.name == *"top 2").unwrap();
    let known = matches!(&why.misses[..], [Miss::Unknown { cause }] if cause.contains("no words"));
    assert!(known, "{:?}", why.misses);
    assert_eq!(asked([&local, &top]), [(1, 1), (1, 1)]);
    drop(job);
    assert_eq!(once(&solver, &[&Script::new("plain", 7)]).await.0, 7);
    solver.close().await;
}

/// An op that panics where it is asked for its kind.
struct Kindless;

#[async_trait]
impl Op<i64> for Kindless {
    fn kind(&self) -> &str {
        panic!("of no kind")
    }

    async fn cache_map(&self, _: &OpCx<i64>, _: usize) -> Result<CacheMap<i64>, OpError> {
        Err(OpError::failed("asked"))
    }

    async fn exec(&self, _: &OpCx<i64>, _: Vec<i64>) -> Result<Vec<i64>, OpError> {
        Err(OpError::failed("asked"))
    }
}

/// BuildKit rows 59, 74: an op that panics where it is asked for its kind is refused before anything runs.
#[test]
fn an_op_of_no_kind_is_refused() {
    let mut vertex = Script::new("op", 1).vertex();
    vertex.op = Arc::new(Kindless);
    let Err(Error::Invalid { vertex, reason }) = Graph::new([vertex]) else { panic!("it is in a graph") };
    assert!(vertex.starts_with("op (") && reason.contains("of no kind"), "{vertex}: {reason}");
}

/// A source that panics in the solver's own task ends the solver; nobody hangs on that: neither who builds, nor who reads what
/// a job tells, nor who closes.
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_solver_itself_hangs_nobody() {
    let (solver, source, _, op) = muted(Mute::Name).await;
    let gate = Gate::closed();
    let long = Script::new("long", 1).running_at(&gate);
    let other = job(&solver, &[&long]).await;
    let edge = long.edge();
    let breaks = async {
        gate.reached(1).await;
        let job = job_with(&solver, bringing(&source), &[&op]).await;
        job.build(&op.edge()).await.err()
    };
    let (built, broke) = soon(async { tokio::join!(other.build(&edge), breaks) }).await;
    assert!(matches!((built.err(), broke), (Some(Error::Closed), Some(Error::Closed))));
    soon(other.status().collect::<Vec<_>>()).await;
    soon(solver.close()).await;
    // Its work was told to stop, and has returned.
    assert_eq!((long.counts().cancelled(), asked([&op])), (1, [(1, 0)]));
    assert!(matches!(solver.job(JobOptions::default()).await, Err(Error::Closed)));
}

/// BuildKit row 79: an import that does not say in which forms it has a record does not hold up the export of a cache.
#[tokio::test(start_paused = true)]
async fn an_export_does_not_wait_for_an_import() {
    let (cache, _) = memory_cache("far");
    let far = Solver::new(Arc::clone(&cache), checked());
    once(&far, &[&Script::new("op", 3)]).await;
    far.close().await;
    let (local, shelf) = memory_cache("local");
    let mut settings = checked();
    settings.source_deadline = Duration::from_secs(7);
    let solver = Solver::new(local, settings);
    let source =
        Arc::new(Muted { inner: Import::of(&cache), about: Mute::Remotes, asked: AtomicUsize::new(0) });
    let op = Script::new("op", 3);
    let top = Script::new("top", 1).input(&op);
    let job = job_with(&solver, bringing(&source), &[&op, &top]).await;
    assert_eq!(soon(job.build(&top.edge())).await.unwrap().result, 4);
    // Its copy is gone, and the import does not say.
    shelf.lose(3);
    let options = ExportOptions { roots: true, ..ExportOptions::default() };
    let begun = Instant::now();
    let exported = soon(job.export_cache(&top.edge(), options)).await.unwrap();
    assert_eq!((begun.elapsed(), source.asked.load(Ordering::SeqCst)), (Duration::from_secs(7), 1));
    let late = |reason: &DropReason| matches!(reason, DropReason::Result { gone: false, .. });
    assert!(exported.dropped.iter().any(|dropped| late(&dropped.reason)));
    assert_eq!(asked([&op, &top]), [(1, 0), (1, 1)]);
    drop(job);
    solver.close().await;
}

/// Whoever still reads a result learns from its context that the job is gone, or the solver; within an op, that the op is to
/// stop.
#[tokio::test(start_paused = true)]
async fn who_reads_a_result_learns_that_the_job_is_gone() {
    for closes in [false, true] {
        let (solver, _) = solver();
        let (op, stays) = (Script::new("op", 1), job(&solver, &[]).await);
        let (kept, seen) = (Arc::new(Mutex::new(None)), op.clone());
        let keeps = Arc::clone(&kept);
        let gate = Gate::closed();
        let passes = gate.clone();
        let within = Script::new("within", 1).running(move |cx, _, _| {
            let (op, keeps, gate) = (seen.clone(), Arc::clone(&keeps), passes.clone());
            async move {
                let built = cx.solve(graph(&[&op]), &op.edge()).await.unwrap();
                *keeps.lock().unwrap() = Some(built);
                gate.pass().await;
                Ok(vec![1])
            }
        });
        let other = job(&solver, &[&op]).await;
        let goes = job(&solver, &[&op, &within]).await;
        let left = soon(other.build(&op.edge())).await.unwrap();
        let read = soon(goes.build(&op.edge())).await.unwrap();
        let edge = within.edge();
        tokio::select! {
            _ = goes.build(&edge) => panic!("nobody let it on"),
            () = gate.reached(1) => {}
        }
        let inner = kept.lock().unwrap().take().unwrap();
        // The build within was given up: its op is to stop, and the job is there.
        noted(&solver).await;
        let cancelled = || [&read, &inner, &left].map(|built| built.cx().cancellation().is_cancelled());
        assert_eq!(cancelled(), [false, true, false]);
        gate.open();
        goes.discard();
        noted(&solver).await;
        assert_eq!(cancelled(), [true, true, false]);
        if closes {
            soon(solver.close()).await;
            assert_eq!(cancelled(), [true; 3]);
        }
        drop((other, stays));
        soon(solver.close()).await;
    }
}
