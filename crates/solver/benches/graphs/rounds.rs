//! Rounds of a measurement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use lazyblob_solver::testing::{Shelf, memory_cache};
use lazyblob_solver::{CacheIndex, Job, JobOptions, Settings, Solver};
use tokio::task::JoinSet;

use crate::shapes::Shape;

pub(crate) type Cache = Arc<CacheIndex<i64>>;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Top,
    Everything,
}

/// What a round took.
#[derive(Clone, Copy)]
pub(crate) struct Took {
    pub(crate) load: Duration,
    pub(crate) build: Duration,
    /// Of loading and building: what all threads computed. It is the same on a busy machine.
    pub(crate) cpu: Duration,
    /// Until everything of the job was let go.
    pub(crate) discard: Duration,
}

pub(crate) fn cache() -> (Cache, Arc<Shelf>) {
    memory_cache("bench")
}

pub(crate) fn solver(cache: &Cache) -> Solver<i64> {
    Solver::new(Arc::clone(cache), Settings::default())
}

/// Asks for results, and says how many came from the cache.
pub(crate) async fn ask(job: &Job<i64>, shape: &Shape, asked: Asked) -> usize {
    match asked {
        Asked::Top => usize::from(job.build(&shape.top()).await.unwrap().cached),
        Asked::Everything => {
            let edges: Vec<_> = (0..shape.len()).map(|at| shape.edge(at)).collect();
            let built = join_all(edges.iter().map(|edge| job.build(edge))).await;
            built.into_iter().filter(|built| built.as_ref().unwrap().cached).count()
        }
    }
}

/// A round in a new solver over these stores; `reads` says whether somebody reads its status.
pub(crate) async fn round(cache: &Cache, shape: &Shape, asked: Asked, reads: bool) -> (Took, usize) {
    let solver = solver(cache);
    let job = solver.job(JobOptions::default()).await.unwrap();
    let mut reader = JoinSet::new();
    if reads {
        reader.spawn(job.status().count());
    }
    let graph = shape.graph();
    let idle = cpu();
    let began = Instant::now();
    job.load(graph).await.unwrap();
    let load = began.elapsed();
    let began = Instant::now();
    let cached = ask(&job, shape, asked).await;
    let build = began.elapsed();
    let cpu = cpu() - idle;
    let began = Instant::now();
    job.discard();
    solver.close().await;
    let discard = began.elapsed();
    while let Some(told) = reader.join_next().await {
        assert!(told.unwrap() >= shape.len(), "every vertex tells something");
    }
    (Took { load, build, cpu, discard }, cached)
}

/// For how long all threads of the process have run.
fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let ran = |thread: std::io::Result<std::fs::DirEntry>| -> u64 {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    Duration::from_nanos(threads.map(ran).sum())
}

/// Of the times of rounds the middle one.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How many rounds a graph of this size is worth.
pub(crate) fn rounds(size: usize) -> usize {
    if size > 10_000 { 3 } else { 7 }
}

/// Microseconds for each of so many.
#[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(crate) fn each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}
