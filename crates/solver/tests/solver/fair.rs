//! How many run at once, and whose turn it is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lazyblob_solver::testing::{Gate, Script, memory_cache};
use lazyblob_solver::{Error, OpError, Solver};

use crate::support::{checked, graph, job, noted, soon};

/// Which ops have begun, and how many are at work.
#[derive(Clone)]
struct Floor {
    begun: Arc<Mutex<Vec<String>>>,
    at_work: Arc<Mutex<(usize, usize)>>,
    gate: Gate,
}

impl Floor {
    fn new() -> Self {
        Self { begun: Arc::default(), at_work: Arc::default(), gate: Gate::closed() }
    }

    fn op(&self, name: &str, kind: &str) -> Script {
        let (floor, begins) = (self.clone(), name.to_owned());
        Script::new(name, 1).of_kind(kind).running(move |cx, _, _| {
            let (floor, name) = (floor.clone(), begins.clone());
            async move {
                floor.begun.lock().unwrap().push(name);
                let (now, most) = *floor.at_work.lock().unwrap();
                *floor.at_work.lock().unwrap() = (now + 1, most.max(now + 1));
                let done = tokio::select! {
                    () = floor.gate.pass() => Ok(vec![1]),
                    () = cx.cancelled() => Err(OpError::Cancelled),
                };
                floor.at_work.lock().unwrap().0 -= 1;
                done
            }
        })
    }

    fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().clone()
    }

    fn most(&self) -> usize {
        self.at_work.lock().unwrap().1
    }
}

fn limited(limit: usize) -> Solver<i64> {
    let mut settings = checked();
    settings.parallelism.insert("build".to_owned(), limit);
    Solver::new(memory_cache("local").0, settings)
}

/// BuildKit row 71: no more ops of a kind run at once than the settings say, over all jobs; ops of other kinds do not count
/// (BuildKit: TestJobsIntegration, testParallelism).
#[tokio::test(start_paused = true)]
async fn a_limit_holds_over_all_jobs() {
    let solver = limited(2);
    let (floor, free) = (Floor::new(), Floor::new());
    let ops =
        |side: &str| -> [Script; 3] { std::array::from_fn(|at| floor.op(&format!("{side} {at}"), "build")) };
    let (left, right) = (ops("left"), ops("right"));
    let others: [Script; 4] = std::array::from_fn(|at| free.op(&format!("free {at}"), "other"));
    let over = |name: &str, ops: &[Script]| ops.iter().fold(Script::new(name, 0), Script::input);
    let tops = [over("left top", &left), over("right top", &right), over("free top", &others)];
    let jobs = [
        job(&solver, &left.iter().chain([&tops[0]]).collect::<Vec<_>>()).await,
        job(&solver, &right.iter().chain([&tops[1]]).collect::<Vec<_>>()).await,
        job(&solver, &others.iter().chain([&tops[2]]).collect::<Vec<_>>()).await,
    ];
    let edges = tops.each_ref().map(Script::edge);
    let driver = async {
        free.gate.reached(4).await;
        floor.gate.reached(2).await;
        noted(&solver).await;
        assert_eq!((floor.begun().len(), free.most()), (2, 4));
        free.gate.open();
        floor.gate.open();
    };
    let (a, b, c, ()) = soon(async {
        tokio::join!(jobs[0].build(&edges[0]), jobs[1].build(&edges[1]), jobs[2].build(&edges[2]), driver)
    })
    .await;
    assert_eq!([a, b, c].map(|built| built.unwrap().result), [3, 3, 4]);
    assert_eq!((floor.begun().len(), floor.most()), (6, 2));
    drop(jobs);
    solver.close().await;
}

/// BuildKit row 69: a job with a hundred ops that wait for the one place does not keep another job's op, be it its own or one
/// that both have, waiting for more than one of them.
#[tokio::test(start_paused = true)]
async fn a_job_with_much_does_not_keep_one_with_little() {
    for shared in [false, true] {
        let solver = limited(1);
        let floor = Floor::new();
        let many: Vec<Script> = (0..100).map(|at| floor.op(&format!("many {at}"), "build")).collect();
        let top = many.iter().fold(Script::new("top", 0), Script::input);
        let much = job(&solver, &many.iter().chain([&top]).collect::<Vec<_>>()).await;
        let single = if shared { many[99].clone() } else { floor.op("single", "build") };
        let name = if shared { "many 99" } else { "single" };
        let edges = [top.edge(), single.edge()];
        let driver = async {
            floor.gate.reached(1).await;
            noted(&solver).await;
            let little = job(&solver, &[&single]).await;
            let waits = async {
                noted(&solver).await;
                for done in 1..=3 {
                    floor.gate.admit(1);
                    floor.gate.reached(done + 1).await;
                }
            };
            let (built, ()) = tokio::join!(little.build(&edges[1]), waits);
            assert_eq!(built.unwrap().result, 1);
            let begun = floor.begun();
            let turn = begun.iter().position(|begun| begun == name);
            assert!(turn.is_some_and(|turn| turn <= 2), "{begun:?}");
            assert!(begun.len() <= 4, "{begun:?}");
            floor.gate.open();
            little
        };
        let (built, little) = soon(async { tokio::join!(much.build(&edges[0]), driver) }).await;
        assert_eq!(built.unwrap().result, 100);
        assert_eq!((floor.begun().len(), floor.most()), (if shared { 100 } else { 101 }, 1));
        drop((much, little));
        solver.close().await;
    }
}

