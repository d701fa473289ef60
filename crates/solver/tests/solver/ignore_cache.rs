//! Vertices that are run whatever the cache has.

use lazyblob_solver::testing::{Gate, Script};

use crate::support::{asked, build, job, once, solver, soon};

/// BuildKit row 70: a graph whose cache is ignored runs anew each time, and what it computes is remembered: the newest is
/// what the next build finds (BuildKit: TestRepeatBuildWithIgnoreCache).
#[tokio::test(start_paused = true)]
async fn a_graph_that_ignores_the_cache_runs_each_time() {
    let (solver, shelf) = solver();
    let graph = |ignoring: bool, value: i64| {
        let bottom = Script::new("bottom", value);
        let bottom = if ignoring { bottom.ignoring_cache() } else { bottom };
        let top = Script::new("top", 100).input(&bottom);
        let top = if ignoring { top.ignoring_cache() } else { top };
        [bottom, top]
    };
    for (round, (ignoring, value, result)) in
        [(false, 1, 101), (true, 2, 102), (true, 3, 103), (false, 4, 103)].into_iter().enumerate()
    {
        let ops = graph(ignoring, value);
        let runs = usize::from(round < 3);
        assert_eq!(once(&solver, &ops.each_ref()).await, (result, round == 3));
        assert_eq!(asked(ops.each_ref()), [(1, runs); 2], "round {round}");
        assert_eq!(shelf.loads(), usize::from(round == 3), "what is ignored is not loaded");
    }
    assert_eq!(shelf.len(), 6);
    solver.close().await;
}

/// BuildKit row 70: only the vertex that says so is run anew; one above it, by definition, too, since that is all that is
/// known of it; one beside it is not.
#[tokio::test(start_paused = true)]
async fn what_is_beside_is_not_run_anew() {
    let (solver, shelf) = solver();
    let [base, other] = [Script::new("base", 1), Script::new("other", 2)];
    let top = Script::new("top", 100).input(&base).input(&other);
    assert_eq!(once(&solver, &[&base, &other, &top]).await, (103, false));
    let ignoring = base.clone().ignoring_cache();
    assert_eq!(once(&solver, &[&ignoring, &other, &top]).await, (103, false));
    assert_eq!(asked([&base, &other, &top]), [(2, 2), (2, 1), (2, 2)]);
    assert_eq!(shelf.loads(), 1, "`other`, for the run");
    solver.close().await;
}

/// BuildKit row 70: vertices that ignore the cache beside those that do not (BuildKit: TestParallelBuildsIgnoreCache). One of
/// the same digest is a vertex of its own, which later ones, ignoring or not, join.
#[tokio::test(start_paused = true)]
async fn one_that_ignores_the_cache_stands_beside_one_that_does_not() {
    let (solver, shelf) = solver();
    let normal = Script::new("vertex", 1);
    let (job0, built) = build(&solver, &[&normal]).await;
    assert_eq!(built.result, 1);

    let ignoring = Script::new("vertex", 2).ignoring_cache();
    let (job1, built) = build(&solver, &[&ignoring]).await;
    assert_eq!((built.result, asked([&normal, &ignoring])), (2, [(1, 1), (1, 1)]));

    let (later, also) = (Script::new("vertex", 3), Script::new("vertex", 4).ignoring_cache());
    let (job2, built) = build(&solver, &[&later]).await;
    assert_eq!(built.result, 2);
    let (job3, built) = build(&solver, &[&also]).await;
    assert_eq!(built.result, 2);
    assert_eq!((asked([&later, &also]), shelf.loads()), ([(0, 0); 2], 0));

    // The first keeps what it has.
    assert_eq!(soon(job0.build(&normal.edge())).await.unwrap().result, 1);

    // Of another digest and the same key, with the others finished: that which ignores runs, the other is merged.
    let [alike, not] = ["alike", "not"].map(|name| Script::new(name, 5).key("key of vertex"));
    let alike = alike.ignoring_cache();
    let (job4, built) = build(&solver, &[&not]).await;
    assert_eq!(built.result, 1);
    let (job5, built) = build(&solver, &[&alike]).await;
    assert_eq!(built.result, 5);
    assert_eq!((asked([&alike, &not]), shelf.loads()), ([(1, 1), (1, 0)], 0));
    drop((job0, job1, job2, job3, job4, job5));
    solver.close().await;
}

/// BuildKit row 70: at once, one that ignores the cache runs for one of the same key that need not; never the other way round,
/// and it never waits for a hit.
#[tokio::test(start_paused = true)]
async fn one_that_ignores_the_cache_may_stand_for_one_that_does_not() {
    for normal_first in [true, false] {
        for known in [false, true] {
            let (solver, shelf) = solver();
            if known {
                once(&solver, &[&Script::new("known", 9).key("seed")]).await;
            }
            let (maps, runs) = (Gate::closed(), Gate::closed());
            let ignoring = Script::new("ignoring", 1).key("seed").mapping_at(&maps).running_at(&runs);
            let ignoring = ignoring.ignoring_cache();
            let normal = Script::new("normal", 2).key("seed").mapping_at(&maps).running_at(&runs);
            let (first, second) = if normal_first { (&normal, &ignoring) } else { (&ignoring, &normal) };
            let (job0, job1) = (job(&solver, &[first]).await, job(&solver, &[second]).await);
            let edges = [first.edge(), second.edge()];
            let driver = async {
                maps.reached(2).await;
                maps.open();
                runs.reached(1).await;
                runs.open();
            };
            let (a, b, ()) =
                soon(async { tokio::join!(job0.build(&edges[0]), job1.build(&edges[1]), driver) }).await;
            let (of_normal, of_ignoring) = if normal_first { (a, b) } else { (b, a) };
            assert_eq!(of_ignoring.unwrap().result, 1, "it has run");
            let of_normal = of_normal.unwrap().result;
            assert!(of_normal == 1 || of_normal == 9 && known, "{of_normal}");
            assert_eq!(asked([&ignoring, &normal]), [(1, 1), (1, 0)]);
            assert!(shelf.loads() <= usize::from(known));
            drop((job0, job1));
            solver.close().await;
        }
    }
}
