//! What jobs tell, to whom, in which order and for how long.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use lazyblob_solver::testing::{Script, disorder, memory_cache, told};
use lazyblob_solver::{Error, Event, Job, Log, OpError, Progress, Settings, Solver, What};
use tokio::sync::Notify;

use crate::support::{checked, job as open};

fn solver(settings: Settings) -> Solver<i64> {
    Solver::new(memory_cache("local").0, settings)
}

/// All that a job told: its stream ends when it does.
async fn all(job: Job<i64>) -> Vec<Event> {
    let status = job.status();
    job.discard();
    status.collect().await
}

fn words(events: &[Event], vertex: &Script) -> Vec<&'static str> {
    told(events).remove(&vertex.vertex().name.name.to_string()).unwrap_or_default()
}

fn progress(id: &str, current: u64) -> Progress {
    Progress { id: id.into(), action: "count".into(), current, total: None, done: false }
}

#[tokio::test]
async fn each_vertex_tells_what_became_of_it() {
    let solver = solver(checked());
    let base = Script::new("base", 1);
    let middle = Script::new("middle", 10).input(&base).by_content().preparing();
    let top = Script::new("top", 100).input(&middle);
    let aside = Script::new("aside", 1000);
    let job = open(&solver, &[&base, &middle, &top, &aside]).await;
    job.build(&top.edge()).await.unwrap();
    let first = all(job).await;
    assert_eq!(words(&first, &base), ["started", "completed", "preparing", "prepared"]);
    for op in [&middle, &top] {
        assert_eq!(words(&first, op), ["started", "completed"]);
    }
    assert_eq!(words(&first, &aside), [""; 0], "nobody asked for it");
    assert!(first.windows(2).all(|pair| pair[0].at <= pair[1].at));

    let job = open(&solver, &[&base, &middle, &top]).await;
    assert!(job.build(&top.edge()).await.unwrap().cached);
    let second = all(job).await;
    for op in [&base, &middle, &top] {
        assert_eq!(words(&second, op), ["cached"]);
    }
    solver.close().await;
}

#[tokio::test]
async fn a_failure_is_told_once_and_only_where_it_happened() {
    let solver = solver(checked());
    let bad = Script::new("bad", 1).running(async |_, _, _| Err(OpError::failed("no")));
    let left = Script::new("left", 1).input(&bad);
    let right = Script::new("right", 1).input(&bad);
    let job = open(&solver, &[&bad, &left, &right]).await;
    for op in [&left, &right, &left] {
        assert!(matches!(job.build(&op.edge()).await, Err(Error::Op { .. })));
    }
    let late = open(&solver, &[&bad, &left]).await;
    assert!(late.build(&left.edge()).await.is_err());
    assert_eq!(bad.counts().execs(), 1);
    for events in [all(job).await, all(late).await] {
        assert_eq!(words(&events, &bad), ["started", "failed"]);
        assert_eq!((words(&events, &left).len(), words(&events, &right).len()), (0, 0));
    }
    solver.close().await;
}

/// BuildKit row 56: who joins late is told what was told before, and nothing twice.
#[tokio::test]
async fn who_comes_late_is_told_all_in_order() {
    let solver = solver(checked());
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (has_begun, may_go) = (Arc::clone(&begun), Arc::clone(&go));
    let op = Script::new("op", 1).running(move |cx, _, _| {
        let (begun, go) = (Arc::clone(&has_begun), Arc::clone(&may_go));
        async move {
            for current in 0..1000 {
                cx.progress(progress("layer", current));
            }
            cx.log(1, Bytes::from_static(b"hello"));
            cx.warn("careful");
            begun.notify_one();
            go.notified().await;
            cx.progress(progress("layer", 1000));
            Ok(vec![1])
        }
    });
    let first = open(&solver, &[&op]).await;
    let mut live = first.status();
    let edge = op.edge();
    let (built, ()) = tokio::join!(first.build(&edge), async {
        begun.notified().await;
        let second = open(&solver, &[&op]).await;
        let mut late = second.status();
        let mut heard = Vec::new();
        while heard.len() < 4 {
            heard.push(late.next().await.unwrap());
        }
        assert!(matches!(heard[0].what, What::Started));
        assert!(matches!(&heard[1].what, What::Progress(progress) if progress.current == 999));
        assert!(matches!(&heard[2].what, What::Log(Log { stream: 1, data }) if data == "hello"));
        assert!(matches!(&heard[3].what, What::Warning(warning) if warning == "careful"));
        assert!(late.next().now_or_never().is_none(), "nothing else was told");
        go.notify_one();
        assert_eq!(second.build(&op.edge()).await.unwrap().result, 1);
        let rest = all(second).await;
        let end: Vec<_> = late.collect().await;
        assert!(matches!(&end[0].what, What::Progress(progress) if progress.current == 1000));
        assert!(matches!(end[1].what, What::Completed));
        assert_eq!(end.len(), 2);
        // The old state of the progress is gone for who begins now.
        assert_eq!(rest.len(), 5);
    });
    built.unwrap();
    assert!(matches!(live.next().await.unwrap().what, What::Started));
    let third = open(&solver, &[&op]).await;
    for job in [first, third] {
        let events = all(job).await;
        assert_eq!(words(&events, &op), ["started", "completed"]);
        assert_eq!(events.len(), 5);
    }
    assert_eq!(op.counts().execs(), 1);
    solver.close().await;
}

