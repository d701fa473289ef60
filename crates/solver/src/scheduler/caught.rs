//! What the code of others says, be it in a panic or too late.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::error::{Result, StoreError};

/// What a store's future says, be it in a panic. The store is called within the future: it may panic before it has one.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(said) => said,
        Err(panic) => Err(StoreError::new(format!("panicked: {}", message(&*panic)))),
    }
}

/// What an imported cache says in time; a solver that closes does not wait for it.
pub(crate) async fn within<T>(
    patience: Duration,
    closed: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, StoreError> {
    tokio::select! {
        biased;
        said = tokio::time::timeout(patience, work) => {
            said.map_err(|_| StoreError::new(format!("no answer within {patience:?}")))
        }
        () = closed.cancelled() => Err(StoreError::new("the solver is closed")),
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "not in words".to_owned())
}
