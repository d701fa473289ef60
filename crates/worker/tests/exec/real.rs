//! The same with a runtime, where there is one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use lazyblob_remote::testing::not_run;
use lazyblob_worker::executor::{
    Executor as _, Exit, Network, OciRuntime, Output, Process, Security, Settings, state_dir,
};
use lazyblob_worker::llb::{self, CacheSharing, Mount, Secret, Ssh};
use lazyblob_worker::session::{Secret as Bytes, Session};
use lazyblob_worker::testing::FakeExecutor;
use tokio_util::sync::CancellationToken;

use crate::secrets::having;
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

/// What a command has in its environment is written down for the runtime, and not in the root: that may be a disk.
#[tokio::test]
async fn secrets_in_variables_are_not_below_the_root() {
    let what = "secrets in variables in a runtime";
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
    let Some(busybox) = busybox else { return not_run(what, "there is no busybox") };
    let dir = tempfile::tempdir().unwrap();
    let state = state_dir(dir.path());
    if state.starts_with(dir.path()) {
        return not_run(what, "there is no place in memory");
    }
    let runtime = OciRuntime::new(Settings { runtime: None, state: state.clone() });
    if let Err(error) = runtime.ready().await {
        return not_run(what, &error.to_string());
    }
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    let looks = Arc::new(Looks { dir: dir.path().to_owned(), state: state.clone(), found: Mutex::default() });
    let process = Process {
        id: "test".to_owned(),
        root,
        read_only_root: false,
        mounts: Vec::new(),
        // It waits to be killed.
        args: ["/bin/busybox", "sh", "-c", "echo runs; exec /bin/busybox sleep 1000"]
            .map(str::to_owned)
            .into(),
        env: vec!["PATH=/bin".to_owned(), "TOKEN=hunter2-51c0ffee".to_owned()],
        cwd: "/".to_owned(),
        user: String::new(),
        hostname: String::new(),
        extra_hosts: Vec::new(),
        network: Network::None,
        security: Security::Sandbox,
        ulimits: Vec::new(),
        cgroup_parent: None,
        remove_stubs_recursively: false,
    };
    let cancel = CancellationToken::new();
    let output = Stops(Arc::clone(&looks), cancel.clone());
    runtime.run(process, &output, &cancel).await.unwrap_err();
    let found = looks.found.lock().unwrap().take().unwrap();
    assert_eq!(found.0, Vec::<PathBuf>::new());
    let [config] = &*found.1 else { panic!("{found:?}") };
    assert!(config.ends_with("config.json"), "where it is, so that it would have been found: {config:?}");
    assert_eq!(having(&state, "hunter2-51c0ffee"), Vec::<PathBuf>::new());
    runtime.close().await;
    fs::remove_dir(&state).unwrap();
}

/// Looks for the secret below a root and below a state, while a command runs.
struct Looks {
    dir: PathBuf,
    state: PathBuf,
    found: Mutex<Option<(Vec<PathBuf>, Vec<PathBuf>)>>,
}

struct Stops(Arc<Looks>, CancellationToken);

impl Output for Stops {
    fn write(&self, _: u8, _: bytes::Bytes) {
        let having = |dir| having(dir, "hunter2-51c0ffee");
        self.0.found.lock().unwrap().get_or_insert_with(|| (having(&self.0.dir), having(&self.0.state)));
        self.1.cancel();
    }
}
