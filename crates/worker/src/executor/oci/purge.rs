//! Taking a container away that its runtime has not taken away.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::cgroup::Cgroups;
use super::find::Runtime;

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
    match fs::remove_dir_all(&state) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
