//! Sockets of agents: one of our own for each, so that it can belong to whom the definition says.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::secret::give;
use crate::error::{Error, Result};
use crate::llb::pb::SshOpt;
use crate::session::Session;

/// What a mount means that names no agent.
const DEFAULT: &str = "default";

/// The socket of the agent that a mount wants, of the first session that has one; nothing where none has and it may be absent.
///
/// # Errors
/// [`Error::Failed`], naming it.
pub(super) fn find(sessions: &[Arc<Session>], opt: &SshOpt) -> Result<Option<PathBuf>> {
    let id = if opt.id.is_empty() { DEFAULT } else { &opt.id };
    let failed = |reason: String| Error::failed("find agent", id, reason);
    let Some(socket) = sessions.iter().find_map(|session| session.ssh.get(id)).cloned() else {
        let reason = || failed(format!("nobody has it who builds this: add `--ssh {id}`"));
        return if opt.optional { Ok(None) } else { Err(reason()) };
    };
    match std::fs::metadata(&socket) {
        Ok(found) if found.file_type().is_socket() => Ok(Some(socket)),
        Ok(_) => Err(failed(format!("{} is no socket", socket.display()))),
        Err(error) => Err(failed(format!("{}: {error}", socket.display()))),
    }
}

/// Sockets that hand on to agents, as long as this lives.
#[derive(Debug, Default)]
pub(super) struct Agents {
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Agents {
    /// Makes a socket in `directory` that hands on to that of `agent`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn forward(
        &self,
        directory: &Path,
        number: usize,
        opt: &SshOpt,
        agent: PathBuf,
    ) -> Result<PathBuf> {
        let path = directory.join(format!("socket-{number}"));
        let made = UnixListener::bind(&path)
            .and_then(|listener| give(&path, opt.uid, opt.gid, opt.mode).map(|()| listener));
        let listener = made.map_err(|error| Error::io("forward agent", &path, error))?;
        let (end, tasks) = (self.end.clone(), self.tasks.clone());
        self.tasks.spawn(async move {
            while let Some(Ok((here, _))) = end.run_until_cancelled(listener.accept()).await {
                let (end, agent) = (end.clone(), agent.clone());
                tasks.spawn(async move {
                    end.run_until_cancelled(hand_on(here, &agent)).await;
                });
            }
        });
        Ok(path)
    }

    /// Closes all of them, and waits for that.
    pub(super) async fn close(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn hand_on(mut here: UnixStream, agent: &Path) {
    let handed = async {
        let mut there = UnixStream::connect(agent).await?;
        tokio::io::copy_bidirectional(&mut here, &mut there).await
    };
    if let Err(error) = handed.await {
        tracing::debug!(%error, agent = %agent.display(), "a connection to an agent");
    }
}
