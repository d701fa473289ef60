//! A root with busybox in it, and an executor with a state of its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lazyblob_remote::testing::not_run;
use lazyblob_worker::executor::{
    Executor as _, Exit, Network, OciRuntime, Output, Process, Security, Settings,
};
use lazyblob_worker::{Error, Result};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What is linked to busybox.
const APPLETS: [&str; 24] = [
    "awk", "cat", "chmod", "dd", "echo", "env", "grep", "hostname", "id", "ip", "kill", "ls", "mkdir",
    "mount", "nc", "pwd", "rm", "seq", "sh", "sleep", "stat", "touch", "true", "unshare",
];

/// A root, a state and an executor.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) executor: OciRuntime,
}

/// A busybox without libraries, if there is one.
fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

impl World {
    /// None where containers cannot be run, which is printed.
    pub(crate) async fn new(what: &str) -> Option<Self> {
        let Some(busybox) = busybox() else {
            not_run(what, "there is no busybox");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        // Users of the container reach their root through it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let executor = executor(&dir.path().join("state"), None);
        if let Err(error) = executor.ready().await {
            not_run(what, &error.to_string());
            return None;
        }
        Some(Self { dir, root, executor })
    }

    /// A process with default settings.
    pub(crate) fn process(&self, args: &[&str]) -> Process {
        Process {
            id: "test".to_owned(),
            root: self.root.clone(),
            read_only_root: false,
            mounts: Vec::new(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: String::new(),
            extra_hosts: Vec::new(),
            network: Network::Host,
            security: Security::Sandbox,
            ulimits: Vec::new(),
            cgroup_parent: None,
            remove_stubs_recursively: false,
        }
    }

    /// A process that runs a script.
    pub(crate) fn sh(&self, script: &str) -> Process {
        self.process(&["sh", "-c", script])
    }

    /// Runs a process to its end.
    pub(crate) async fn run(&self, process: Process) -> (Result<Exit>, Arc<Captured>) {
        let captured = Arc::new(Captured::default());
        let exit = self.executor.run(process, &*captured, &CancellationToken::new()).await;
        (exit, captured)
    }

    /// What a script writes that must succeed.
    pub(crate) async fn text(&self, process: Process) -> String {
        let (exit, captured) = self.run(process).await;
        let (out, err) = (captured.out(), captured.err());
        assert_eq!(exit.unwrap().code, 0, "{out}\n{err}");
        out
    }

    /// Writes a file of the root.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// That nothing is left of any container.
    pub(crate) async fn close(self) {
        let state = self.dir.path().join("state");
        assert_eq!(containers(&state), Vec::<PathBuf>::new(), "bundles and runtime states");
        self.executor.close().await;
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "a process's directory");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()), "{mounts}");
    }
}

/// An executor.
pub(crate) fn executor(state: &Path, runtime: Option<&Path>) -> OciRuntime {
    let named = std::env::var_os("LAZYBLOB_TEST_RUNTIME").map(PathBuf::from);
    let runtime = runtime.map(Path::to_owned).or(named);
    OciRuntime::new(Settings { runtime, state: state.to_owned() })
}

/// What there is about containers in a state.
pub(crate) fn containers(state: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for owner in fs::read_dir(state).into_iter().flatten().flatten() {
        for entry in fs::read_dir(owner.path()).unwrap().flatten() {
            match entry.file_name().to_str().unwrap() {
                "lock" => {}
                "runtime" => {
                    all.extend(fs::read_dir(entry.path()).unwrap().map(|entry| entry.unwrap().path()))
                }
                _ => all.push(entry.path()),
            }
        }
    }
    all
}

/// The directories of all cgroup hierarchies whose name contains `part`.
pub(crate) fn cgroups(part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_str().unwrap().contains(part) {
                    found.push(entry.path());
                }
                dirs.push(entry.path());
            }
        }
    }
    found
}

/// The processes whose command line contains `part`.
pub(crate) fn processes(part: &str) -> Vec<String> {
    let line = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(part).then_some(line)
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(line).collect()
}

/// Every path of a tree with its mode, owner, length and time of change.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, u32, u64, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(path) = ahead.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let length = if meta.is_dir() { 0 } else { meta.len() };
        let about = (meta.mode(), meta.uid(), length, meta.mtime(), meta.mtime_nsec());
        all.insert(path.strip_prefix(root).unwrap().to_owned(), about);
    }
    all
}

/// Keeps what is written, and tells when something is.
#[derive(Default)]
pub(crate) struct Captured {
    streams: Mutex<[Vec<u8>; 2]>,
    written: Notify,
}

impl Output for Captured {
    fn write(&self, stream: u8, data: Bytes) {
        self.streams.lock().unwrap()[usize::from(stream) - 1].extend_from_slice(&data);
        self.written.notify_one();
    }
}

impl Captured {
    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.streams.lock().unwrap()[0].clone()).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8(self.streams.lock().unwrap()[1].clone()).unwrap()
    }

    /// Waits until this was written to standard output.
    pub(crate) async fn has(&self, text: &str) {
        while !self.out().contains(text) {
            self.written.notified().await;
        }
    }
}

/// The words of an error of the executor.
pub(crate) fn executor_error(result: Result<Exit>) -> String {
    match result.unwrap_err() {
        error @ Error::Executor { .. } => error.to_string(),
        other => panic!("{other:?}"),
    }
}
