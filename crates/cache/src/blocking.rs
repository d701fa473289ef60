//! Work that blocks, away from the runtime's own threads.

use crate::error::{Error, Result, What};

/// Runs `work` in a blocking thread and waits for its end. Dropping the future does not stop it, so it is short or looks
/// at a token. `what` is named where the runtime has shut down.
pub(crate) async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> What,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Cancelled { what: what() }),
        },
    }
}
