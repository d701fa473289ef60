//! Another process: this test program once more.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::oracle::{Said, What};
use crate::support::{Kind, World};

pub(crate) const TASK: &str = "LAZYBLOB_CRASHES_TASK";
/// What lines begin with that are for us.
pub(crate) const SAYS: &str = "says ";

/// What another process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) root: PathBuf,
    pub(crate) kind: Kind,
    /// Where the registry is.
    pub(crate) host: String,
    /// The digests of its images.
    pub(crate) images: Vec<String>,
    pub(crate) role: Role,
}

/// Its part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Whatever comes to the mind of these among `of` workers, until they are killed.
    Work { seed: u64, workers: Vec<usize>, of: usize },
    /// Pulls an image, and says so; unpacks it unless there is nothing but blobs wanted, and says so; then puts its tree
    /// into a directory and ends, or stays and has it.
    Extract { repository: String, blobs: bool, to: Option<PathBuf> },
    /// Pulls an image, has its tree open, and one on top of it that it has written the file `made` to, which it says.
    Show { repository: String },
    /// Writes to the database all the time.
    Busy,
}

/// It ends with the test that it is part of.
pub(crate) struct Other {
    child: Child,
    said: UnboundedReceiver<Said>,
}

impl Other {
    pub(crate) fn start(world: &World, root: &Path, role: Role) -> Self {
        let task = Task {
            root: root.to_owned(),
            kind: world.kind,
            host: world.registry.host().to_owned(),
            images: world.digests(),
            role,
        };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child::child", "--nocapture"])
            .env(TASK, serde_json::to_string(&task).unwrap());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = mpsc::unbounded_channel();
        // It ends with the pipe.
        thread::spawn(move || {
            let lines = lines.map_while(Result::ok);
            for line in lines.filter_map(|line| line.strip_prefix(SAYS).map(str::to_owned)) {
                // The last line may have been cut off by what killed it.
                let Ok(said) = serde_json::from_str(&line) else { break };
                if sender.send(said).is_err() {
                    break;
                }
            }
        });
        Self { child, said }
    }

    /// What it says next; nothing when it has ended.
    async fn says(&mut self) -> Option<Said> {
        self.said.recv().await
    }

    /// Waits until it has done so many things; what it said.
    pub(crate) async fn does(&mut self, deeds: usize) -> Vec<Said> {
        let (mut said, mut done) = (Vec::new(), 0);
        while done < deeds {
            let next = self.says().await.expect("it goes on until it is killed");
            if let What::Failed(error) = &next.what {
                panic!("the other process failed: {error}");
            }
            done += usize::from(next.is_end());
            said.push(next);
        }
        said
    }

    /// It is stopped where it is, and can be nothing but killed.
    pub(crate) fn stop(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
    }

    /// Kills it; what it said up to then. One that has ended by itself is none that was killed.
    pub(crate) async fn kill(mut self) -> Vec<Said> {
        self.child.kill().unwrap();
        let mut said = Vec::new();
        while let Some(next) = self.says().await {
            said.push(next);
        }
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it should have gone on until it was killed: {status}");
        said
    }

    /// Waits for its end.
    pub(crate) async fn ends(mut self) -> ExitStatus {
        while self.says().await.is_some() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
