//! One `syncfs` for all who wait for one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::apply::blocking;
use crate::error::{Error, Result, What};
use crate::snapshot::{Snapshotter, Staged, Synced};

type Waiting = (Staged, oneshot::Sender<Result<Synced>>);

/// Gathers what is to be durable: who comes while a sync runs shares the next one.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    waiting: Arc<Mutex<Vec<Waiting>>>,
    /// Whose turn it is to sync for all.
    turn: tokio::sync::Mutex<()>,
}

impl Syncs {
    /// Waits until a sync that began after this call has ended. What nobody waits for any more goes to the trash.
    ///
    /// # Errors
    /// [`Error::Io`], which all of one batch share.
    pub(crate) async fn sync(&self, snapshots: &Arc<dyn Snapshotter>, staged: Staged) -> Result<Synced> {
        let (reply, mut answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((staged, reply));
        let turn = self.turn.lock().await;
        if let Ok(synced) = answer.try_recv() {
            return synced;
        }
        let (snapshots, waiting) = (Arc::clone(snapshots), Arc::clone(&self.waiting));
        let what = || What::new("sync snapshots", "all that wait");
        blocking(what, move || {
            let batch = std::mem::take(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner));
            let (staged, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let outcomes: Vec<Result<Synced>> = match snapshots.sync(staged) {
                Ok(synced) => synced.into_iter().map(Ok).collect(),
                Err(error) => {
                    let error = Arc::new(error);
                    replies.iter().map(|_| Err(Error::Shared(Arc::clone(&error)))).collect()
                }
            };
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Whoever has left has no use for it.
                drop(reply.send(outcome));
            }
            Ok(())
        })
        .await?;
        drop(turn);
        answer
            .await
            .unwrap_or_else(|_| Err(Error::Cancelled { what: What::new("sync snapshots", "all that wait") }))
    }
}