/// A limit holds for what an op does after builds within its own, too: who has built waits for a place before it goes on,
/// and builds that it waits for never wait for it.
#[tokio::test(start_paused = true)]
async fn a_limit_holds_after_builds_within() {
    for (limit, at_once) in [(1, 1), (1, 3), (2, 2)] {
        let solver = limited(limit);
        let after = Arc::new(Mutex::new((0, 0)));
        let outer = |at: usize| {
            let after = Arc::clone(&after);
            let inner: Vec<_> =
                (0..at_once).map(|of| Script::new(&format!("inner {at} {of}"), 1).of_kind("build")).collect();
            Script::new(&format!("outer {at}"), 1).of_kind("build").running(move |cx, _, _| {
                let (after, inner) = (Arc::clone(&after), inner.clone());
                async move {
                    for _ in 0..2 {
                        let built = inner
                            .iter()
                            .map(|inner| async { cx.solve(graph(&[inner]), &inner.edge()).await });
                        let built = futures::future::join_all(built).await;
                        assert!(built.into_iter().all(|built| built.unwrap().result == 1));
                        let (now, most) = *after.lock().unwrap();
                        *after.lock().unwrap() = (now + 1, most.max(now + 1));
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        after.lock().unwrap().0 -= 1;
                    }
                    Ok(vec![1])
                }
            })
        };
        let ops: Vec<_> = (0..5).map(outer).collect();
        let top = ops.iter().fold(Script::new("top", 0), Script::input);
        let open = job(&solver, &ops.iter().chain([&top]).collect::<Vec<_>>()).await;
        assert_eq!(soon(open.build(&top.edge())).await.unwrap().result, 5);
        assert_eq!(*after.lock().unwrap(), (0, limit), "{limit} places, {at_once} builds at once");
        drop(open);
        soon(solver.close()).await;
    }
}

/// BuildKit row 54: who has built within its own and waits for a place to go on is told at once when nobody wants it any
/// more, and takes no place then.
#[tokio::test(start_paused = true)]
async fn what_waits_to_go_on_is_cancelled() {
    let solver = limited(1);
    let (floor, ended) = (Floor::new(), Gate::closed());
    let (inner, built) = (Script::new("inner", 1), Gate::closed());
    let outer = {
        let (inner, ended) = (inner.running_at(&built), ended.clone());
        Script::new("outer", 1).of_kind("build").running(move |cx, _, _| {
            let (inner, ended) = (inner.clone(), ended.clone());
            async move {
                let error = cx.solve(graph(&[&inner]), &inner.edge()).await.err();
                assert!(matches!(error, Some(Error::Cancelled { .. })), "{error:?}");
                ended.open();
                ended.pass().await;
                Err(OpError::Cancelled)
            }
        })
    };
    let busy = floor.op("busy", "build");
    let (one, other) = (job(&solver, &[&outer]).await, job(&solver, &[&busy]).await);
    let edges = [outer.edge(), busy.edge()];
    let driver = async {
        tokio::select! {
            _ = one.build(&edges[0]) => panic!("there is no place for it to go on"),
            () = async {
                floor.gate.reached(1).await;
                built.open();
                // All that can happen without a place happens before the clock goes on.
                tokio::time::sleep(Duration::from_secs(10)).await;
            } => {}
        }
        ended.reached(1).await;
        noted(&solver).await;
        floor.gate.open();
    };
    let takes_the_place = async {
        built.reached(1).await;
        other.build(&edges[1]).await
    };
    let ((), result) = soon(async { tokio::join!(driver, takes_the_place) }).await;
    assert_eq!((result.unwrap().result, floor.most()), (1, 1));
    assert_eq!(outer.counts().execs(), 1);
    drop((one, other));
    soon(solver.close()).await;
}

/// BuildKit rows 54, 69: what waits for a place and is cancelled never runs, and holds nobody up.
#[tokio::test(start_paused = true)]
async fn what_is_cancelled_while_it_waits_never_runs() {
    let solver = limited(1);
    let floor = Floor::new();
    let many: Vec<Script> = (0..10).map(|at| floor.op(&format!("many {at}"), "build")).collect();
    let top = many.iter().fold(Script::new("top", 0), Script::input);
    let much = job(&solver, &many.iter().chain([&top]).collect::<Vec<_>>()).await;
    let single = floor.op("single", "build");
    let little = job(&solver, &[&single]).await;
    let edges = [top.edge(), single.edge()];
    tokio::select! {
        _ = much.build(&edges[0]) => panic!("nobody let it on"),
        () = floor.gate.reached(1) => {}
    }
    much.discard();
    noted(&solver).await;
    floor.gate.open();
    assert_eq!(soon(little.build(&edges[1])).await.unwrap().result, 1);
    assert_eq!(floor.begun(), ["many 0", "single"]);
    drop(little);
    solver.close().await;
    assert_eq!(floor.begun().len(), 2);
}
