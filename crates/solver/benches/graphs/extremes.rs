//! What must not be slow however large a graph is, or however awkward.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lazyblob_solver::testing::{Gate, Import, digest};
use lazyblob_solver::{CacheOpts, Graph, Job, JobOptions, Solver, Vertex};
use tokio::runtime::Runtime;

use crate::rounds::{cache, each, median, solver};
use crate::shapes::{Draw, Shape, chain, fan, random};

/// How often each is measured.
const ROUNDS: usize = 3;
/// Vertices of the job that is built beside a large one.
const SMALL: usize = 10;

pub(crate) fn table(runtime: &Runtime, sizes: &[usize]) {
    println!("What must not be slow:\n\n| what | vertices | ms | µs per vertex |\n|---|---|---|---|");
    for size in sizes.iter().copied() {
        runtime.block_on(walks(size));
        runtime.block_on(merges(size));
        runtime.block_on(discards(size));
        runtime.block_on(fairness(size));
        runtime.block_on(waits(size));
    }
    println!();
}

fn say(what: &str, size: usize, times: Vec<Duration>) {
    let time = median(times);
    println!("| {what} | {size} | {:.2} | {:.2} |", time.as_secs_f64() * 1e3, each(time, size));
}

async fn loaded(solver: &Solver<i64>, shape: &Shape) -> Job<i64> {
    let job = solver.job(JobOptions::default()).await.unwrap();
    job.load(shape.graph()).await.unwrap();
    job
}

/// Looks at all ancestors: for what is at the very end of a chain, and for what is nowhere.
async fn walks(size: usize) {
    for (what, draw) in [("walk over a chain", chain as Draw), ("walk over a random graph", random)] {
        let mut opts = CacheOpts::default();
        let sought = digest("sought");
        opts.insert(sought.clone(), Arc::new(7_u8));
        let mut shape = draw(size, "vertex");
        shape.carry(opts);
        let solver = solver(&cache().0);
        let job = loaded(&solver, &shape).await;
        let built = job.build(&shape.top()).await.unwrap();
        let mut times = Vec::new();
        for _ in 0..3 * ROUNDS {
            let began = Instant::now();
            let found = built.cx().find::<u8>(&[sought.clone(), digest("nowhere")]).await;
            times.push(began.elapsed());
            assert_eq!(found.len(), 1);
        }
        say(what, size, times);
        job.discard();
        solver.close().await;
    }
}

/// A second job whose vertices have other digests and the same keys; and one job of which all vertices are the same.
async fn merges(size: usize) {
    for (what, draw) in
        [("merge of a chain", chain as Draw), ("merge of a fan", fan), ("merge of a random graph", random)]
    {
        let (first, second) = (draw(size, "one"), draw(size, "other"));
        let (mut times, mut discards) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let solver = solver(&cache().0);
            let job = loaded(&solver, &first).await;
            job.build(&first.top()).await.unwrap();
            let graph = second.graph();
            let began = Instant::now();
            let other = solver.job(JobOptions::default()).await.unwrap();
            other.load(graph).await.unwrap();
            let built = other.build(&second.top()).await.unwrap();
            times.push(began.elapsed());
            assert_eq!(built.vertex.digest, first.top().vertex, "merged");
            let began = Instant::now();
            job.discard();
            other.discard();
            solver.close().await;
            discards.push(began.elapsed());
        }
        say(what, size, times);
        say(&format!("{what}: discard of both"), size, discards);
    }
    let mut same = Shape::default();
    same.add("same", "root", &[]);
    (1..size - 1).for_each(|_| same.add("same", "twin", &[0]));
    same.add("same", "top", &(1..size - 1).collect::<Vec<_>>());
    let (mut times, mut discards) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let solver = solver(&cache().0);
        let job = loaded(&solver, &same).await;
        let began = Instant::now();
        job.build(&same.top()).await.unwrap();
        times.push(began.elapsed());
        let began = Instant::now();
        job.discard();
        solver.close().await;
        discards.push(began.elapsed());
    }
    say("all but two the same", size, times);
    say("all but two the same: discard", size, discards);
}

/// Jobs that have one vertex each, all on the same root, discarded in several orders.
async fn discards(size: usize) {
    let star = fan(size, "vertex");
    for (what, order) in [("oldest first", 0), ("newest first", 1), ("in no order", 2)] {
        let (mut loads, mut times) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let solver = solver(&cache().0);
            let graphs: Vec<_> = (1..size - 1)
                .map(|at| Graph::new([0, at].map(|at| Vertex::clone(&star.vertices[at]))).unwrap())
                .collect();
            let began = Instant::now();
            let mut jobs = Vec::with_capacity(size);
            for graph in graphs {
                let job = solver.job(JobOptions::default()).await.unwrap();
                job.load(graph).await.unwrap();
                jobs.push(job);
            }
            loads.push(began.elapsed());
            match order {
                0 => {}
                1 => jobs.reverse(),
                _ => fastrand::Rng::with_seed(3).shuffle(&mut jobs),
            }
            let began = Instant::now();
            jobs.into_iter().for_each(Job::discard);
            solver.close().await;
            times.push(began.elapsed());
        }
        if order == 0 {
            say("a job for each dependant of one root: open, load", size, loads);
        }
        say(&format!("… discard, {what}"), size, times);
    }
}

/// A small job alone, and beside one that keeps the solver busy.
async fn fairness(size: usize) {
    let large = random(size, "large");
    let solver = solver(&cache().0);
    let mut numbers = 0..;
    let mut small = async || {
        let shape = chain(SMALL, &format!("small {}", numbers.next().unwrap()));
        let graph = shape.graph();
        let began = Instant::now();
        let job = solver.job(JobOptions::default()).await.unwrap();
        job.load(graph).await.unwrap();
        job.build(&shape.top()).await.unwrap();
        began.elapsed()
    };
    let mut alone = Vec::new();
    for _ in 0..20 {
        alone.push(small().await);
    }
    say("a small job alone", SMALL, alone);
    let job = solver.job(JobOptions::default()).await.unwrap();
    let (graph, top) = (large.graph(), large.top());
    let busy = async {
        job.load(graph).await.unwrap();
        job.build(&top).await.unwrap()
    };
    let mut beside = Vec::new();
    tokio::pin!(busy);
    loop {
        tokio::select! {
            _ = &mut busy => break,
            time = small() => beside.push(time),
        }
    }
    let longest = beside.iter().max().copied().unwrap_or_default();
    say(&format!("… beside one of {size}"), SMALL, beside);
    say("… the longest of these", SMALL, vec![longest]);
    solver.close().await;
}

/// A second job that did not bring the cache that the first waits for at every vertex: it waits for none of them.
async fn waits(size: usize) {
    let shape = fan(size, "vertex");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let gate = Gate::closed();
        let import = Arc::new(Import::of(&cache().0).waiting_at(&gate));
        let solver = solver(&cache().0);
        let sources = vec![Arc::clone(&import) as _];
        let first = solver.job(JobOptions { sources, ..JobOptions::default() }).await.unwrap();
        first.load(shape.graph()).await.unwrap();
        let (graph, top) = (shape.graph(), shape.top());
        tokio::select! {
            biased;
            _ = first.build(&top) => unreachable!("it waits"),
            () = async {
                gate.reached(size - 2).await;
                let second = solver.job(JobOptions::default()).await.unwrap();
                let began = Instant::now();
                second.load(graph).await.unwrap();
                times.push(began.elapsed());
            } => {}
        }
        gate.open();
        solver.close().await;
    }
    say("load of what another job waits for a cache with", size, times);
}
