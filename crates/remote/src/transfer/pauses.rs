//! Hosts that asked to be left alone: nobody sends to them before the time is over.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::retry::Retry;

/// Pauses by host. Pure; whoever holds it tells the time.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    hosts: HashMap<Box<str>, Pause>,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    /// Pauses in a row, without a success between them.
    strikes: u32,
}

impl Pauses {
    /// `host` has answered that there are too many requests, and may have said how long to wait. Several answers to
    /// requests that were under way together are one strike.
    pub(super) fn strike(
        &mut self,
        host: &str,
        asked: Option<Duration>,
        ladder: &Retry,
        now: Instant,
    ) -> Instant {
        let pause = self.hosts.entry(host.into()).or_insert_with(|| Pause { until: now, strikes: 0 });
        if pause.until <= now {
            pause.strikes = pause.strikes.saturating_add(1);
        }
        let wait = match asked {
            Some(asked) if !asked.is_zero() => asked,
            _ => ladder.step(pause.strikes),
        };
        pause.until = pause.until.max(now + wait);
        pause.until
    }

    /// `host` has served a request: what comes next is not the next strike in a row.
    pub(super) fn served(&mut self, host: &str, now: Instant) {
        if self.hosts.get(host).is_some_and(|pause| pause.until <= now) {
            self.hosts.remove(host);
        }
    }

    /// When requests may be sent to `host` again, if not now.
    pub(super) fn until(&self, host: &str, now: Instant) -> Option<Instant> {
        self.hosts.get(host).map(|pause| pause.until).filter(|until| *until > now)
    }
}
