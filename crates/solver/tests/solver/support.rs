//! What the tests have in common: solvers over integers, jobs with graphs of scripts, what was asked of them and told.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lazyblob_solver::testing::{Script, Shelf, digest, memory_cache};
use lazyblob_solver::{Built, Edge, Event, Graph, Job, JobOptions, KeyId, Settings, Solver, What};

/// Settings with the checks of the state machine on.
pub(crate) fn checked() -> Settings {
    let mut settings = Settings::default();
    settings.check = true;
    settings
}

/// A solver with a cache in memory.
pub(crate) fn solver() -> (Solver<i64>, Arc<Shelf>) {
    let (cache, shelf) = memory_cache("local");
    (Solver::new(cache, checked()), shelf)
}

/// The graph of these ops.
pub(crate) fn graph(ops: &[&Script]) -> Graph<i64> {
    Graph::new(ops.iter().map(|op| op.vertex())).unwrap()
}

/// A job with these ops loaded.
pub(crate) async fn job(solver: &Solver<i64>, ops: &[&Script]) -> Job<i64> {
    job_with(solver, JobOptions::default(), ops).await
}

/// A job of these options with these ops loaded.
pub(crate) async fn job_with(solver: &Solver<i64>, options: JobOptions<i64>, ops: &[&Script]) -> Job<i64> {
    let job = solver.job(options).await.unwrap();
    job.load(graph(ops)).await.unwrap();
    job
}

/// A job with these ops loaded, and what the last of them came to.
pub(crate) async fn build(solver: &Solver<i64>, ops: &[&Script]) -> (Job<i64>, Built<i64>) {
    let job = job(solver, ops).await;
    let built = soon(job.build(&top(ops))).await.unwrap();
    (job, built)
}

/// Builds the last of these ops in a job of its own, which is discarded: its result, and whether it came from a cache.
pub(crate) async fn once(solver: &Solver<i64>, ops: &[&Script]) -> (i64, bool) {
    let (job, built) = build(solver, ops).await;
    job.discard();
    (built.result, built.cached)
}

/// The first output of the last of these ops.
pub(crate) fn top(ops: &[&Script]) -> Edge {
    ops.last().unwrap().edge()
}

/// How often ops were asked for cache maps, and ran.
pub(crate) fn asked<const N: usize>(ops: [&Script; N]) -> [(usize, usize); N] {
    ops.map(|op| (op.counts().maps(), op.counts().execs()))
}

/// Waits for what must come. On the paused clock the time is up as soon as nothing at all goes on any more.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    let hour = Duration::from_secs(3600);
    tokio::time::timeout(hour, work).await.expect("nothing goes on, and what was to come has not")
}

/// Waits until the solver has taken note of everything that was done before, dropped builds and jobs included, and has
/// told the work that is to stop.
pub(crate) async fn noted(solver: &Solver<i64>) {
    soon(solver.job(JobOptions::default())).await.unwrap().discard();
}

/// What a job has told so far.
pub(crate) fn told(job: &Job<i64>) -> Vec<Event> {
    let mut status = job.status();
    std::iter::from_fn(|| status.next().now_or_never().flatten()).collect()
}

/// The warnings a job was told so far.
pub(crate) fn warnings(job: &Job<i64>) -> Vec<String> {
    let warning = |event: Event| match event.what {
        What::Warning(text) => Some(text),
        _ => None,
    };
    told(job).into_iter().filter_map(warning).collect()
}

/// The op part of the key of a script of this name.
pub(crate) fn op(name: &str) -> KeyId {
    KeyId::of_output(&digest(&format!("key of {name}")), 0)
}

/// The key of the content of an input that came to this.
pub(crate) fn content(value: i64) -> KeyId {
    KeyId::of_content(&digest(&format!("content {value}")))
}