/// A job that is in the midst of being told of a vertex under the name of another hears the same.
#[tokio::test]
async fn what_was_merged_is_told_under_its_own_name() {
    let solver = solver(checked());
    let one = Script::new("one", 1).key("same");
    let other = Script::new("other", 1).key("same");
    let top = Script::new("top", 1).input(&one).input(&other);
    let job = open(&solver, &[&one, &other, &top]).await;
    assert_eq!(job.build(&top.edge()).await.unwrap().result, 3);
    assert_eq!(one.counts().execs() + other.counts().execs(), 1);
    let events = all(job).await;
    for op in [&one, &other, &top] {
        assert_eq!(words(&events, op), ["started", "completed"]);
    }
    solver.close().await;
}

#[tokio::test]
async fn a_run_that_is_given_up_has_stopped_and_may_start_again() {
    let solver = solver(checked());
    let begun = Arc::new(Notify::new());
    let has_begun = Arc::clone(&begun);
    let op = Script::new("op", 1).running(move |cx, _, before| {
        let begun = Arc::clone(&has_begun);
        async move {
            if before == 0 {
                begun.notify_one();
                cx.cancelled().await;
                return Err(OpError::Cancelled);
            }
            Ok(vec![7])
        }
    });
    let job = open(&solver, &[&op]).await;
    let mut status = job.status();
    let edge = op.edge();
    tokio::select! {
        _ = job.build(&edge) => panic!("it does not end"),
        () = begun.notified() => {}
    }
    assert!(matches!(status.next().await.unwrap().what, What::Started));
    assert!(matches!(status.next().await.unwrap().what, What::Stopped));
    assert_eq!(job.build(&op.edge()).await.unwrap().result, 7);
    assert_eq!(words(&all(job).await, &op), ["started", "stopped", "started", "completed"]);
    solver.close().await;
}

#[tokio::test]
async fn a_loss_begins_everything_anew() {
    let solver = solver(checked());
    let base = Script::new("base", 1);
    let input = Script::new("input", 1).input(&base);
    let op = Script::new("op", 1).input(&input).running(async |_, inputs, before| match before {
        0 => Err(OpError::lost(0, "gone")),
        _ => Ok(vec![inputs[0] + 1]),
    });
    let job = open(&solver, &[&base, &input, &op]).await;
    assert_eq!(job.build(&op.edge()).await.unwrap().result, 3);
    let late = open(&solver, &[&base, &input, &op]).await;
    let events = all(job).await;
    assert_eq!(disorder(&events), [""; 0]);
    assert_eq!(words(&events, &base), ["started", "completed"]);
    assert_eq!(words(&events, &input), ["started", "completed", "lost", "started", "completed"]);
    assert_eq!(words(&events, &op), ["started", "stopped", "started", "completed"]);
    // Who comes later need not know.
    let events = all(late).await;
    assert_eq!(words(&events, &input), ["started", "completed"]);
    solver.close().await;
}

#[tokio::test]
async fn of_a_long_log_beginning_and_end_are_kept() {
    let mut settings = checked();
    settings.log_limit = 4 * (1000 + 128);
    let solver = solver(settings);
    let op = Script::new("op", 1).running(async |cx, _, _| {
        for n in 0..=255u8 {
            cx.log(2, Bytes::from(vec![n; 1000]));
        }
        Ok(vec![1])
    });
    let job = open(&solver, &[&op]).await;
    job.build(&op.edge()).await.unwrap();
    // Through the feed of the vertex, too.
    let late = open(&solver, &[&op]).await;
    for job in [job, late] {
        let events = all(job).await;
        let log = events.iter().filter_map(|event| match &event.what {
            What::Log(log) => Some(u64::from(log.data[0])),
            What::Dropped { bytes } => Some(*bytes),
            _ => None,
        });
        assert_eq!(log.collect::<Vec<_>>(), [0, 1, 252_000, 254, 255]);
    }
    solver.close().await;
}

