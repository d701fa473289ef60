//! One container, from its making to its end. It runs in a task of its own: whoever asked for it may lose interest, and it
//! is taken away all the same.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use lazyblob_remote::What;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::bundle::Bundle;
use super::find::Runtime;
use super::home::Home;
use super::kill::kill;
use super::purge::{PID, pid};
use super::words;
use crate::error::{Error, Result};
use crate::executor::Process;

const LOG: &str = "log.json";

/// How a runtime ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// Whether it has said that the command ran.
    pub(super) is_started: bool,
    /// The errors in its log.
    pub(super) words: String,
}

/// Runs a container to its end. When `stop` is signalled its processes are killed. Returns when nothing is left of it.
pub(super) async fn run(
    home: Arc<Home>,
    process: Process,
    (stdout, stderr): (OwnedFd, OwnedFd),
    stop: CancellationToken,
) -> Result<Ended> {
    let id = process.id.clone();
    let bundle = blocking(&id, move || Bundle::make(home, &process)).await?;
    if stop.is_cancelled() {
        blocking(&id, || bundle.clear()).await?;
        return Err(Error::Cancelled { what: What::new("run", id) });
    }
    let ended = match start(&bundle, stdout, stderr) {
        Err(error) => Err(Error::Executor {
            what: What::new("run", &id),
            reason: format!("{}: {error}", bundle.home.runtime.path.display()),
        }),
        Ok(mut child) => tokio::select! {
            status = child.wait() => status.map_err(|e| Error::failed("wait for", &id, e)),
            () = stop.cancelled() => {
                kill(&mut child, pid(&bundle.dir)).await;
                Err(Error::Cancelled { what: What::new("run", &id) })
            }
        },
    };
    blocking(&id, move || {
        let told = ended.map(|status| Ended {
            status,
            is_started: pid(&bundle.dir).is_some(),
            words: if status.success() { String::new() } else { words::of_log(&bundle.dir.join(LOG)) },
        });
        // That something is left is worse than why it ended.
        bundle.clear().and(told)
    })
    .await
}

fn start(bundle: &Bundle, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Child> {
    let Runtime { path } = &bundle.home.runtime;
    let mut command = Command::new(path);
    // Nothing of this process's environment is its business.
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.arg("--root").arg(bundle.home.states());
    command.arg("--log").arg(bundle.dir.join(LOG)).args(["--log-format", "json"]);
    if bundle.home.cgroups.path(None, "").is_none() {
        command.arg(bundle.home.runtime.without_cgroups());
    }
    command.arg("run").arg("--bundle").arg(&bundle.dir);
    command.arg("--pid-file").arg(bundle.dir.join(PID)).arg(&bundle.container);
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    // A terminal's signals are for this process, which decides.
    command.process_group(0);
    command.spawn()
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    id: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::failed("run", id, error)),
    }
}
