//! The owner of tasks: they are cancelled by a token, end by returning, and are joined.

use std::future::Future;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Result, What};

/// Runs work on all cores and outlives whoever asked for it, so that nothing is cut off half-way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// Runs `work` as a task of its own until it ends or `cancel` is signalled, which `work` notices where it awaits.
    /// The future returned only waits: dropping it changes nothing.
    ///
    /// # Errors
    /// The work's own; [`Error::Cancelled`]; [`Error::Unavailable`] where the work panicked.
    pub fn run<T, F>(
        &self,
        cancel: &CancellationToken,
        what: What,
        work: F,
    ) -> impl Future<Output = Result<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let cancel = cancel.clone();
        let cancelled = what.clone();
        self.tracker.spawn(async move {
            let outcome = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Error::Cancelled { what: cancelled }),
                outcome = work => outcome,
            };
            // Nobody may be waiting any more.
            let _ = sender.send(outcome);
        });
        async move {
            receiver.await.unwrap_or_else(|_| {
                let reason = "the work ended without an outcome (it panicked)".to_owned();
                Err(Error::Unavailable { what, reason, retry_after: None, transient: false })
            })
        }
    }

    /// Waits until every task has returned.
    pub async fn close(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
