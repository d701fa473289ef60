//! Errors of this crate as the solver takes them.

use lazyblob_solver::OpError;

use crate::error::Error;

/// An error that is about no input.
pub(super) fn op(error: impl Into<Error>) -> OpError {
    match error.into() {
        Error::Cancelled { .. } => OpError::Cancelled,
        Error::Cache(error) if matches!(error.root(), lazyblob_cache::Error::Cancelled { .. }) => {
            OpError::Cancelled
        }
        error => OpError::failed(error),
    }
}

/// An error about a tree that is that of an input, or has it below.
pub(super) fn of(input: Option<usize>, error: lazyblob_cache::Error) -> OpError {
    match input {
        Some(input) => crate::error::gone(input, error),
        None => op(error),
    }
}
