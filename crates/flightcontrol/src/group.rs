//! The group: one run per key at a time, for as long as anybody wants it.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{Error, Failure};
use crate::owner::{Owner, Shared};
use crate::progress::{Item, Sink};
use crate::table::{Ticket, Waiter};
use crate::work::{Context, boxed};

/// Runs work once per key at a time, whoever asks, and gives the outcome to all who are present at its end.
///
/// `K` must carry everything that changes the outcome: callers with equal keys get each other's results. `T` is cloned
/// for each waiter; make it an `Arc` if that is dear. `E` is the work's error, `P` its progress [`Item`].
///
/// Nothing is remembered after a run. Where the result is kept (a store, a table), the work looks there first: a
/// caller may have looked just before another one's run had finished.
///
/// The crate's documentation has the rules in full.
pub struct Group<K, T, E, P: Item = ()>
where
    K: Eq + Hash,
{
    shared: Arc<Shared<K, T, E, P>>,
}

impl<K, T, E, P> Group<K, T, E, P>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + 'static,
    E: Send + Sync + 'static,
    P: Item,
{
    /// Makes a group with nothing under way.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::new()) }
    }

    /// Joins the run of `key` or starts one, and waits for its end.
    ///
    /// `work` runs only if it is this caller's turn: as the first of its generation, or after those before it failed
    /// with [`Failure::Personal`]. It runs in a task of the group, in this caller's tracing span, on the runtime of the
    /// caller that found the key free; dropping the future returned here never drops it half-way. It must not run its
    /// own key in its own group: it would wait for itself.
    ///
    /// Dropping the future withdraws this caller's interest, at any point.
    ///
    /// # Errors
    /// [`Error::Failed`] and [`Error::Panicked`] with all who are present, [`Error::Personal`] for this caller alone,
    /// [`Error::Closed`] after [`Group::close`], [`Error::Abandoned`] if the runtime of the work was shut down.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn run<W, F>(&self, key: K, work: W) -> Result<T, Error<E>>
    where
        W: FnOnce(Context<P>) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure<E>>> + Send + 'static,
    {
        self.wait(key, work, None).await
    }

    /// Like [`Group::run`]; the [`Watcher`](crate::Watcher) of `sink` sees how the run goes, whoever's closure runs.
    ///
    /// # Errors
    /// As [`Group::run`].
    ///
    /// # Panics
    /// As [`Group::run`].
    pub async fn run_with_progress<W, F>(&self, key: K, work: W, sink: Sink<P>) -> Result<T, Error<E>>
    where
        W: FnOnce(Context<P>) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure<E>>> + Send + 'static,
    {
        self.wait(key, work, Some(sink)).await
    }

    pub(crate) async fn wait<W, F>(&self, key: K, work: W, sink: Option<Sink<P>>) -> Result<T, Error<E>>
    where
        W: FnOnce(Context<P>) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure<E>>> + Send + 'static,
    {
        let (attach, presence) = sink.map(Sink::split).unzip();
        let (reply, answer) = oneshot::channel();
        let span = tracing::Span::current();
        let mut interest = self.enter(key, Waiter { reply, work: Some(boxed(work)), attach, span })?;
        let answer = answer.await.unwrap_or(Err(Error::Abandoned));
        interest.answered = true;
        // With any other answer the run may go on without this caller, or never was: its watcher ends here.
        if let (Some(presence), Ok(_) | Err(Error::Failed(_) | Error::Panicked(_))) = (presence, &answer) {
            presence.stayed();
        }
        answer
    }

    fn enter(&self, key: K, waiter: Waiter<T, E, P>) -> Result<Interest<'_, K, T, E, P>, Error<E>> {
        let runtime = Handle::current();
        // Counted first, then looked: either `close` waits for what this caller starts, or this caller sees it closed.
        let _counted = self.shared.owners.token();
        if self.shared.owners.is_closed() {
            return Err(Error::Closed);
        }
        let entered = self.shared.table().enter(key.clone(), waiter);
        if entered.opened {
            let owner = Owner::of(Arc::clone(&self.shared), key.clone());
            self.shared.owners.spawn_on(owner.run(), &runtime);
        }
        if let Some((attach, feed)) = entered.feed {
            attach.to(feed);
        }
        Ok(Interest { shared: &self.shared, key, ticket: entered.ticket, answered: false })
    }

    /// Refuses new callers from now on, and waits until all work has returned, cancelled work included.
    ///
    /// Work that somebody still waits for is not cancelled: it goes on and its waiters are served. To end sooner, drop
    /// them. Those queued behind a cancelled run get [`Error::Closed`]. Dropping this future leaves the group closed;
    /// it can be awaited again, by many.
    pub async fn close(&self) {
        self.shared.owners.close();
        self.shared.owners.wait().await;
    }

    /// Counts the keys under way, cancelled runs included. No key is counted any more when its waiters are told.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.table().len()
    }
}

impl<K, T, E, P> Default for Group<K, T, E, P>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + 'static,
    E: Send + Sync + 'static,
    P: Item,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Eq + Hash, T, E, P: Item> Drop for Group<K, T, E, P> {
    /// Cancels what is still under way and waits for nothing; [`Group::close`] does.
    fn drop(&mut self) {
        let tokens = self.shared.table().tokens();
        for token in tokens {
            token.cancel();
        }
    }
}

impl<K: Eq + Hash, T, E, P: Item> fmt::Debug for Group<K, T, E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("in_flight", &self.shared.table().len()).finish_non_exhaustive()
    }
}

/// One caller's interest in a key. Dropped before the answer, it is withdrawn.
struct Interest<'a, K: Eq + Hash, T, E, P: Item> {
    shared: &'a Shared<K, T, E, P>,
    key: K,
    ticket: Ticket,
    answered: bool,
}

impl<K: Eq + Hash, T, E, P: Item> Drop for Interest<'_, K, T, E, P> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let left = self.shared.table().leave(&self.key, self.ticket);
        let Some(left) = left else { return };
        if let Some(cancel) = left.cancel {
            cancel.cancel();
        }
        drop(left.waiter);
    }
}
