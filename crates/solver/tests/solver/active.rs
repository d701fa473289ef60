//! Vertices that several jobs have at once, and results that outlive their jobs.

use lazyblob_solver::testing::{Gate, Script};

use crate::support::{asked, build, job, once, solver, soon};

/// BuildKit rows 59, 71, 73: a vertex is one, however many jobs bring it, until the last of them lets go of it
/// (BuildKit: TestSingleLevelActiveGraph). One of another digest and the same key is merged into it.
#[tokio::test(start_paused = true)]
async fn a_vertex_is_shared_as_long_as_a_job_has_it() {
    let (solver, shelf) = solver();
    let first = Script::new("vertex", 10).key("seed");
    let (job0, built) = build(&solver, &[&first]).await;
    assert_eq!((built.result, built.cached), (10, false));

    let same = Script::new("vertex", 11).key("seed");
    let (job1, built) = build(&solver, &[&same]).await;
    assert_eq!((built.result, built.cached), (10, false));
    assert_eq!(asked([&first, &same]), [(1, 1), (0, 0)]);

    // Of another digest: only its cache map tells that it is the same.
    let equal = Script::new("another vertex", 12).key("seed");
    let (job2, built) = build(&solver, &[&equal]).await;
    assert_eq!((built.result, &*built.vertex.name), (10, "vertex"));
    assert_eq!(asked([&first, &same, &equal]), [(1, 1), (0, 0), (1, 0)]);

    // It stays for the job whose vertex was merged into it.
    job0.discard();
    job1.discard();
    let again = Script::new("vertex", 13).key("seed");
    let (job3, built) = build(&solver, &[&again]).await;
    assert_eq!((built.result, built.cached), (10, false));
    assert_eq!(asked([&first, &again]), [(1, 1), (0, 0)]);
    assert_eq!(shelf.loads(), 0, "nothing is loaded that is still there");

    // Another key is another result.
    let other = Script::new("other", 14);
    assert_eq!(once(&solver, &[&other]).await, (14, false));

    job2.discard();
    job3.discard();
    let later = Script::new("vertex", 15).key("seed");
    assert_eq!(once(&solver, &[&later]).await, (10, true));
    assert_eq!(asked([&first, &later]), [(1, 1), (1, 0)]);
    assert_eq!(shelf.loads(), 1);
    solver.close().await;
}

/// BuildKit row 59: a result is found under the key of its op, whichever vertex computed it (BuildKit: TestSingleLevelCache).
#[tokio::test(start_paused = true)]
async fn a_result_is_found_by_its_key_when_its_job_is_gone() {
    let (solver, shelf) = solver();
    let [v0, v1] = [("v0", 1), ("v1", 2)].map(|(name, value)| Script::new(name, value).key(name));
    assert_eq!(once(&solver, &[&v0]).await, (1, false));
    assert_eq!(once(&solver, &[&v1]).await, (2, false));
    let v2 = Script::new("v2", 3).key("v0");
    assert_eq!(once(&solver, &[&v2]).await, (1, true));
    assert_eq!(asked([&v0, &v1, &v2]), [(1, 1), (1, 1), (1, 0)]);
    assert_eq!((shelf.len(), shelf.loads()), (2, 1));
    solver.close().await;
}

/// BuildKit rows 70, 71: equal vertices of two jobs at once: one of them runs (BuildKit: TestSingleLevelCacheParallel).
#[tokio::test(start_paused = true)]
async fn of_two_equal_vertices_at_once_one_runs() {
    for both_mapped_first in [true, false] {
        let (solver, shelf) = solver();
        let (maps, runs) = (Gate::closed(), Gate::closed());
        let [one, two] =
            ["one", "two"].map(|name| Script::new(name, 5).key("seed").mapping_at(&maps).running_at(&runs));
        let (job0, job1) = (job(&solver, &[&one]).await, job(&solver, &[&two]).await);
        let driver = async {
            maps.reached(2).await;
            if both_mapped_first {
                maps.open();
            } else {
                // The one that is told first is at work when the other is told.
                maps.admit(1);
                runs.reached(1).await;
                maps.open();
            }
            runs.open();
        };
        let (edge0, edge1) = (one.edge(), two.edge());
        let (a, b, ()) = soon(async { tokio::join!(job0.build(&edge0), job1.build(&edge1), driver) }).await;
        assert_eq!((a.unwrap().result, b.unwrap().result), (5, 5));
        assert_eq!((one.counts().maps(), two.counts().maps()), (1, 1));
        assert_eq!(one.counts().execs() + two.counts().execs(), 1);
        assert_eq!((shelf.len(), shelf.loads()), (1, 0));
        drop((job0, job1));
        solver.close().await;
    }
}

/// BuildKit rows 70, 71: two equal graphs at once run each op once (BuildKit: TestMultiLevelCacheParallel).
#[tokio::test(start_paused = true)]
async fn two_equal_graphs_at_once_run_each_op_once() {
    let (solver, shelf) = solver();
    let maps = Gate::closed();
    let graph = |side: &str| {
        let bottom = Script::new(&format!("{side} bottom"), 1).key("bottom").mapping_at(&maps);
        let middle =
            Script::new(&format!("{side} middle"), 10).key("middle").input(&bottom).mapping_at(&maps);
        let top = Script::new(&format!("{side} top"), 100).key("top").input(&middle).mapping_at(&maps);
        [bottom, middle, top]
    };
    let (left, right) = (graph("left"), graph("right"));
    let job0 = job(&solver, &left.each_ref()).await;
    let job1 = job(&solver, &right.each_ref()).await;
    let (edge0, edge1) = (left[2].edge(), right[2].edge());
    let driver = async {
        // All that is asked at once: the maps of both tops.
        maps.reached(2).await;
        maps.open();
    };
    let (a, b, ()) = soon(async { tokio::join!(job0.build(&edge0), job1.build(&edge1), driver) }).await;
    assert_eq!((a.unwrap().result, b.unwrap().result), (111, 111));
    for (one, other) in left.iter().zip(&right) {
        assert_eq!(one.counts().execs() + other.counts().execs(), 1);
        assert_eq!((one.counts().maps(), other.counts().maps()), (1, 1));
    }
    assert_eq!((shelf.len(), shelf.loads()), (3, 0));
    drop((job0, job1));
    solver.close().await;
}
