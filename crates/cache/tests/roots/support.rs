//! Roots in temporary directories, blobs to put there, and another process.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use lazyblob_cache::root::{Pace, Pauses, Root, RootSettings};
use lazyblob_remote::progress::State;
use lazyblob_remote::{Descriptor, Progress, digest, media};
use tempfile::TempDir;

/// Longer than anything here takes on a machine that is busy with other things.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A root that is gone with this.
pub(crate) struct Bench {
    pub(crate) temp: TempDir,
    pub(crate) root: Root,
}

pub(crate) fn settings() -> RootSettings {
    let poll = Pauses { first: Duration::from_millis(1), limit: Duration::from_millis(20) };
    let trash = Pace { step: 3, pause: Duration::from_millis(1) };
    RootSettings { holder: Some("a test"), poll, trash, ..RootSettings::default() }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: RootSettings) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path().join("root"), settings).await.unwrap();
        Self { temp, root }
    }

    /// The same root opened once more, as another process would.
    pub(crate) async fn again(&self) -> Root {
        Root::open(self.root.path(), settings()).await.unwrap()
    }

    /// A path outside the root, on the same file system.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }
}

/// The descriptor of these bytes.
pub(crate) fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::new(media::OCI_LAYER.into(), bytes.len() as u64, digest::sha256(bytes))
}

/// The names in a directory, in order.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Remembers the notes it gets.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Progress for Notes {
    fn start(&self, _: &Descriptor, _: State) {}
    fn advance(&self, _: &Descriptor, _: u64) {}
    fn finish(&self, _: &Descriptor, _: State) {}
    fn note(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

/// Where the other process finds the root, and what it does there.
pub(crate) const ROOT: &str = "LAZYBLOB_TEST_ROOT";
pub(crate) const ROLE: &str = "LAZYBLOB_TEST_ROLE";

/// This test binary once more, as another process. Its stderr is what it has to say.
pub(crate) struct Other {
    process: Child,
    says: Lines<BufReader<ChildStderr>>,
}

impl Other {
    pub(crate) fn start(role: &str, root: &Root) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::the_other_process", "--nocapture"])
            .env(ROOT, root.path())
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, says }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What follows `word` on the line that begins with it.
    pub(crate) fn wait_for(&mut self, word: &str) -> String {
        let mut said = Vec::new();
        for line in self.says.by_ref() {
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
            said.push(line);
        }
        panic!("it ended without saying {word}: {said:#?}");
    }

    /// Tells it to go on.
    pub(crate) fn go(&mut self) {
        writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
    }

    /// Stops it wherever it is, and waits until it is.
    pub(crate) fn stop(&self) -> Stopped {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let stat = format!("/proc/{}/task", self.pid());
        let is_stopped = || {
            fs::read_dir(&stat).unwrap().all(|thread| {
                let text = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
                text.rsplit_once(") ").unwrap().1.starts_with('T')
            })
        };
        while !is_stopped() {
            std::thread::yield_now();
        }
        Stopped(pid)
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        let status = self.process.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    pub(crate) fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

/// A process that does nothing for now.
pub(crate) struct Stopped(rustix::process::Pid);

impl Stopped {
    pub(crate) fn resume(self) {
        rustix::process::kill_process(self.0, rustix::process::Signal::CONT).unwrap();
    }
}

/// What [`Other::wait_for`] waits for.
#[allow(clippy::print_stderr, reason = "it is how the processes talk")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Waits for a word of [`Other::go`], or the end of them.
pub(crate) fn told_to_go() {
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}
