//! What a caller brings, and what it is given to work with.

use std::fmt;
use std::future::Future;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::error::Failure;
use crate::progress::{Emitter, Item};

/// What work has of its run. Clones are of the same run, so that each part of the work can hold one.
pub struct Context<P: Item = ()> {
    cancel: CancellationToken,
    emitter: Emitter<P>,
}

impl<P: Item> Context<P> {
    pub(crate) fn new(cancel: CancellationToken, emitter: Emitter<P>) -> Self {
        Self { cancel, emitter }
    }

    /// The signal that nobody wants the result any more. Work that sees it cleans up and returns, with any result;
    /// work that does not look at it merely delays the next run of its key.
    ///
    /// Cancelling it oneself stops only what listens to it: it withdraws nobody's interest, and is not passed on to the
    /// closure that runs next.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Whether nobody wants the result any more. For blocking work: to be asked per chunk or entry.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Waits until nobody wants the result any more.
    pub fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.cancel.cancelled()
    }

    /// Reports progress to whoever watches, now or later. Returns at once; after the end of the run it does nothing.
    pub fn emit(&self, item: P) {
        self.emitter.emit(item);
    }
}

impl<P: Item> Clone for Context<P> {
    fn clone(&self) -> Self {
        Self { cancel: self.cancel.clone(), emitter: self.emitter.clone() }
    }
}

impl<P: Item> fmt::Debug for Context<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// A caller's closure, whatever its type.
pub(crate) type Work<T, E, P> =
    Box<dyn FnOnce(Context<P>) -> BoxFuture<'static, Result<T, Failure<E>>> + Send>;

pub(crate) fn boxed<T, E, P, W, F>(work: W) -> Work<T, E, P>
where
    P: Item,
    W: FnOnce(Context<P>) -> F + Send + 'static,
    F: Future<Output = Result<T, Failure<E>>> + Send + 'static,
{
    Box::new(move |context| work(context).boxed())
}
