//! How a run can end without a value, as the work says it and as a caller hears it.

use std::sync::Arc;

/// What the work returns instead of a value. `?` on an `E` makes it [`Failure::Shared`].
#[derive(Debug)]
pub enum Failure<E> {
    /// The thing itself failed: everybody present gets this error.
    Shared(E),
    /// The trouble is the caller's own (its credentials, its session, its deadline), not the thing's. Only the caller
    /// whose closure ran gets the error; the next waiter's closure runs in its place.
    Personal(E),
}

impl<E> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Self::Shared(error)
    }
}

/// Why a caller got no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The work failed. Everybody who was present holds the same error.
    #[error(transparent)]
    Failed(Arc<E>),
    /// This caller's own closure failed for a reason of its own; nobody else sees it.
    #[error(transparent)]
    Personal(E),
    /// The work panicked with this message. Everybody who was present gets it; the next caller starts anew.
    #[error("the shared work panicked: {0}")]
    Panicked(Arc<str>),
    /// The group was closed before a run for this caller had begun.
    #[error("the single-flight group is closed")]
    Closed,
    /// The runtime that drove the work was shut down under it. A caller on a living runtime may ask again,
    /// but what the work left in `spawn_blocking` may then still be running.
    #[error("the runtime of the shared work was shut down")]
    Abandoned,
}
