//! How long results are kept.

use std::sync::Arc;

use lazyblob_solver::testing::{Census, Gate, Script, Shelf, Tracked};
use lazyblob_solver::{Built, CacheIndex, Graph, Job, JobOptions, MemoryKeys, Solver};

use crate::support::{asked, checked, soon};

struct Bench {
    solver: Solver<Tracked>,
    census: Census,
    shelf: Arc<Shelf>,
}

impl Bench {
    fn new() -> Self {
        let (census, shelf) = (Census::default(), Arc::new(Shelf::new("local")));
        let cache = CacheIndex::new("local", Arc::new(MemoryKeys::new()), census.shelf(&shelf));
        Self { solver: Solver::new(Arc::new(cache), checked()), census, shelf }
    }

    async fn job(&self, ops: &[&Script]) -> Job<Tracked> {
        let job = self.solver.job(JobOptions::default()).await.unwrap();
        let graph = Graph::new(ops.iter().map(|op| self.census.vertex(op))).unwrap();
        soon(job.load(graph)).await.unwrap();
        job
    }

    async fn build(&self, ops: &[&Script]) -> (Job<Tracked>, Built<Tracked>) {
        let job = self.job(ops).await;
        let built = soon(job.build(&ops[ops.len() - 1].edge())).await.unwrap();
        (job, built)
    }

    /// How many results are alive when the solver has taken note of everything.
    async fn alive(&self) -> usize {
        soon(self.solver.job(JobOptions::default())).await.unwrap().discard();
        self.census.alive()
    }
}

/// BuildKit rows 71, 73: results are kept as long as any job has their vertex, be it merged into another, and no longer; what
/// was stored stays, and outputs that nobody asked for go as well.
#[tokio::test(start_paused = true)]
async fn results_go_with_the_last_job() {
    let bench = Bench::new();
    let bottom = Script::new("bottom", 1).outputs(3);
    let top = Script::new("top", 10).input(&bottom);
    let same = Script::new("same top", 99).key("key of top").input(&bottom);
    for round in 0..2 {
        let (first, built) = bench.build(&[&bottom, &top]).await;
        let (second, _) = bench.build(&[&bottom, &same]).await;
        drop(built);
        let both = bench.alive().await;
        assert!(both > 0);
        first.discard();
        assert!(bench.alive().await > 0, "the other has them");
        let built = soon(second.build(&same.edge())).await.unwrap();
        assert_eq!(built.result.value, 11);
        second.discard();
        assert_eq!(bench.alive().await, 1, "what was handed out");
        drop(built);
        assert_eq!(bench.alive().await, 0);
        assert_eq!((bench.shelf.len(), bench.shelf.loads()), (2, round));
    }
    assert_eq!(asked([&bottom, &top, &same]), [(2, 1), (2, 1), (2, 0)]);
    bench.solver.close().await;
}

/// BuildKit row 73: what a run brings back that nobody waits for any more is dropped, when it comes.
#[tokio::test(start_paused = true)]
async fn what_comes_too_late_is_dropped() {
    let bench = Bench::new();
    let gate = Gate::closed();
    // Counted ops are not told to stop.
    let bottom = Script::new("bottom", 1);
    let top = Script::new("top", 10).input(&bottom).running_at(&gate);
    let job = bench.job(&[&bottom, &top]).await;
    let edge = top.edge();
    tokio::select! {
        _ = job.build(&edge) => panic!("nobody let it on"),
        () = gate.reached(1) => {}
    }
    job.discard();
    assert!(bench.alive().await > 0, "it works with its input still");
    gate.open();
    bench.solver.close().await;
    assert_eq!((bench.census.alive(), bench.shelf.len()), (0, 1));
}
