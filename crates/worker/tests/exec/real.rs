//! The same with a runtime, where there is one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use futures::future::BoxFuture;
use lazyblob_remote::testing::not_run;
use lazyblob_worker::executor::{Executor as _, Exit, OciRuntime, Settings};
use lazyblob_worker::llb::{self, CacheSharing, Mount, Secret, Ssh};
use lazyblob_worker::session::{Secret as Bytes, Session};
use lazyblob_worker::testing::FakeExecutor;

use crate::support::{World, kinds, tree};

const SCRIPT: &str = "set -e
cat /run/secrets/token; echo; echo $TOKEN
test -S $SSH_AUTH_SOCK
cat /ro/who /part/who; echo
echo kept > /part/new; echo gone > /ro/tmp/x; cat /ro/tmp/x
if (echo x > /ro/other) 2>/dev/null; then exit 9; fi
mkdir /made; echo done > /made/file
";

/// All kinds of mounts at once, in one another: each is there, and nothing but what the command wrote is kept.
#[tokio::test]
async fn a_runtime_shows_all_kinds_of_mounts_and_leaves_none() {
    let what = "commands with mounts in a runtime";
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
    let Some(busybox) = busybox else { return not_run(what, "there is no busybox") };
    for kind in kinds() {
        let state = tempfile::tempdir().unwrap();
        let runtime = OciRuntime::new(Settings { runtime: None, state: state.path().join("state") });
        if let Err(error) = runtime.ready().await {
            return not_run(what, &error.to_string());
        }
        let agent = state.path().join("agent");
        let _listener = UnixListener::bind(&agent).unwrap();
        let session = Session {
            secrets: BTreeMap::from([("token".to_owned(), Bytes::new("hunter2"))]),
            ssh: BTreeMap::from([("default".to_owned(), agent)]),
            ..Session::default()
        };
        let closes = runtime.clone();
        let executor = FakeExecutor::new(move |stage| -> BoxFuture<'_, _> {
            let runtime = runtime.clone();
            Box::pin(async move {
                if stage.process.args[0] != "base" {
                    return runtime.run(stage.process, stage.output, stage.cancel).await;
                }
                let bin = stage.process.root.join("bin");
                fs::create_dir(&bin).unwrap();
                fs::copy(busybox, bin.join("busybox")).unwrap();
                for name in ["sh", "cat", "echo", "mkdir", "test"] {
                    symlink("busybox", bin.join(name)).unwrap();
                }
                fs::create_dir(stage.process.root.join("d")).unwrap();
                fs::write(stage.process.root.join("d/who"), "base").unwrap();
                fs::create_dir(stage.process.root.join("d/tmp")).unwrap();
                Ok(Exit { code: 0 })
            })
        });
        let world = World::running(kind, session, executor).await;
        let base = llb::scratch().run(["base"]).root();
        let part = || Mount::cache("c").seeded(&base).sharing(CacheSharing::Locked).select("d");
        let top = base
            .run(["sh", "-c", SCRIPT])
            .secret("/run/secrets/token", Secret::new("token").file(7, 8, 0o440))
            .secret_env("TOKEN", Secret::new("token"))
            .ssh(Ssh::new("default"))
            .mount("/ro", Mount::bind(&base).select("d").read_only())
            .mount("/ro/tmp", Mount::tmpfs(1 << 20))
            .mount("/part", part())
            .root();
        assert_eq!(world.said(&top).await, "hunter2\nhunter2\nbasebase\ngone\n");
        let mut left = world.files(&top).await;
        for (name, text) in world.files(&base).await {
            assert_eq!(left.remove(&name), Some(text), "{name}");
        }
        assert_eq!(left, tree([("made/", ""), ("made/file", "done\n")]));
        let again = base.run(["cat", "/part/new"]).mount("/part", part()).root();
        assert_eq!(world.said(&again).await, "kept\n");
        let failing = base.run(["sh", "-c", "exit 7"]).mount("/part", part()).root();
        let error = world.try_build(&failing).await.map(drop).unwrap_err().to_string();
        assert!(error.contains("exit code 7"), "{error}");
        world.assert_clean().await;
        closes.close().await;
        world.close().await;
    }
}
