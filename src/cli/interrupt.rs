//! SIGINT, SIGTERM, and SIGHUP: the terminal is gone.

use tokio::signal::unix::{SignalKind, signal as listen};

use super::exit::Failure;

/// Waits for the first of them and returns its number.
pub(crate) async fn signal() -> Result<u8, Failure> {
    let listener =
        |kind| listen(kind).map_err(|error| Failure::Local(format!("listen for signals: {error}")));
    let (mut interrupt, mut terminate) =
        (listener(SignalKind::interrupt())?, listener(SignalKind::terminate())?);
    let mut hangup = listener(SignalKind::hangup())?;
    tokio::select! {
        _ = hangup.recv() => Ok(1),
        _ = interrupt.recv() => Ok(2),
        _ = terminate.recv() => Ok(15),
    }
}
