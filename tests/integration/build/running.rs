//! Builds under way, and what must not be left of them.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::support::define;
use crate::support::{Desk, Ran};
use lazyblob::worker::llb::State;

/// No step of these tests takes as long, under whatever load.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A build under way, told as JSON lines.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) pid: u32,
    words: String,
    lines: Lines<BufReader<ChildStderr>>,
    told: String,
}

impl Running {
    /// Starts `lazyblob build` of `state` with these words.
    pub(super) fn start(desk: &Desk, state: &State, words: &str) -> Self {
        let definition = define(desk, "running", state);
        let words = format!("--progress json build {words} {definition}");
        Self::of(desk.command(&words), &words)
    }

    /// Starts a command that tells JSON lines.
    pub(super) fn of(mut command: Command, words: &str) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let pid = child.id().unwrap();
        Self { child, pid, words: words.to_owned(), lines, told: String::new() }
    }

    /// Waits for an event.
    pub(super) async fn until(&mut self, is_it: impl Fn(&Value) -> bool) {
        let told = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.told += &line;
                self.told.push('\n');
                if serde_json::from_str(&line).is_ok_and(|event| is_it(&event)) {
                    return;
                }
            }
            panic!("it has ended: {}", self.told);
        };
        if tokio::time::timeout(PATIENCE, told).await.is_err() {
            panic!("it is not told: {}", self.told);
        }
    }

    /// Waits until a command has written this.
    pub(super) async fn until_written(&mut self, text: &str) {
        let wrote = |event: &Value| event["data"].as_str().is_some_and(|data| data.contains(text));
        self.until(wrote).await;
    }

    /// Waits for its end.
    pub(super) async fn end(mut self) -> Ran {
        let rest = async {
            let mut output = Vec::new();
            if let Some(mut stdout) = self.child.stdout.take() {
                stdout.read_to_end(&mut output).await.unwrap();
            }
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.told += &line;
                self.told.push('\n');
            }
            (self.child.wait().await.unwrap(), output)
        };
        let ended = tokio::time::timeout(PATIENCE, rest).await;
        let (status, stdout) = ended.unwrap_or_else(|_| panic!("it does not end: {}", self.words));
        let stderr = self.told.into_bytes();
        Ran::of(&self.words, std::process::Output { status, stdout, stderr })
    }
}

/// Expects that nothing is left of a command of this number (if one is named): no mount, no process in a container, no
/// cgroup, no file that says that somebody is at work; and that the cache is whole.
#[track_caller]
pub(super) fn nothing_is_left(desk: &Desk, pid: Option<u32>) {
    let root = desk.path("root");
    let place = desk.path("").display().to_string();
    let place = place.trim_end_matches('/');
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(place), "{mounts}");
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let mounts = std::fs::read_to_string(process.path().join("mountinfo")).unwrap_or_default();
        assert!(!mounts.contains(place), "{}: {mounts}", process.path().display());
    }
    if let Some(pid) = pid {
        let name = format!("lazyblob-lazyblob-{pid}-");
        let found = having(Path::new("/sys/fs/cgroup"), &name);
        assert_eq!(found, [] as [String; 0]);
    }
    for busy in ["live", "mounts", "staging", "run"] {
        let Ok(left) = std::fs::read_dir(root.join(busy)) else { continue };
        let left: Vec<_> = left.flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Directories below one, two levels deep, whose names begin with `prefix`.
fn having(dir: &Path, prefix: &str) -> Vec<String> {
    let children = |dir: &Path| -> Vec<_> {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let first = children(dir);
    let second: Vec<_> = first.iter().filter(|path| path.is_dir()).flat_map(|path| children(path)).collect();
    let is_it = |path: &&std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    first.iter().chain(&second).filter(is_it).map(|path| path.display().to_string()).collect()
}

/// Expects that nothing is left, and that `lazyblob verify` finds the cache whole.
pub(super) async fn is_clean(desk: &Desk, pid: Option<u32>) {
    nothing_is_left(desk, pid);
    if desk.path("root").exists() {
        desk.ok("verify").await;
        nothing_is_left(desk, None);
    }
}
