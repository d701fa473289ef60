//! What a job tells, and to whom.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use lazyblob_solver::testing::{Gate, Script};
use lazyblob_solver::{Event, Job, Progress, What};

use crate::support::{asked, build, job, noted, once, solver, soon, told};

/// An event in words.
fn words(event: &Event) -> String {
    let vertex = event.vertex.as_ref().map_or("job", |vertex| &*vertex.name);
    match &event.what {
        What::Progress(progress) => format!("{vertex}: {} {}", progress.id, progress.current),
        What::Log(log) => format!("{vertex}: said {}", String::from_utf8_lossy(&log.data)),
        What::Failed(_) => format!("{vertex}: failed"),
        other => format!("{vertex}: {other:?}").to_lowercase(),
    }
}

fn said(job: &Job<i64>) -> Vec<String> {
    told(job).iter().map(words).collect()
}

/// An op that tells how far it is, says something, and waits.
fn talking(name: &str, gate: &Gate) -> Script {
    let gate = gate.clone();
    Script::new(name, 0).running(move |cx, _, _| {
        let gate = gate.clone();
        async move {
            for current in 1..=3 {
                let (id, action) = (Arc::from("part"), Arc::from("working"));
                cx.progress(Progress { id, action, current, total: Some(3), done: current == 3 });
            }
            cx.log(1, Bytes::from_static(b"half way"));
            gate.pass().await;
            cx.log(2, Bytes::from_static(b"done"));
            Ok(vec![1])
        }
    })
}

/// BuildKit rows 56, 73: whoever comes late is told everything from the beginning, of each progress the last state alone; so
/// is a job that joins a vertex which is at work, or has been.
#[tokio::test(start_paused = true)]
async fn a_late_reader_is_told_everything() {
    let (solver, _) = solver();
    let gate = Gate::closed();
    let bottom = talking("bottom", &gate);
    let top = Script::new("top", 10).input(&bottom);
    let first = job(&solver, &[&bottom, &top]).await;
    let early = first.status();
    let edge = top.edge();
    let driver = async {
        gate.reached(1).await;
        let joins = job(&solver, &[&bottom]).await;
        noted(&solver).await;
        assert_eq!(said(&joins), ["bottom: started", "bottom: part 3", "bottom: said half way"]);
        gate.open();
        joins
    };
    let (built, joined) = soon(async { tokio::join!(first.build(&edge), driver) }).await;
    assert_eq!(built.unwrap().result, 11);
    let all = [
        "bottom: started",
        "bottom: part 3",
        "bottom: said half way",
        "bottom: said done",
        "bottom: completed",
        "top: started",
        "top: completed",
    ];
    assert_eq!(said(&first), all);
    // Only its own vertices.
    assert_eq!(said(&joined), all[..5]);

    // A reader that comes when all is over, by the id alone; and a job.
    let late = solver.status(first.id()).await.unwrap();
    let second = job(&solver, &[&bottom, &top]).await;
    assert_eq!(said(&second), all);
    assert_eq!(soon(second.build(&edge)).await.unwrap().result, 11);
    assert_eq!(said(&second), all, "nothing happens any more");
    first.discard();
    let early: Vec<_> = soon(early.map(|event| words(&event)).collect()).await;
    let late: Vec<_> = soon(late.map(|event| words(&event)).collect()).await;
    assert_eq!((early, late), (all.map(String::from).to_vec(), all.map(String::from).to_vec()));
    assert_eq!(asked([&top]), [(1, 1)]);
    assert_eq!(bottom.counts().execs(), 1);
    drop((joined, second));
    solver.close().await;
}

/// BuildKit row 73: a reader that listens all the time is told each state when it comes.
#[tokio::test(start_paused = true)]
async fn a_reader_that_listens_is_told_at_once() {
    let (solver, _) = solver();
    let gate = Gate::closed();
    let op = talking("op", &gate);
    let job = job(&solver, &[&op]).await;
    let mut status = job.status();
    let edge = op.edge();
    let reader = async {
        let mut heard = Vec::new();
        while let Some(event) = status.next().await {
            heard.push(words(&event));
            match heard.last().map(String::as_str) {
                // The op waits until this was heard.
                Some("op: said half way") => gate.open(),
                Some("op: completed") => break,
                _ => {}
            }
        }
        heard
    };
    let (built, heard) = soon(async { tokio::join!(job.build(&edge), reader) }).await;
    assert_eq!(built.unwrap().result, 1);
    assert_eq!(heard.first().map(String::as_str), Some("op: started"));
    assert_eq!(heard[heard.len() - 2..], ["op: said done", "op: completed"]);
    drop(job);
    solver.close().await;
}

/// BuildKit row 73: what was not needed since something above it came from a cache is told as cached, and never as started.
#[tokio::test(start_paused = true)]
async fn what_is_cached_is_not_started() {
    let (solver, _) = solver();
    let bottom = Script::new("bottom", 1);
    let [left, right] = ["left", "right"].map(|name| Script::new(name, 10).input(&bottom));
    let top = Script::new("top", 100).input(&left).input(&right);
    let ops = [&bottom, &left, &right, &top];
    once(&solver, &ops).await;
    let (job, built) = build(&solver, &ops).await;
    assert!(built.cached);
    let mut said = said(&job);
    said.sort();
    assert_eq!(said, ["bottom: cached", "left: cached", "right: cached", "top: cached"]);
    drop(job);
    solver.close().await;
}
