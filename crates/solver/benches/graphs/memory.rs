//! Memory for each vertex, beyond its op, its name and its place in what the bench itself keeps.

use lazyblob_solver::JobOptions;
use tokio::runtime::Runtime;

use crate::allocated;
use crate::rounds::{Asked, Cache, ask, cache, solver};
use crate::shapes::{SHAPES, Shape};

struct Bytes {
    loaded: i64,
    built: i64,
    peak: i64,
    /// What stays when the solver has gone: the stores'.
    stores: i64,
    calls: i64,
}

async fn measure(cache: &Cache, shape: &Shape, asked: Asked) -> Bytes {
    allocated::begin();
    let solver = solver(cache);
    let job = solver.job(JobOptions::default()).await.unwrap();
    job.load(shape.graph()).await.unwrap();
    let loaded = allocated::live();
    let calls = allocated::calls();
    ask(&job, shape, asked).await;
    let (built, peak) = (allocated::live(), allocated::peak());
    let calls = allocated::calls() - calls;
    job.discard();
    solver.close().await;
    drop(solver);
    let stores = allocated::live();
    allocated::end();
    Bytes { loaded, built: built - stores, peak: peak - stores, stores, calls }
}

pub(crate) fn table(runtime: &Runtime, sizes: &[usize], wanted: impl Fn(&str) -> bool) {
    println!(
        "Bytes for each vertex beyond its op, its name and the stores, and how often memory was asked for:\n"
    );
    println!(
        "| graph | vertices | loaded | cold | … at its highest | … stores | … allocations | cached, top asked | … at its highest | … allocations | cached, all asked |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (name, draw) in SHAPES.into_iter().filter(|(name, _)| wanted(name)) {
        for size in sizes.iter().copied() {
            let shape = draw(size, "vertex");
            let (cold, top, all) = runtime.block_on(async {
                let (known, _) = cache();
                let cold = measure(&known, &shape, Asked::Top).await;
                let top = measure(&known, &shape, Asked::Top).await;
                (cold, top, measure(&known, &shape, Asked::Everything).await)
            });
            let columns = [
                cold.loaded,
                cold.built,
                cold.peak,
                cold.stores,
                cold.calls,
                top.built,
                top.peak,
                top.calls,
                all.built,
            ];
            let size_of = i64::try_from(size).unwrap();
            let columns: Vec<_> = columns.iter().map(|bytes| (bytes / size_of).to_string()).collect();
            println!("| {name} | {size} | {} |", columns.join(" | "));
        }
    }
    println!();
}
