//! The solver as an embedder has it.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::job::{Job, JobOptions};
use crate::scheduler::{self, Mailbox, Message};
use crate::settings::Settings;
use crate::status::{Journal, Status};
use crate::store::CacheIndex;
use crate::value::Value;

/// Computes graphs of ops, each op at most once for whoever wants it, and none that a cache makes unnecessary.
///
/// It has one task, which owns all state. Clones are the same solver.
#[derive(Clone)]
pub struct Solver<R: Value> {
    mailbox: Mailbox<R>,
    log_limit: usize,
    tasks: TaskTracker,
}

impl<R: Value> Solver<R> {
    /// A solver that remembers in `cache`. Must be called within a tokio runtime with a clock.
    #[must_use]
    pub fn new(cache: Arc<CacheIndex<R>>, settings: Settings) -> Self {
        let (tasks, log_limit) = (TaskTracker::new(), settings.log_limit);
        let mailbox = scheduler::start(cache, settings, &tasks);
        tasks.close();
        Self { mailbox, log_limit, tasks }
    }

    /// Opens a job.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn job(&self, options: JobOptions<R>) -> Result<Job<R>> {
        let journal = Arc::new(Journal::new(self.log_limit));
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(Message::Open { options, journal: Arc::clone(&journal), reply });
        let id = answer.await.map_err(|_| Error::Closed)?;
        Ok(Job { id, mailbox: self.mailbox.clone(), journal })
    }

    /// What a job tells, from its beginning: for those who have its id alone. A job that was discarded is still known for
    /// a time ([`Settings::status_grace`]).
    ///
    /// # Errors
    /// [`Error::UnknownJob`] for one that was discarded longer ago or never was; [`Error::Closed`].
    pub async fn status(&self, job: JobId) -> Result<Status> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(Message::Journal { job, reply });
        let journal = answer.await.map_err(|_| Error::Closed)??;
        Ok(Status::of(journal))
    }

    /// Ends all jobs and waits until all work has returned.
    pub async fn close(&self) {
        self.mailbox.send(Message::Close);
        self.tasks.wait().await;
    }
}
