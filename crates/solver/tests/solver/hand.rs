//! For tests that hold work back by hand: an edge is asked for, everything else goes on until it waits, and the test lets
//! one thing on.

use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt;
use lazyblob_solver::testing::Script;
use lazyblob_solver::{
    Built, CacheIndex, Edge, Event, Graph, Job, JobOptions, Result, SessionId, Solver, Vertex, What,
};

pub(crate) use crate::support::{checked, graph};

/// A solver with the invariants checked after each step.
pub(crate) fn solver(cache: Arc<CacheIndex<i64>>) -> Solver<i64> {
    Solver::new(cache, checked())
}

/// A graph of vertices.
pub(crate) fn vertices(vertices: impl IntoIterator<Item = Vertex<i64>>) -> Graph<i64> {
    Graph::new(vertices).unwrap()
}

/// A job that has a graph.
pub(crate) async fn job(solver: &Solver<i64>, graph: Graph<i64>) -> Job<i64> {
    opened(solver, JobOptions::default(), graph).await
}

/// A job of a session that has a graph.
pub(crate) async fn job_of(solver: &Solver<i64>, session: &str, graph: Graph<i64>) -> Job<i64> {
    let options = JobOptions { session: Some(SessionId::new(session)), ..JobOptions::default() };
    opened(solver, options, graph).await
}

async fn opened(solver: &Solver<i64>, options: JobOptions<i64>, graph: Graph<i64>) -> Job<i64> {
    let job = solver.job(options).await.unwrap();
    job.load(graph).await.unwrap();
    job
}

/// The value of the first output of a script.
pub(crate) async fn build(job: &Job<i64>, script: &Script) -> Result<i64> {
    job.build(&script.edge()).await.map(|built| built.result)
}

/// Ends a job and gives what it told from its beginning to its end.
pub(crate) async fn told(job: Job<i64>) -> Vec<Event> {
    let status = job.status();
    job.discard();
    status.collect().await
}

/// What was told of a vertex, in short words.
pub(crate) fn of(events: &[Event], script: &Script) -> Vec<&'static str> {
    let digest = script.digest();
    let of = |event: &&Event| event.vertex.as_ref().is_some_and(|vertex| vertex.digest == digest);
    events
        .iter()
        .filter(of)
        .map(|event| match event.what {
            What::Started => "started",
            What::Cached => "cached",
            What::Preparing => "preparing",
            What::Prepared => "prepared",
            What::Completed => "completed",
            What::Failed(_) => "failed",
            What::Lost(_) => "lost",
            What::Progress(_) => "progress",
            What::Log(_) => "log",
            What::Warning(_) => "warning",
            _ => "other",
        })
        .collect()
}

/// How often each script ran.
pub(crate) fn execs<const N: usize>(scripts: [&Script; N]) -> [usize; N] {
    scripts.map(|script| script.counts().execs())
}

/// Lets everything else go on until it waits for what the test holds back. For tests on one thread.
pub(crate) async fn settle() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

/// A question that was asked and is not answered yet. It keeps its job open.
pub(crate) type Asked = Pin<Box<dyn Future<Output = Result<Built<i64>>>>>;

/// Asks for an edge and goes on when everything waits for what the test holds back.
pub(crate) async fn ask(job: &Arc<Job<i64>>, edge: Edge) -> Asked {
    let job = Arc::clone(job);
    let mut asked: Asked = Box::pin(async move { job.build(&edge).await });
    assert!(futures::poll!(&mut asked).is_pending());
    settle().await;
    asked
}
