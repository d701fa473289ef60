//! SIGINT, SIGTERM, and SIGHUP: the terminal is gone.

use tokio::signal::unix::{Signal, SignalKind, signal as listen};

use super::exit::Failure;

/// Takes note of them from when it is made.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on none of them ends the process by itself.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listener =
            |kind| listen(kind).map_err(|error| Failure::Local(format!("listen for signals: {error}")));
        let (interrupt, terminate) = (listener(SignalKind::interrupt())?, listener(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup: listener(SignalKind::hangup())? })
    }

    /// Waits for the first of them and returns its number.
    pub(crate) async fn first(mut self) -> u8 {
        tokio::select! {
            _ = self.hangup.recv() => 1,
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }
}

/// Waits for the first of them and returns its number.
pub(crate) async fn signal() -> Result<u8, Failure> {
    Ok(Signals::listen()?.first().await)
}
