//! Work that blocks, away from the runtime's own threads.

use lazyblob_remote::What;

use crate::error::{Error, Result};

/// Runs `work` in a blocking thread and waits for its end. Dropping the future does not stop it, so it is short or looks
/// at a token. `operation` is named where the runtime has shut down.
pub(super) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_shut_down) => Err(Error::Cancelled { what: What::new(operation, "") }),
        },
    }
}
