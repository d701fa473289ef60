//! Taking a container away that its runtime has not taken away.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};

use super::cgroup::Cgroups;
use super::find::Runtime;

/// So often a state is tried to be removed: whoever mounted something there was killed, and may do so once more.
const TRIES: u32 = 10;

/// Kills what is left of a container, and removes what there is about it: the runtime's state and its cgroup. Quick if
/// there is nothing. Returns when it is gone.
pub(super) fn purge(
    runtime: &Runtime,
    states: &Path,
    container: &str,
    cgroup: Option<&str>,
    cgroups: &Cgroups,
) -> io::Result<()> {
    let state = states.join(container);
    if state.exists() {
        let mut delete = Command::new(&runtime.path);
        delete.env_clear().arg("--root").arg(states).args(["delete", "--force", container]);
        delete.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // What it does not manage, or without one, the cgroup does.
        if let Err(error) = delete.status() {
            tracing::debug!(%error, %container, "not deleted by the runtime");
        }
    }
    if let Some(cgroup) = cgroup {
        cgroups.remove(cgroup)?;
    }
    remove(&state)
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
