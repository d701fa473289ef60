//! However a command ends, nothing of it is left.

use std::time::{Duration, Instant};
use std::{fs, process::Stdio};

use futures::FutureExt as _;
use lazyblob_worker::Error;
use lazyblob_worker::executor::Executor as _;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Captured, World, cgroups, cgroups_are_read_only, containers, executor, processes, tree,
};

/// A command that does not end by itself, nor on SIGTERM, with a grandchild that does not either. `number` is in their
/// command lines.
fn stubborn(number: &str) -> String {
    format!(
        "trap '' TERM; (trap '' TERM; sh -c 'trap \"\" TERM; echo begun; sleep {number}') & sleep {number}; wait"
    )
}

#[tokio::test]
async fn a_cancelled_command_is_killed_with_its_grandchildren() {
    let Some(world) = World::new("cancelling").await else { return };
    let before = tree(&world.root);
    let (captured, cancel) = (Captured::default(), CancellationToken::new());
    let mut process = world.sh(&stubborn("98761"));
    process.id = "cancelled".to_owned();
    let mut run = world.executor.run(process, &captured, &cancel);
    captured.has("begun", &mut run).await;
    assert!(processes("sleep 98761").len() >= 2);
    assert_eq!(cgroups("lazyblob-cancelled-").is_empty(), cgroups_are_read_only());
    cancel.cancel();
    let since = Instant::now();
    let ended = run.await;
    assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    eprintln!("killed and gone after {:?}", since.elapsed());
    assert_eq!(processes("sleep 98761"), Vec::<String>::new());
    assert_eq!(cgroups("lazyblob-cancelled-"), Vec::<std::path::PathBuf>::new());
    assert_eq!(tree(&world.root), before);
    world.close().await;
}

#[tokio::test]
async fn a_command_nobody_waits_for_is_killed() {
    let Some(world) = World::new("dropping").await else { return };
    let before = tree(&world.root);
    let (captured, cancel) = (Captured::default(), CancellationToken::new());
    {
        let mut process = world.sh(&stubborn("98762"));
        process.id = "dropped".to_owned();
        let mut run = world.executor.run(process, &captured, &cancel);
        captured.has("begun", &mut run).await;
    }
    // It is taken away by whoever owns it.
    world.executor.close().await;
    assert_eq!(processes("sleep 98762"), Vec::<String>::new());
    assert_eq!(cgroups("lazyblob-dropped-"), Vec::<std::path::PathBuf>::new());
    assert_eq!(tree(&world.root), before);
    world.close().await;
}

/// At any moment of a runtime's start.
#[tokio::test]
async fn a_command_cancelled_while_it_is_started() {
    let Some(world) = World::new("cancelling early").await else { return };
    let before = tree(&world.root);
    for delay in (0..60).step_by(4) {
        let (captured, cancel) = (Captured::default(), CancellationToken::new());
        let mut process = world.sh(&stubborn("98763"));
        process.id = "early".to_owned();
        let run = world.executor.run(process, &captured, &cancel);
        let stop = async {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            cancel.cancel();
        };
        let (ended, ()) = tokio::join!(run, stop);
        assert!(matches!(ended, Err(Error::Cancelled { .. })), "{delay} ms: {ended:?}");
        assert_eq!(processes("sleep 98763"), Vec::<String>::new(), "{delay} ms");
        assert_eq!(cgroups("lazyblob-early-"), Vec::<std::path::PathBuf>::new(), "{delay} ms");
        assert_eq!(
            containers(&world.dir.path().join("state")),
            Vec::<std::path::PathBuf>::new(),
            "{delay} ms"
        );
        assert_eq!(tree(&world.root), before, "{delay} ms");
    }
    world.close().await;
}

#[tokio::test]
async fn nothing_is_run_when_it_is_cancelled_already_or_closed() {
    let Some(world) = World::new("cancelling").await else { return };
    let cancel = CancellationToken::new();
    cancel.cancel();
    let captured = Captured::default();
    let ended = world.executor.run(world.sh("echo ran"), &captured, &cancel).await;
    assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    world.executor.close().await;
    let ended = world.executor.run(world.sh("echo ran"), &captured, &CancellationToken::new()).await;
    assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    assert_eq!(captured.out(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once() {
    let Some(world) = World::new("many commands").await else { return };
    let before = tree(&world.root);
    let runs = (0..20).map(|n| {
        let mut process = world.sh(&format!("echo {n}"));
        process.root = world.another_root(n);
        world.text(process).map(move |text| assert_eq!(text, format!("{n}\n")))
    });
    futures::future::join_all(runs).await;
    for n in 0..20 {
        let after = tree(&world.dir.path().join(format!("root-{n}")));
        assert!(after.into_keys().eq(before.keys().cloned()), "{n}");
    }
    world.close().await;
}

/// Where the next test finds out that it is the process that is to be killed.
const VICTIM: &str = "LAZYBLOB_TEST_VICTIM";

/// What a killed process left is swept by the next one that opens the same state, and not before.
#[tokio::test]
async fn what_a_killed_process_left_is_swept() {
    if let Some(dir) = std::env::var_os(VICTIM) {
        victim(dir.as_ref()).await;
    }
    let Some(world) = World::new("sweeping").await else { return };
    let state = world.dir.path().join("victims");
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ending::what_a_killed_process_left_is_swept", "--nocapture"])
        .env(VICTIM, world.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(victim.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("the victim runs") {
        let read = tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut text).await.unwrap();
        assert_ne!(read, 0, "{text}");
    }
    // While it lives nobody touches it.
    let other = executor(&state, None);
    other.ready().await.unwrap();
    // Between one program and the next a process has no command line.
    while processes("sleep 98764").is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(processes("sleep 98764").len(), 1, "{:?}", processes("sleep 98764"));
    victim.kill().await.unwrap();
    assert_eq!(processes("sleep 98764").len(), 1, "it outlives its owner");
    let config =
        containers(&state).into_iter().find_map(|path| fs::read_to_string(path.join("config.json")).ok());
    assert!(config.unwrap().contains("hunter2"), "what is secret is still there");
    let next = executor(&state, None);
    next.ready().await.unwrap();
    assert_eq!(processes("sleep 98764"), Vec::<String>::new());
    assert_eq!(containers(&state), Vec::<std::path::PathBuf>::new());
    assert_eq!(cgroups("lazyblob-victim-"), Vec::<std::path::PathBuf>::new());
    other.close().await;
    next.close().await;
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    world.close().await;
}

/// Runs something for ever.
async fn victim(dir: &std::path::Path) -> ! {
    let world = World::new("the victim").await.unwrap();
    let executor = executor(&dir.join("victims"), None);
    let mut process = world.sh("echo begun; exec sleep 98764");
    process.id = "victim".to_owned();
    process.root = dir.join("root");
    process.env.push("TOKEN=hunter2".to_owned());
    let (captured, cancel) = (Captured::default(), CancellationToken::new());
    let mut run = executor.run(process, &captured, &cancel);
    captured.has("begun", &mut run).await;
    println!("the victim runs");
    panic!("{:?}", run.await);
}
