//! Running the built command, each time in a home of its own.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// A directory to work in, and an environment that knows nothing of this machine's user.
pub(crate) struct Desk {
    dir: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::with_prefix("lazyblob-test-").unwrap() }
    }

    /// A path on this desk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `KIND:PATH` of a path on this desk.
    pub(crate) fn at(&self, kind: &str, name: &str) -> String {
        format!("{kind}:{}", self.path(name).display())
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `lazyblob WORDS`; no word has a blank in it.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lazyblob"));
        command
            .args(words.split_whitespace())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("DOCKER_CONFIG", self.path("docker"))
            .env("LAZYBLOB_ROOT", self.path("root"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, words: &str) -> Ran {
        Ran::of(words, self.command(words).output().await.unwrap())
    }

    /// Runs it to its end with its standard output or standard error elsewhere.
    pub(crate) async fn run_into(&self, words: &str, change: impl FnOnce(&mut Command)) -> Ran {
        let mut command = self.command(words);
        change(&mut command);
        // `Command::output` would capture both again.
        let child = command.spawn().unwrap();
        // What the command has for its output must be open nowhere else.
        drop(command);
        Ran::of(words, child.wait_with_output().await.unwrap())
    }

    /// Runs it to its end with `input` on its standard input.
    pub(crate) async fn run_with_input(&self, words: &str, input: &str) -> Ran {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().unwrap();
        // A command that fails before it reads closes the pipe: that is for the test to judge.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
        Ran::of(words, child.wait_with_output().await.unwrap())
    }

    /// Runs it and expects success.
    pub(crate) async fn ok(&self, words: &str) -> Ran {
        self.run(words).await.exits(0)
    }
}

/// Sends a signal, as `kill` names it.
pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().expect("it has not ended").to_string();
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
    assert!(sent.success());
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    words: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(words: &str, output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("what is printed is UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Self { words: words.to_owned(), code: output.status.code(), stdout, stderr }
    }

    /// Expects an exit code. A panic or a backtrace is never the right end.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        let Self { words, stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "lazyblob {words}\nstdout: {stdout}\nstderr: {stderr}");
        assert!(!stderr.contains("panicked"), "lazyblob {words}: {stderr}");
        self
    }

    /// Expects each of `parts` on standard error, and nothing on standard output.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "lazyblob {}: no `{part}` in: {}", self.words, self.stderr);
        }
        assert_eq!(self.stdout, "", "lazyblob {}", self.words);
        self
    }

    /// The digest that is all of standard output.
    #[track_caller]
    pub(crate) fn digest(&self) -> String {
        let digest = self.stdout.strip_suffix('\n').unwrap_or_default();
        let is_digest = digest.len() == 71 && digest.starts_with("sha256:");
        assert!(is_digest, "lazyblob {}: {:?} is not one digest", self.words, self.stdout);
        digest.to_owned()
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The line of `--stats`.
    #[track_caller]
    pub(crate) fn stats(&self) -> Value {
        let line = self.stderr.lines().rev().find(|line| line.starts_with(r#"{"type":"stats""#));
        let line = line.unwrap_or_else(|| panic!("lazyblob {}: no stats in: {}", self.words, self.stderr));
        serde_json::from_str(line).unwrap()
    }
}

/// Whether a path, its contents included, holds `secret` anywhere.
pub(crate) fn holds(path: &Path, secret: &str) -> bool {
    let Ok(kind) = std::fs::symlink_metadata(path) else { return false };
    if kind.is_dir() {
        return std::fs::read_dir(path).unwrap().any(|entry| holds(&entry.unwrap().path(), secret));
    }
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}
