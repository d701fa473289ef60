//! Taking a container away that its runtime has not taken away.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::Cgroups;
use super::find::Runtime;

/// Where a runtime says that the command runs.
pub(super) const PID: &str = "pid";
/// Where a bundle says which cgroup is its container's.
pub(super) const CGROUP: &str = "cgroup";
/// So long a process that was killed may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

/// So often a state is tried to be removed: whoever mounted something there was killed, and may do so once more.
const TRIES: u32 = 10;

/// Kills what is left of the container of a bundle, and removes what there is about it: the runtime's state and its cgroup.
/// Quick if there is nothing. Returns when it is gone.
pub(super) fn purge(runtime: &Runtime, states: &Path, bundle: &Path, cgroups: &Cgroups) -> io::Result<()> {
    let Some(container) = bundle.file_name() else { return Ok(()) };
    let state = states.join(container);
    if state.exists() {
        // Not every runtime kills it where there are no cgroups.
        let init = pid(bundle).and_then(|pid| Init::kill(pid, container));
        let mut delete = Command::new(&runtime.path);
        delete.env_clear().arg("--root").arg(states).args(["delete", "--force"]).arg(container);
        delete.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // What it does not manage, or without one, the cgroup does.
        match delete.status() {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::debug!(%status, ?container, "not deleted by the runtime"),
            Err(error) => tracing::debug!(%error, ?container, "not deleted by the runtime"),
        }
        init.map_or(Ok(()), |init| init.wait())?;
    }
    if let Ok(cgroup) = fs::read_to_string(bundle.join(CGROUP)) {
        cgroups.remove(&cgroup)?;
    }
    remove(&state)
}

/// The number of the first process of a bundle's container, if it has one.
pub(super) fn pid(bundle: &Path) -> Option<Pid> {
    let text = fs::read_to_string(bundle.join(PID)).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

/// The first process of a container.
struct Init {
    stat: PathBuf,
    /// When it began: another one of its number began later.
    began: String,
}

impl Init {
    /// Kills it, and with it all others of its container. None if it has ended.
    fn kill(pid: Pid, container: &OsStr) -> Option<Self> {
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let dir = PathBuf::from(format!("/proc/{}", pid.as_raw_pid()));
        // Another one may have its number by now. Nobody else sees a file of this bundle.
        let mounts = fs::read_to_string(dir.join("mountinfo")).ok()?;
        if !mounts.contains(&format!("/{}/hosts ", container.to_string_lossy())) {
            return None;
        }
        pidfd_send_signal(&fd, Signal::KILL).ok()?;
        let stat = dir.join("stat");
        let began = began(&stat)?;
        Some(Self { stat, began })
    }

    /// Waits until it has ended.
    fn wait(&self) -> io::Result<()> {
        let since = Instant::now();
        while began(&self.stat).as_ref() == Some(&self.began) {
            if since.elapsed() > DEATH {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "its first process does not die"));
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// When a process began, if it has not ended yet.
fn began(stat: &Path) -> Option<String> {
    let text = fs::read_to_string(stat).ok()?;
    // Its name is in brackets, and may have any in it.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // Of a zombie nothing runs any more.
    if matches!(state, "Z" | "X") { None } else { fields.nth(18).map(str::to_owned) }
}

/// Removes a container's state, or all of them. A runtime that is killed as it starts leaves its program mounted there: it
/// makes a copy of itself so that no container can change it. One whose container was killed is about to remove it as well.
pub(super) fn remove(state: &Path) -> io::Result<()> {
    for tries in 0..TRIES {
        match fs::remove_dir_all(state) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                thread::park_timeout(Duration::from_millis(1) * tries);
            }
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            done => return done,
        }
        for entry in fs::read_dir(state)? {
            // Most of them are no mount points.
            let _ = unmount(entry?.path(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
    }
    fs::remove_dir_all(state)
}
