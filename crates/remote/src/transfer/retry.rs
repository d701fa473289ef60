//! The ladder of retries: exponential with jitter, and the wait a host asks for.

use std::future::Future;
use std::time::Duration;

use crate::access::Access;
use crate::error::{Error, Result};

/// How often and how patiently a transient failure is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Tries in all; 1 is "try once".
    pub tries: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first: Duration,
    /// The longest wait of the ladder.
    pub cap: Duration,
    /// The longest wait a host may ask for by Retry-After; beyond it we give up and say so.
    pub longest_asked: Duration,
    /// The part of a wait that is random, 0 to 1: many clients that failed together must not come back together.
    pub jitter: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 6,
            first: Duration::from_millis(500),
            cap: Duration::from_secs(20),
            longest_asked: Duration::from_secs(120),
            jitter: 0.3,
        }
    }
}

impl Retry {
    /// The wait before the next try after `failures` failures in a row of which the last is `error`, or nothing where
    /// trying again is no use.
    #[must_use]
    pub fn wait_after(&self, failures: u32, error: &Error) -> Option<Duration> {
        if !error.is_transient() || failures >= self.tries {
            return None;
        }
        // A host that refuses again and again is left alone for longer and longer by all, which is the scheduler's to see
        // to. One request that meets several refusals while the host serves others has no reason to wait longer itself.
        let refused = matches!(error.root(), Error::RateLimited { .. });
        let ladder = self.step(if refused { 1 } else { failures });
        let random = ladder.mul_f64(self.jitter.clamp(0.0, 1.0) * fastrand::f64());
        match error.retry_after() {
            Some(asked) if asked > self.longest_asked => None,
            // "At once" would be a hot loop; the ladder is no longer than a patient host expects.
            Some(Duration::ZERO) | None => Some(ladder.mul_f64(1.0 - self.jitter.clamp(0.0, 1.0)) + random),
            // Never earlier than asked; the jitter keeps the crowd apart.
            Some(asked) => Some(asked + random.min(asked)),
        }
    }

    /// The ladder's wait after `failures` failures in a row, without jitter.
    pub(super) fn step(&self, failures: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(self.cap)
    }

    /// Runs `attempt` until it succeeds, fails for good or the tries are used up. Dropping the future ends the wait.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn run<T, F>(&self, access: &Access, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut failures = 0;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            failures += 1;
            self.pause(access, failures, error).await?;
        }
    }

    /// Waits as the ladder says after `error`, or returns it where trying again is no use.
    pub(super) async fn pause(&self, access: &Access, failures: u32, error: Error) -> Result<()> {
        tokio::time::sleep(self.due(access, failures, &error).ok_or(error)?).await;
        Ok(())
    }

    /// The wait that the ladder says after `error`, which whoever watches is told; nothing where trying again is no use.
    pub(super) fn due(&self, access: &Access, failures: u32, error: &Error) -> Option<Duration> {
        let wait = self.wait_after(failures, error)?;
        access.progress.retry(error, wait);
        tracing::debug!(%error, ?wait, failures, "retrying");
        Some(wait)
    }
}
