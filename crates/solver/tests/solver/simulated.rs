//! What the simulation of the machine has found, as small as it can be told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lazyblob_solver::testing::{Script, digest, memory_cache};
use lazyblob_solver::{Cause, Edge, Error, Graph, JobOptions, OpError, Solver};
use tokio::sync::{Notify, Semaphore};

use crate::support::{checked, job_with};

fn output(op: &Script, output: u32) -> Edge {
    Edge { vertex: op.digest(), output }
}

fn gone() -> Cause {
    Cause::from(Box::<dyn std::error::Error + Send + Sync>::from("bytes are gone"))
}

/// One output of each of two vertices may stand for one of the other, but not both ways: neither would ever go, and
/// telling the one what happens to the other would not end.
#[tokio::test]
async fn two_vertices_do_not_stand_for_each_other() {
    let (cache, shelf) = memory_cache("local");
    for round in 0..2 {
        let solver = Solver::new(Arc::clone(&cache), checked());
        let one = Script::new("one", 1).key("same").outputs(2);
        let other = Script::new("other", 1).key("same").outputs(2);
        let job = job_with(&solver, JobOptions::default(), &[&one, &other]).await;
        assert_eq!(job.build(&output(&one, 0)).await.unwrap().result, 1);
        if round == 0 {
            assert_eq!(job.build(&output(&one, 1)).await.unwrap().result, 2);
            assert_eq!((one.counts().execs(), shelf.loads()), (1, 0));
            continue;
        }
        assert_eq!(job.build(&output(&other, 1)).await.unwrap().vertex.digest, other.digest());
        assert_eq!(job.build(&output(&other, 0)).await.unwrap().vertex.digest, one.digest());
        let last = job.build(&output(&one, 1)).await.unwrap();
        assert_eq!((last.result, &last.vertex.digest), (2, &one.digest()));
        assert_eq!((one.counts().execs(), other.counts().execs(), shelf.loads()), (0, 0, 3));
        job.discard();
        solver.close().await;
    }
}

/// Whoever asks for an output that is not there is told so, and nobody else.
#[tokio::test]
async fn a_missing_output_fails_only_who_asked_for_it() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let op = Script::new("op", 7);
    let job = job_with(&solver, JobOptions::default(), &[&op]).await;
    let (there, other) = (output(&op, 0), output(&op, 5));
    let (built, refused) = tokio::join!(job.build(&there), job.build(&other));
    assert_eq!(built.unwrap().result, 7);
    assert!(matches!(refused, Err(Error::Contract { .. })));
    assert_eq!(op.counts().execs(), 1);
}

/// A result is lost that was there before a job brought another cache: that cache is asked, and nothing runs.
#[tokio::test]
async fn a_cache_that_came_later_makes_a_loss_good() {
    let (import, imported) = memory_cache("import");
    let (local, shelf) = memory_cache("local");
    for cache in [&import, &local] {
        let solver = Solver::new(Arc::clone(cache), checked());
        let op = Script::new("op", 7);
        let job = job_with(&solver, JobOptions::default(), &[&op]).await;
        job.build(&op.edge()).await.unwrap();
    }
    let solver = Solver::new(local, checked());
    let op = Script::new("op", 7);
    let first = job_with(&solver, JobOptions::default(), &[&op]).await;
    let built = first.build(&op.edge()).await.unwrap();
    assert_eq!((shelf.loads(), imported.loads()), (1, 0));
    let options = JobOptions { sources: vec![import], ..JobOptions::default() };
    let second = job_with(&solver, options, &[&op]).await;
    first.lost(&built, gone()).await.unwrap();
    let again = second.build(&op.edge()).await.unwrap();
    assert_eq!((again.result, again.cached), (7, true));
    assert_eq!((op.counts().execs(), shelf.loads(), imported.loads()), (0, 1, 1));
    solver.close().await;
}

/// Two sources turn out to be the same by their second keys. What is built on the one is found by the first key of the
/// other, too, next time.
#[tokio::test]
async fn what_was_merged_is_remembered_under_the_keys_of_both() {
    let (cache, shelf) = memory_cache("local");
    for round in 0..2 {
        let solver = Solver::new(Arc::clone(&cache), checked());
        let keys = |own: &str| vec![digest(own), digest("shared")];
        let one = Script::new("one", 1).keys(keys("of one"));
        let other = Script::new("other", 1).keys(keys("of other"));
        let top = Script::new("top", 10).input(&other);
        let job = job_with(&solver, JobOptions::default(), &[&one, &other, &top]).await;
        if round == 0 {
            job.build(&one.edge()).await.unwrap();
        }
        let built = job.build(&top.edge()).await.unwrap();
        assert_eq!((built.result, built.cached), (11, round == 1));
        assert_eq!((top.counts().execs(), other.counts().execs()), (1 - round, 0));
        assert_eq!((other.counts().maps(), shelf.loads()), (2 - round, round));
        job.discard();
        solver.close().await;
    }
}

