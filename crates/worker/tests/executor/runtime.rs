//! Runtimes that are not what they should be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lazyblob_worker::executor::{Executor as _, OciRuntime};
use tokio_util::sync::CancellationToken;

use crate::support::{Captured, World, containers, executor, executor_error, tree};

/// An executor whose runtime is a script.
fn fake(world: &World, script: &str) -> (OciRuntime, PathBuf) {
    let path = world.dir.path().join("fake-runtime");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (executor(&world.dir.path().join("fake"), Some(&path)), path)
}

async fn error(world: &World, executor: &OciRuntime) -> String {
    let before = tree(&world.root);
    let mut process = world.sh("echo ran");
    process.env.push("TOKEN=hunter2".to_owned());
    let captured = Captured::default();
    let text = executor_error(executor.run(process, &captured, &CancellationToken::new()).await);
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(tree(&world.root), before, "nothing is left in the root");
    assert_eq!(containers(&world.dir.path().join("fake")), Vec::<PathBuf>::new());
    text
}

#[tokio::test]
async fn missing() {
    let Some(world) = World::new("a missing runtime").await else { return };
    let executor = executor(&world.dir.path().join("fake"), Some(Path::new("/nonexistent/runc")));
    let text = executor.ready().await.unwrap_err().to_string();
    assert!(text.contains("/nonexistent/runc") && text.contains("install"), "{text}");
    let text = error(&world, &executor).await;
    assert!(text.contains("/nonexistent/runc"), "{text}");
    world.close().await;
}

#[tokio::test]
async fn gone_since_it_was_found() {
    let Some(world) = World::new("a vanished runtime").await else { return };
    let (executor, path) = fake(&world, "exit 0");
    executor.ready().await.unwrap();
    fs::remove_file(&path).unwrap();
    let text = error(&world, &executor).await;
    assert!(text.contains("run test") && text.contains(path.to_str().unwrap()), "{text}");
    world.close().await;
}

#[tokio::test]
async fn dying() {
    let Some(world) = World::new("a dying runtime").await else { return };
    let (executor, path) = fake(&world, "kill -9 $$");
    let text = error(&world, &executor).await;
    assert!(text.contains("killed by signal 9") && text.contains(path.to_str().unwrap()), "{text}");
    world.close().await;
}

#[tokio::test]
async fn garbage() {
    let Some(world) = World::new("a runtime that talks").await else { return };
    let (executor, _) = fake(&world, "echo '}{' >&2; echo nonsense; exit 0");
    let text = error(&world, &executor).await;
    assert!(text.contains("without having run the command") && text.ends_with("}{"), "{text}");
    world.close().await;
}

/// The last words of the log come before those on standard error.
#[tokio::test]
async fn its_own_words() {
    let Some(world) = World::new("a runtime with a log").await else { return };
    let script = r#"[ "$3" = --log ] && echo '{"level":"error","msg":"no cgroups today"}' >"$4"; echo noise >&2; exit 1"#;
    let (executor, _) = fake(&world, script);
    let text = error(&world, &executor).await;
    assert!(text.ends_with("ended with status 1: no cgroups today"), "{text}");
    world.close().await;
}

/// What still has the pipes open when the runtime has ended is not waited for.
#[tokio::test]
async fn leaving_somebody_behind() {
    let Some(world) = World::new("a runtime with children").await else { return };
    let (executor, _) = fake(&world, "sleep 300 & echo $! >&2; exit 4");
    let text = error(&world, &executor).await;
    assert!(text.contains("status 4"), "{text}");
    let left: i32 = text.rsplit(' ').next().unwrap().parse().unwrap();
    let left = rustix::process::Pid::from_raw(left).unwrap();
    // It was the script's, which has no cgroup.
    let _ = rustix::process::kill_process(left, rustix::process::Signal::KILL);
    world.close().await;
}

#[tokio::test]
async fn a_command_that_is_not_there() {
    let Some(world) = World::new("a missing command").await else { return };
    let before = tree(&world.root);
    let text = executor_error(world.run(world.process(&["/no/such/command"])).await.0);
    assert!(text.contains("/no/such/command"), "{text}");
    assert_eq!(tree(&world.root), before);
    world.close().await;
}

/// The real one, killed while the command runs: the command goes with it.
#[tokio::test]
async fn killed_while_the_command_runs() {
    let Some(world) = World::new("a killed runtime").await else { return };
    let mut process = world.sh("echo begun; exec sleep 98765");
    process.id = "orphan".to_owned();
    let (captured, cancel) = (Captured::default(), CancellationToken::new());
    let run = world.executor.run(process, &captured, &cancel);
    let kill = async {
        captured.has("begun").await;
        let number = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let line =
                String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
            let number = entry.file_name().to_str()?.parse().ok()?;
            (line.contains("--pid-file") && line.contains("orphan-")).then_some(number)
        });
        let runtime = rustix::process::Pid::from_raw(number.unwrap()).unwrap();
        rustix::process::kill_process(runtime, rustix::process::Signal::KILL).unwrap();
    };
    let (ended, ()) = tokio::join!(run, kill);
    let text = executor_error(ended);
    assert!(text.contains("killed by signal 9"), "{text}");
    assert_eq!(crate::support::processes("sleep 98765"), Vec::<String>::new());
    assert_eq!(crate::support::cgroups("lazyblob-orphan-"), Vec::<PathBuf>::new());
    world.close().await;
}
