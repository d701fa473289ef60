//! Requests that are no transfer of a blob: a slot for each try, and no request to a host that asked to be left alone.

use std::time::Duration;

use tokio::time::Instant;

use super::engine::Transfers;
use super::lease::Lease;
use super::limits::Need;
use super::queue::Rank;
use crate::access::Access;
use crate::error::Result;

impl Transfers {
    /// Runs `verb` with the slot that `need` says and the ladder of retries. No slot is held between tries, nor while a
    /// host that is asked on the way wants to be left alone.
    ///
    /// # Errors
    /// The last try's.
    pub(crate) async fn ask<T, F>(&self, need: &Need, access: &Access, verb: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let rank = Rank { priority: access.priority, ..Rank::default() };
        let lease = Lease::new(self.scheduler().place(rank));
        let _term = lease.term();
        let mut failures = 0;
        loop {
            lease.hold(need, || ()).await;
            let error = match lease.during(verb()).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            lease.give_back();
            failures += 1;
            self.settings().retry.pause(access, failures, error).await?;
        }
    }

    /// Waits until `host` may be asked again; without the slot of the transfer that whoever asks is a part of.
    ///
    /// # Errors
    /// How long it would be, where that is too long to be waited for.
    pub(crate) async fn until_welcome(&self, host: &str) -> Result<(), Duration> {
        while let Some(until) = self.scheduler().paused_until(host) {
            let wait = until.saturating_duration_since(Instant::now());
            if wait > self.settings().retry.longest_asked {
                return Err(wait);
            }
            let over = tokio::time::sleep_until(until);
            match Lease::current() {
                Some(lease) => lease.aside(over, || ()).await,
                None => over.await,
            }
        }
        Ok(())
    }
}