/// BuildKit row 73: what a job told is told for ten seconds after it was discarded, and no longer.
#[tokio::test(start_paused = true)]
async fn a_discarded_job_is_told_about_for_a_time() {
    let solver = solver(checked());
    let op = Script::new("op", 1);
    let job = open(&solver, &[&op]).await;
    let id = job.id();
    job.build(&op.edge()).await.unwrap();
    job.discard();
    let mut early = Some(solver.status(id).await.unwrap());
    tokio::time::sleep(Duration::from_millis(9_999)).await;
    let other = open(&solver, &[&op]).await;
    let other_id = other.id();
    other.discard();
    for status in [early.take().unwrap(), solver.status(id).await.unwrap()] {
        assert_eq!(words(&status.collect::<Vec<_>>().await, &op), ["started", "completed"]);
    }
    let kept = solver.status(id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(matches!(solver.status(id).await, Err(Error::UnknownJob { job }) if job == id));
    assert!(solver.status(other_id).await.is_ok(), "each job has its own time");
    assert_eq!(kept.count().await, 2, "who has the stream keeps it");
    solver.close().await;
    assert!(matches!(solver.status(other_id).await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn without_grace_a_discarded_job_is_unknown_at_once() {
    let mut settings = checked();
    settings.status_grace = Duration::ZERO;
    let solver = solver(settings);
    let job = open(&solver, &[]).await;
    let id = job.id();
    job.discard();
    assert!(matches!(solver.status(id).await, Err(Error::UnknownJob { .. })));
    solver.close().await;
}

/// Random graphs, built by several jobs at once that come and go, with failures, losses, merges and given-up builds: each
/// job is told of each vertex in the order that is promised, and of whatever it got a result from.
#[tokio::test]
async fn whatever_happens_is_told_in_order() {
    for seed in 0..200 {
        random_build(seed).await;
    }
}

async fn random_build(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (cache, shelf) = memory_cache("local");
    let solver = Solver::new(cache, checked());
    let mut scripts: Vec<Script> = Vec::new();
    for at in 0..random.usize(3..20) {
        let mut script = Script::new(&format!("v{at}"), 1);
        if random.u8(..4) == 0 {
            script = script.key(&format!("key {}", random.u8(..3)));
        }
        for _ in 0..random.usize(..=at.min(3)) {
            script = script.input(&scripts[random.usize(..at)]);
            script = if random.bool() { script.by_content() } else { script };
            script = if random.bool() { script.preparing() } else { script };
        }
        let (waits, fate) = (random.usize(..6), random.u8(..12));
        script = script.running(move |cx, inputs, before| async move {
            for n in 0..waits {
                cx.progress(progress("part", n as u64));
                tokio::task::yield_now().await;
            }
            match fate {
                0 => Err(OpError::failed("fate")),
                1 | 2 if before == 0 && !inputs.is_empty() => Err(OpError::lost(0, "fate")),
                _ => Ok(vec![1 + inputs.iter().sum::<i64>()]),
            }
        });
        scripts.push(script);
    }
    let edge = |random: &mut fastrand::Rng| scripts[random.usize(..scripts.len())].edge();
    for _ in 0..2 {
        let builds = (0..4).map(|_| {
            let (wait, patience, edges) =
                (random.usize(..30), random.usize(..60), [edge(&mut random), edge(&mut random)]);
            let (solver, scripts) = (&solver, &scripts);
            async move {
                for _ in 0..wait {
                    tokio::task::yield_now().await;
                }
                let job = open(solver, &scripts.iter().collect::<Vec<_>>()).await;
                let impatient = async {
                    for _ in 0..patience {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    _ = job.build(&edges[0]) => {}
                    () = impatient => {}
                }
                let built = job.build(&edges[1]).await;
                let events = all(job).await;
                assert_eq!(disorder(&events), [""; 0], "seed {seed}");
                let told = told(&events);
                match built {
                    Ok(built) => {
                        let name = scripts.iter().find(|script| script.edge() == edges[1]).unwrap();
                        let words = words(&events, name);
                        // Whatever came after: others may have lost it, for good even.
                        let has = words.iter().any(|word| matches!(*word, "completed" | "cached"));
                        assert!(has, "seed {seed}: {words:?}, and the result {}", built.result);
                    }
                    Err(_) => assert!(
                        told.values().any(|words| words.contains(&"failed")),
                        "seed {seed}: an error that nobody told of: {told:?}"
                    ),
                }
            }
        });
        futures::future::join_all(builds).await;
        if random.bool() {
            shelf.lose_all();
        }
    }
    solver.close().await;
}
