//! One `syncfs` for all who wait for one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Result, What};
use crate::snapshot::{Snapshotter, Staged, Synced};

type Reply = oneshot::Sender<Result<Vec<Synced>>>;

/// Gathers what is to be durable: who comes while a sync runs shares the next one.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    waiting: Arc<Mutex<Waiting>>,
    /// Whose turn it is to sync for all.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    all: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    staged: Vec<Staged>,
    reply: Reply,
}

impl Waiting {
    fn enter(&mut self, staged: Vec<Staged>, reply: Reply) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.all.push(Waiter { ticket, staged, reply });
        ticket
    }
}

/// Withdraws what waits when nobody waits for it any more.
struct Withdrawn<'a> {
    waiting: &'a Mutex<Waiting>,
    ticket: u64,
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(self.waiting);
        let at = waiting.all.iter().position(|waiter| waiter.ticket == self.ticket);
        let withdrawn = at.map(|at| waiting.all.swap_remove(at));
        drop(waiting);
        // Not under the lock: it goes to the trash.
        drop(withdrawn);
    }
}

impl Syncs {
    /// Waits until a sync that began after this call has ended. What nobody waits for any more goes to the trash; a sync
    /// that has begun is ended by `tasks`, whoever leaves.
    ///
    /// # Errors
    /// [`Error::Io`], which all of one batch share.
    pub(crate) async fn sync(
        &self,
        snapshots: &Arc<dyn Snapshotter>,
        tasks: &TaskTracker,
        staged: Vec<Staged>,
    ) -> Result<Vec<Synced>> {
        let (reply, mut answer) = oneshot::channel();
        let ticket = lock(&self.waiting).enter(staged, reply);
        let _withdrawn = Withdrawn { waiting: &self.waiting, ticket };
        let turn = self.turn.lock().await;
        if let Ok(synced) = answer.try_recv() {
            return synced;
        }
        let (snapshots, waiting) = (Arc::clone(snapshots), Arc::clone(&self.waiting));
        let synced = tasks.spawn_blocking(move || {
            let batch = std::mem::take(&mut lock(&waiting).all);
            let (staged, replies): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|waiter| (waiter.staged, waiter.reply)).unzip();
            let counts: Vec<usize> = staged.iter().map(Vec::len).collect();
            let outcomes: Vec<Result<Vec<Synced>>> =
                match snapshots.sync(staged.into_iter().flatten().collect()) {
                    Ok(synced) => {
                        let mut synced = synced.into_iter();
                        counts.iter().map(|count| Ok(synced.by_ref().take(*count).collect())).collect()
                    }
                    Err(error) => {
                        let error = Arc::new(error);
                        replies.iter().map(|_| Err(Error::Shared(Arc::clone(&error)))).collect()
                    }
                };
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Whoever has left has no use for it.
                drop(reply.send(outcome));
            }
        });
        if let Err(error) = synced.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        drop(turn);
        answer
            .await
            .unwrap_or_else(|_| Err(Error::Cancelled { what: What::new("sync snapshots", "all that wait") }))
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::ChainId;
    use crate::snapshot::{self, Places, SnapshotKey, Wanted};

    #[tokio::test]
    async fn who_leaves_takes_along_what_was_to_be_synced() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = snapshot::open(Places::below(dir.path()), Wanted::Plain).unwrap();
        let key =
            |text: &[u8]| SnapshotKey::chain(&ChainId::from_digest(lazyblob_remote::digest::sha256(text)));
        let (syncs, tasks) = (Syncs::default(), TaskTracker::new());
        let turn = syncs.turn.lock().await;
        let leaves = snapshots.stage(&key(b"leaves")).unwrap();
        let (stays, path) = (snapshots.stage(&key(b"stays")).unwrap(), leaves.directory().to_owned());
        let mut left = Box::pin(syncs.sync(&snapshots, &tasks, vec![leaves]));
        let mut kept = Box::pin(syncs.sync(&snapshots, &tasks, vec![stays]));
        assert!(futures::poll!(&mut left).is_pending() && futures::poll!(&mut kept).is_pending());
        drop(left);
        assert!(!path.exists(), "it is in the trash");
        drop(turn);
        let synced = kept.await.unwrap();
        let [synced] = synced.as_slice() else { panic!("one was to be synced") };
        assert_eq!(synced.key(), &key(b"stays"));
        assert!(synced.directory().exists());
    }
}
