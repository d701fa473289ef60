//! Killing a container before its time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

/// So long somebody may take to end after it was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills what runs in a container, and its runtime if that does not end then. `init` is the container's first process: the
/// others go with it, and the runtime clears up. While there is none, there are the runtime and its children, which prepare
/// one; they would go on without it, in the container's root.
pub(super) async fn kill(child: &mut Child, init: Option<Pid>) {
    let runtime = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let Some(runtime) = runtime else { return };
    if let Some(init) = init
        && kill_child(init, runtime).is_ok()
        && tokio::time::timeout(PATIENCE, child.wait()).await.is_ok()
    {
        return;
    }
    let stopped = tokio::task::spawn_blocking(move || stop(runtime)).await;
    let children = match stopped {
        Ok(Ok(children)) => children,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the runtime is not stopped");
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    if let Err(error) = kill_process_group(runtime, Signal::KILL) {
        tracing::debug!(%error, "the runtime is not killed");
    }
    if let Err(error) = child.wait().await {
        tracing::debug!(%error, "the runtime is not waited for");
    }
    for child in children {
        if tokio::time::timeout(PATIENCE, ended(child)).await.is_err() {
            tracing::warn!("a process does not die");
        }
    }
}

/// Waits until a process has ended: it can be read from then.
#[expect(
    deprecated,
    reason = "unsound for what closes its descriptor before it is dropped, as this does not"
)]
async fn ended(process: OwnedFd) {
    if let Ok(process) = AsyncFd::with_interest(process, Interest::READABLE) {
        drop(process.readable().await);
    }
}

/// Stops a child of this process and kills all children of it, until it has no others: it makes none when it is stopped.
fn stop(process: Pid) -> io::Result<Vec<OwnedFd>> {
    kill_process(process, Signal::STOP)?;
    // It stays a child to be waited for.
    waitid(WaitId::Pid(process), WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let mut killed = BTreeMap::new();
    loop {
        let new: Vec<Pid> = children(process)?
            .into_iter()
            .filter(|child| !killed.contains_key(&child.as_raw_pid()))
            .collect();
        if new.is_empty() {
            return Ok(killed.into_values().collect());
        }
        for child in new {
            // Nobody takes its number: its parent does not wait for it.
            let fd = pidfd_open(child, PidfdFlags::empty())?;
            let _ = pidfd_send_signal(&fd, Signal::KILL);
            killed.insert(child.as_raw_pid(), fd);
        }
    }
}

/// The children of all threads of a process.
fn children(process: Pid) -> io::Result<Vec<Pid>> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", process.as_raw_pid()))? {
        let text = fs::read_to_string(thread?.path().join("children"))?;
        all.extend(text.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)));
    }
    Ok(all)
}

/// Kills a process that is a child of `parent`: another one may have its number by now.
fn kill_child(process: Pid, parent: Pid) -> io::Result<()> {
    let fd = pidfd_open(process, PidfdFlags::empty())?;
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_pid()))?;
    let found = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    if found.and_then(|found| found.trim().parse().ok()) != Some(parent.as_raw_pid()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(pidfd_send_signal(&fd, Signal::KILL)?)
}
