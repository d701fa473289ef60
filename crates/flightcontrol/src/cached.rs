//! A group that remembers.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Failure};
use crate::group::Group;
use crate::progress::{Item, Sink};
use crate::work::Context;

type Remembered<T, E> = Result<T, Arc<E>>;

/// A [`Group`] that keeps every success, so that work of a key succeeds at most once in its life.
///
/// It never forgets and has **no bound**: for a handful of keys that live as long as the group (a host's
/// configuration), not for keys that come with the data.
///
/// Cancelled runs, personal errors and panics are never remembered; errors only if
/// [`CachedGroup::remember_errors`] asks for it.
pub struct CachedGroup<K, T, E, P: Item = ()>
where
    K: Eq + Hash,
{
    group: Group<K, T, Arc<E>, P>,
    memory: Arc<Memory<K, T, E>>,
    errors: bool,
}

impl<K, T, E, P> CachedGroup<K, T, E, P>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + 'static,
    E: Send + Sync + 'static,
    P: Item,
{
    /// Makes a group that remembers successes.
    #[must_use]
    pub fn new() -> Self {
        Self { group: Group::new(), memory: Arc::new(Memory(Mutex::default())), errors: false }
    }

    /// Remembers errors as well: the first [`Failure::Shared`] of a key is its answer for good, unless the run had been
    /// cancelled by then.
    #[must_use]
    pub fn remember_errors(mut self) -> Self {
        self.errors = true;
        self
    }

    /// Gives the remembered answer of `key`, or runs as [`Group::run`] does.
    ///
    /// # Errors
    /// As [`Group::run`]; a remembered error is [`Error::Failed`], and the same one each time.
    ///
    /// # Panics
    /// As [`Group::run`].
    pub async fn run<W, F>(&self, key: K, work: W) -> Result<T, Error<E>>
    where
        W: FnOnce(Context<P>) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure<E>>> + Send + 'static,
    {
        self.wait(key, work, None).await
    }

    /// Like [`CachedGroup::run`], with a watcher. It sees nothing where the answer is remembered.
    ///
    /// # Errors
    /// As [`CachedGroup::run`].
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

    async fn wait<W, F>(&self, key: K, work: W, sink: Option<Sink<P>>) -> Result<T, Error<E>>
    where
        W: FnOnce(Context<P>) -> F + Send + 'static,
        F: Future<Output = Result<T, Failure<E>>> + Send + 'static,
    {
        if let Some(known) = self.memory.recall(&key) {
            return known.map_err(Error::Failed);
        }
        let (memory, errors, remembered) = (Arc::clone(&self.memory), self.errors, key.clone());
        let work = move |context| async move { memory.answer(remembered, errors, context, work).await };
        self.group.wait(key, work, sink).await.map_err(flatten)
    }

    /// Closes as [`Group::close`] does. Remembered answers are still given: they start nothing.
    pub async fn close(&self) {
        self.group.close().await;
    }
}

impl<K, T, E, P> Default for CachedGroup<K, T, E, P>
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

impl<K: Eq + Hash, T, E, P: Item> fmt::Debug for CachedGroup<K, T, E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedGroup")
            .field("group", &self.group)
            .field("remembered", &self.memory.answers().len())
            .field("errors", &self.errors)
            .finish()
    }
}

/// The answers so far.
struct Memory<K, T, E>(Mutex<HashMap<K, Remembered<T, E>>>);

impl<K: Eq + Hash, T, E> Memory<K, T, E> {
    fn answers(&self) -> MutexGuard<'_, HashMap<K, Remembered<T, E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, key: &K) -> Option<Remembered<T, E>>
    where
        T: Clone,
    {
        self.answers().get(key).cloned()
    }

    /// Runs inside the flight, so that the answer is here before the key is free again. Looks first: the caller may
    /// have found nothing just before an earlier run put its answer here.
    async fn answer<P, F>(
        &self,
        key: K,
        errors: bool,
        context: Context<P>,
        work: impl FnOnce(Context<P>) -> F,
    ) -> Result<T, Failure<Arc<E>>>
    where
        T: Clone,
        P: Item,
        F: Future<Output = Result<T, Failure<E>>>,
    {
        if let Some(known) = self.recall(&key) {
            return known.map_err(Failure::Shared);
        }
        let answer = match work(context.clone()).await {
            Ok(value) => Ok(value),
            Err(Failure::Shared(error)) => Err(Arc::new(error)),
            Err(Failure::Personal(error)) => return Err(Failure::Personal(Arc::new(error))),
        };
        // What work says once it was told to stop is no answer; a success is one, whoever waits for it.
        if answer.is_ok() || (errors && !context.is_cancelled()) {
            self.answers().insert(key, answer.clone());
        }
        answer.map_err(Failure::Shared)
    }
}

/// Undoes the group's sharing of an error that is shared already.
fn flatten<E>(error: Error<Arc<E>>) -> Error<E> {
    match error {
        Error::Failed(error) => Error::Failed(Arc::clone(&error)),
        // Nobody else holds it, so it comes out whole.
        Error::Personal(error) => Arc::try_unwrap(error).map_or_else(Error::Failed, Error::Personal),
        Error::Panicked(message) => Error::Panicked(message),
        Error::Closed => Error::Closed,
        Error::Abandoned => Error::Abandoned,
    }
}
