//! How commands end.

use std::pin::pin;

use futures::future::{Either, join, select};
use lazyblob_cache::snapshot::Wanted;
use lazyblob_solver::{Cause, Error as SolverError};
use lazyblob_worker::Error;
use lazyblob_worker::llb::{self, Mount, Secret, State};

use crate::support::{World, ended, kinds, logs, run, tree};

fn of_worker(error: &SolverError) -> &Error {
    let SolverError::Op { cause, .. } = error else { panic!("{error}") };
    let cause: &Cause = cause;
    cause.downcast_ref::<Error>().unwrap_or_else(|| panic!("{cause}"))
}

fn with_all(base: &State, script: &[&str]) -> State {
    run(base, script)
        .mount("/ro", Mount::bind(base).read_only())
        .mount("/thrown", Mount::bind(base).no_output())
        .mount("/out", Mount::bind(base))
        .mount("/cache", Mount::cache("c"))
        .secret("/secret", Secret::new("none").optional())
        .root()
}

#[tokio::test]
async fn a_command_that_fails_says_so_and_leaves_nothing() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let base = run(&llb::scratch(), &["write /who base"]).root();
        world.build(&base).await;
        let failing = with_all(&base, &["say before", "exit 3"]);
        let (job, edge) = world.job(&failing).await;
        let error = job.build(&edge).await.map(drop).unwrap_err();
        let Error::Exited { command, code: 3 } = of_worker(&error) else { panic!("{error}") };
        assert_eq!(command, "play 'say before' 'exit 3'");
        let told = of_worker(&error).to_string();
        assert_eq!(told, "run `play 'say before' 'exit 3'`: the command did not succeed: exit code 3");
        assert_eq!(logs(&ended(job).await), b"before", "what it said is there all the same");
        world.assert_clean().await;
        let broken = world.try_build(&with_all(&base, &["break"])).await.map(drop).unwrap_err();
        assert!(of_worker(&broken).to_string().contains("the runtime died"), "{broken}");
        world.assert_clean().await;
        world.close().await;
    }
}

#[tokio::test]
async fn what_counts_as_success_may_be_said() {
    let world = World::new(Wanted::Plain).await;
    let ends = |code: u32, valid: &[i32]| {
        let exec = run(&llb::scratch(), &[&format!("exit {code}")]);
        exec.valid_exit_codes(valid.iter().copied()).root()
    };
    world.build(&ends(3, &[1, 3])).await;
    let error = world.try_build(&ends(0, &[1, 3])).await.map(drop).unwrap_err();
    assert!(matches!(of_worker(&error), Error::Exited { code: 0, .. }), "{error}");
    let killed = world.try_build(&ends(137, &[])).await.map(drop).unwrap_err();
    assert!(killed.to_string().contains("signal 9"), "{killed}");
    world.close().await;
}

#[tokio::test]
async fn a_command_that_is_cancelled_leaves_nothing() {
    for kind in kinds() {
        let world = World::new(kind).await;
        let base = run(&llb::scratch(), &["write /who base"]).root();
        let state = with_all(&base, &["write /half done", "gate stop", "write /never x"]);
        let (job, edge) = world.job(&state).await;
        {
            let building = pin!(job.build(&edge));
            let gate = world.theatre.gate("stop");
            let running = pin!(gate.reached(1));
            let Either::Right(_) = select(building, running).await else { panic!("it did not wait") };
        }
        job.discard();
        world.stop().await;
        // The base, and a command that nobody let on.
        assert_eq!(world.executor.runs(), 2);
        assert_eq!(world.caches().await.len(), 1, "what a cache has is kept");
        world.assert_clean().await;
        world.close().await;
    }
}

/// Two builds that want the same thing at once have it run once.
#[tokio::test]
async fn one_command_for_two_builds() {
    let world = World::new(Wanted::Plain).await;
    let state = run(&llb::scratch(), &["gate both", "write /a b"]).root();
    let (one, edge) = world.job(&state).await;
    let (two, _) = world.job(&state).await;
    let gate = world.theatre.gate("both");
    let open = async {
        gate.reached(1).await;
        gate.open();
    };
    let ((first, second), ()) = join(join(one.build(&edge), two.build(&edge)), open).await;
    let id = |built: lazyblob_solver::Result<lazyblob_solver::Built<_>>| {
        let result: lazyblob_worker::WorkerRef = built.unwrap().result;
        result.tree().unwrap().id()
    };
    assert_eq!(id(first), id(second));
    assert_eq!(world.executor.runs(), 1);
    world.close().await;
}

/// A tree that is gone when a merge needs it is that of the input it is: that one is made again, and no other.
#[tokio::test]
async fn a_merge_says_which_input_is_gone() {
    let world = World::new(Wanted::Plain).await;
    let [one, two] = ["one", "two"].map(|name| run(&llb::scratch(), &[&format!("write /{name} x")]).root());
    let first = world.build(&two).await;
    let twin = first.result.tree().unwrap().record().twin.clone().unwrap();
    drop(first);
    world.build(&one).await;
    let key = lazyblob_cache::snapshot::SnapshotKey::record(twin.as_str()).unwrap();
    let directory = world.manager.snapshots().active(&key).unwrap().unwrap().directory();
    std::fs::remove_dir_all(directory.parent().unwrap()).unwrap();
    assert_eq!(world.files(&llb::merge([&one, &two])).await, tree([("one", "x"), ("two", "x")]));
    let count = |line: &str| world.theatre.played().iter().filter(|process| process.args[1] == line).count();
    assert_eq!((count("write /one x"), count("write /two x")), (1, 2));
    world.close().await;
}
