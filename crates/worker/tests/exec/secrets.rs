//! Secrets and agents: there for the command, and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lazyblob_cache::snapshot::Wanted;
use lazyblob_worker::executor::Exit;
use lazyblob_worker::llb::{self, Secret, Ssh};
use lazyblob_worker::session::{Secret as Bytes, Session};
use lazyblob_worker::testing::FakeExecutor;

use crate::support::{World, bound, ended, kinds, logs, run, tree};

const SECRET: &str = "hunter2-4f9c1e77";

fn session() -> Session {
    let secrets = [("token".to_owned(), Bytes::new(SECRET))];
    Session { secrets: secrets.into(), ..Session::default() }
}

/// All files below a directory that contain a text.
pub(crate) fn having(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        // Some of it may go while it is looked at.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let kind = meta.file_type();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() {
                let Ok(bytes) = fs::read(&path) else { continue };
                if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                    found.push(path);
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn a_secret_is_seen_by_the_command_and_by_nobody_else() {
    for kind in kinds() {
        let world = World::with(kind, session()).await;
        let script = ["cat /run/secrets/token", "env", "gate look", "write /done yes"];
        let state = run(&llb::scratch(), &script)
            .secret("/run/secrets/token", Secret::new("token").file(0, 0, 0o440))
            .secret("/run/secrets/none", Secret::new("none").optional())
            .secret_env("TOKEN", Secret::new("token"))
            .mount("/cache", llb::Mount::cache("c"))
            .root();
        let (job, edge) = world.job(&state).await;
        let gate = world.theatre.gate("look");
        let looked = async {
            gate.reached(1).await;
            let process = world.theatre.process("cat /run/secrets/token");
            let path = bound(&process, "/run/secrets/token");
            let about = fs::metadata(&path).unwrap();
            assert_eq!((about.permissions().mode() & 0o7777, about.uid(), about.gid()), (0o440, 0, 0));
            let above = fs::metadata(path.parent().unwrap()).unwrap();
            assert_eq!(above.permissions().mode() & 0o777, 0o700, "nobody else finds it");
            assert!(!path.starts_with(world.dir.path()), "{}", path.display());
            let file_system = rustix::fs::statfs(&path).unwrap();
            if rustix::fs::statfs("/dev/shm").is_ok_and(|shm| shm.f_type == 0x0102_1994) {
                assert_eq!(file_system.f_type, 0x0102_1994, "in memory");
            }
            assert!(process.mounts.iter().all(|mount| mount.dest != "/run/secrets/none"));
            let secret = process.mounts.iter().find(|mount| mount.dest == "/run/secrets/token").unwrap();
            assert!(secret.read_only);
            gate.open();
            path
        };
        let (built, path) = futures::future::join(job.build(&edge), looked).await;
        assert!(!path.parent().unwrap().exists(), "it goes with the command");
        let result = built.unwrap().result;
        assert_eq!(crate::support::files(&result).await, tree([("done", "yes")]));
        let said = String::from_utf8(logs(&ended(job).await)).unwrap();
        assert!(said.starts_with(SECRET) && said.contains(&format!("TOKEN={SECRET}")), "{said}");
        drop(result);
        let dir = Arc::clone(&world.dir);
        assert_eq!(having(dir.path(), SECRET), Vec::<PathBuf>::new());
        world.close().await;
        assert_eq!(having(dir.path(), SECRET), Vec::<PathBuf>::new());
    }
}

/// The same command with another secret, or without, is the same command.
#[tokio::test]
async fn a_secret_is_part_of_no_key_and_of_no_error() {
    let world = World::with(Wanted::Plain, session()).await;
    let state = |script: &[&str]| {
        run(&llb::scratch(), script)
            .secret("/s", Secret::new("token"))
            .secret_env("TOKEN", Secret::new("token"))
            .root()
    };
    let failed = world.try_build(&state(&["cat /s", "exit 1"])).await.map(drop).unwrap_err();
    assert!(!format!("{failed} {failed:?}").contains(SECRET), "{failed}");
    let first = world.build(&state(&["cat /s"])).await;
    assert!(!first.cached);
    let other = world.worker.sessions().open(Session {
        secrets: [("token".to_owned(), Bytes::new("another"))].into(),
        ..Session::default()
    });
    let own = std::mem::replace(&mut *world.session.lock().unwrap(), other);
    drop(own);
    assert!(world.build(&state(&["cat /s"])).await.cached);
    assert_eq!(world.executor.runs(), 2);
    world.close().await;
}

#[tokio::test]
async fn what_nobody_has_is_named_before_anything_runs() {
    let world = World::new(Wanted::Plain).await;
    let any = || run(&llb::scratch(), &["say ran"]);
    let cases = [
        (any().secret("/s", Secret::new("absent")), "--secret id=absent"),
        (any().secret_env("S", Secret::new("absent")), "--secret id=absent"),
        (any().ssh(Ssh::new("")), "--ssh default"),
        (any().ssh(Ssh::new("agent")), "--ssh agent"),
    ];
    for (exec, wanted) in cases {
        let error = world.try_build(&exec.root()).await.map(drop).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    assert_eq!(world.executor.runs(), 0);
    let optional = any()
        .secret("/s", Secret::new("absent").optional())
        .secret_env("S", Secret::new("absent").optional())
        .ssh(Ssh::new("agent").optional())
        .root();
    world.build(&optional).await;
    assert!(world.theatre.process("say ran").mounts.is_empty());
    world.assert_clean().await;
    world.close().await;
}

/// The agent that answers is the session's; the socket that the command sees is not, and belongs to whom it should.
#[tokio::test]
async fn an_agent_is_reached_through_a_socket_of_the_commands_own() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(&asked.map(|byte| byte + 1)).unwrap();
    });
    let session =
        Session { ssh: BTreeMap::from([("default".to_owned(), socket.clone())]), ..Session::default() };
    let seen = Arc::new(Mutex::new(None));
    let found = Arc::clone(&seen);
    let executor = FakeExecutor::new(move |stage| {
        let found = Arc::clone(&found);
        Box::pin(async move {
            let path = stage.path("/run/buildkit/ssh_agent.0").unwrap();
            let about = fs::metadata(&path).unwrap();
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(b"HAL8").unwrap();
            let answer = tokio::task::spawn_blocking(move || {
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).map(|()| answer)
            });
            let answer = answer.await.unwrap().unwrap();
            *found.lock().unwrap() = Some((path, about, answer, stage.process.env.clone()));
            Ok(Exit { code: 0 })
        })
    });
    let world = World::running(Wanted::Plain, session, executor).await;
    let state = llb::scratch().run(["x"]).ssh(Ssh::new("default").file(0, 0, 0o640)).root();
    world.build(&state).await;
    let (path, about, answer, env) = seen.lock().unwrap().take().unwrap();
    assert_eq!(&answer, b"IBM9");
    assert_eq!(about.permissions().mode() & 0o7777, 0o640);
    assert!(path != socket && !path.exists(), "it goes with the command");
    assert!(env.contains(&"SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0".to_owned()), "{env:?}");
    agent.join().unwrap();
    world.close().await;
}

/// BuildKit row 72: whoever wants the command may have what it needs; who has gone takes it along.
#[tokio::test]
async fn a_secret_is_that_of_any_build_that_wants_the_command() {
    let world = World::new(Wanted::Plain).await;
    let state = |script: &[&str]| {
        let base = run(&llb::scratch(), &["gate base", script[0]]).root();
        run(&base, script).secret("/s", Secret::new("token")).root()
    };
    let gate = world.theatre.gate("base");
    let (both, gone) = (state(&["cat /s"]), state(&["cat /s", "say again"]));
    let (poor, edge) = world.job(&both).await;
    let none =
        std::mem::replace(&mut *world.session.lock().unwrap(), world.worker.sessions().open(session()));
    let (rich, _) = world.job(&both).await;
    let open = async {
        gate.reached(1).await;
        gate.open();
    };
    let (built, (), _) = futures::future::join3(poor.build(&edge), open, rich.build(&edge)).await;
    built.unwrap();
    let said = logs(&ended(rich).await);
    assert!(said.ends_with(SECRET.as_bytes()), "{}", String::from_utf8_lossy(&said));
    *world.session.lock().unwrap() = none;
    let error = world.try_build(&gone).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("--secret id=token"), "{error}");
    world.close().await;
}
