//! What everything else stands on: results, caching, sharing.

use lazyblob_solver::testing::{Script, memory_cache};
use lazyblob_solver::{Graph, JobOptions, Solver};

use crate::support::checked;

#[tokio::test]
async fn a_diamond_is_computed_once_and_then_loaded() {
    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    for round in 0..2 {
        let base = Script::new("base", 1);
        let left = Script::new("left", 10).input(&base);
        let right = Script::new("right", 100).input(&base);
        let top = Script::new("top", 1000).input(&left).input(&right);
        let job = solver.job(JobOptions::default()).await.unwrap();
        let graph = Graph::new([&base, &left, &right, &top].map(Script::vertex)).unwrap();
        job.load(graph).await.unwrap();
        let built = job.build(&top.edge()).await.unwrap();
        assert_eq!(built.result, 1112);
        assert_eq!(built.cached, round == 1);
        for op in [&base, &left, &right, &top] {
            assert_eq!((op.counts().maps(), op.counts().execs()), (1, 1 - round));
        }
        assert_eq!(shelf.loads(), round);
        job.discard();
    }
    solver.close().await;
}

#[tokio::test]
async fn content_decides_where_definitions_do_not() {
    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    for (round, source) in ["one", "other"].into_iter().enumerate() {
        let source = Script::new(source, 7);
        let top = Script::new("top", 1000).input(&source).by_content().preparing();
        let job = solver.job(JobOptions::default()).await.unwrap();
        job.load(Graph::new([&source, &top].map(Script::vertex)).unwrap()).await.unwrap();
        let built = job.build(&top.edge()).await.unwrap();
        assert_eq!(built.result, 1007);
        assert_eq!(source.counts().execs(), 1);
        assert_eq!(top.counts().execs(), 1 - round);
        assert_eq!((top.counts().digests(), top.counts().preprocesses()), (1, 1));
        assert_eq!(shelf.loads(), round);
    }
    solver.close().await;
}