/// Two outputs of a vertex are lost one after the other: the run that brings back the first brings back the second, and no
/// other begins beside it.
#[tokio::test]
async fn a_second_loss_does_not_run_an_op_beside_itself() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let base = Script::new("base", 1);
    let (gate, begun) = (Arc::new(Semaphore::new(1)), Arc::new(Notify::new()));
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let op = {
        let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        Script::new("op", 10).input(&base).outputs(2).running(move |_, inputs, _| {
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                begun.notify_one();
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(vec![10 + inputs[0], 11 + inputs[0]])
            }
        })
    };
    let job = job_with(&solver, JobOptions::default(), &[&base, &op]).await;
    let (first, second) = (output(&op, 0), output(&op, 1));
    let built = tokio::try_join!(job.build(&first), job.build(&second)).unwrap();
    begun.notified().await;
    job.lost(&built.0, gone()).await.unwrap();
    let rest = async {
        begun.notified().await;
        job.lost(&built.1, gone()).await.unwrap();
        let again = job.build(&second);
        gate.add_permits(1);
        again.await
    };
    let again = tokio::try_join!(job.build(&first), rest).unwrap();
    assert_eq!((again.0.result, again.1.result), (11, 12));
    assert_eq!((op.counts().execs(), most.load(Ordering::SeqCst)), (2, 1));
}

/// An op whose job has gone builds nothing more within it: nobody would be left to end that.
#[tokio::test]
async fn nothing_is_built_within_what_nobody_has() {
    let (cache, _) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let inner = Script::new("inner", 1);
    let (begun, refused) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let op = {
        let (inner, begun, refused) = (inner.clone(), Arc::clone(&begun), Arc::clone(&refused));
        Script::new("op", 10).running(move |cx, _, _| {
            let (inner, begun, refused) = (inner.clone(), Arc::clone(&begun), Arc::clone(&refused));
            async move {
                begun.notify_one();
                cx.cancelled().await;
                let graph = Graph::new([inner.vertex()]).unwrap();
                let built = cx.solve(graph, &inner.edge()).await;
                refused
                    .fetch_add(usize::from(matches!(built, Err(Error::Cancelled { .. }))), Ordering::SeqCst);
                Err(OpError::Cancelled)
            }
        })
    };
    let job = job_with(&solver, JobOptions::default(), &[&op]).await;
    let edge = op.edge();
    tokio::select! {
        _ = job.build(&edge) => panic!("it does not end by itself"),
        () = begun.notified() => {}
    }
    job.discard();
    // A job that comes and goes: the scheduler is alive, and has taken note of the discard.
    drop(solver.job(JobOptions::default()).await.unwrap());
    solver.close().await;
    assert_eq!((refused.load(Ordering::SeqCst), inner.counts().maps()), (1, 0));
}

/// Two ops of one key on sources that differ, but not in what they contain: the second waits for the run of the first.
#[tokio::test]
async fn what_has_the_same_content_runs_once() {
    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let (one, other) = (Script::new("one", 7), Script::new("other", 7));
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let first = {
        let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
        Script::new("first", 10).key("op").input(&one).by_content().running(move |_, inputs, _| {
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            async move {
                begun.notify_one();
                gate.acquire().await.unwrap().forget();
                Ok(vec![10 + inputs[0]])
            }
        })
    };
    // Its input is looked at, then it is merged: it may let the first go on only then.
    let second = Script::new("second", 10).key("op").input(&other).by_content();
    let job = job_with(&solver, JobOptions::default(), &[&one, &other, &first, &second]).await;
    let (first_edge, second_edge) = (first.edge(), second.edge());
    let rest = async {
        begun.notified().await;
        let release = async {
            while second.counts().digests() == 0 {
                tokio::task::yield_now().await;
            }
            gate.add_permits(1);
        };
        tokio::join!(job.build(&second_edge), release).0
    };
    let (one, other) = tokio::try_join!(job.build(&first_edge), rest).unwrap();
    assert_eq!((one.result, other.result), (17, 17));
    assert_eq!((first.counts().execs(), second.counts().execs(), shelf.loads()), (1, 0, 0));
    assert_eq!(other.vertex.digest, first.digest());
}

/// A result was remembered before another edge turned out to be the same by the content of its input. It is found by the
/// definition of that, too, when all have gone.
#[tokio::test]
async fn what_is_merged_into_a_result_is_remembered_with_it() {
    let (cache, shelf) = memory_cache("local");
    let (one, other) = (Script::new("one", 7), Script::new("other", 7));
    let first = Script::new("first", 10).key("op").input(&one).by_content();
    let second = Script::new("second", 10).key("op").input(&other).by_content();
    for round in 0..2 {
        let solver = Solver::new(Arc::clone(&cache), checked());
        let mut ops = vec![&other, &second];
        if round == 0 {
            ops.extend([&one, &first]);
        }
        let job = job_with(&solver, JobOptions::default(), &ops).await;
        if round == 0 {
            job.build(&first.edge()).await.unwrap();
        }
        let built = job.build(&second.edge()).await.unwrap();
        assert_eq!((built.result, built.cached), (17, round == 1));
        job.discard();
        solver.close().await;
    }
    assert_eq!((first.counts().execs(), second.counts().execs(), shelf.loads()), (1, 0, 1));
    assert_eq!((other.counts().execs(), second.counts().digests()), (1, 1), "the definition was enough");
}
