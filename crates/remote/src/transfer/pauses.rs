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

    /// The same for those in line: a pause longer than `longest` holds nobody up there. Whoever begins in it is told how
    /// long it is, at once and without a request.
    pub(super) fn worth_waiting_for(&self, host: &str, longest: Duration, now: Instant) -> Option<Instant> {
        self.until(host, now).filter(|until| until.saturating_duration_since(now) <= longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LADDER: Retry = Retry {
        tries: 6,
        first: Duration::from_secs(1),
        cap: Duration::from_secs(6),
        longest_asked: Duration::from_secs(120),
        jitter: 0.0,
    };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Row 26a: a host is left alone for as long as it asks, and others are not.
    #[tokio::test(start_paused = true)]
    async fn a_host_is_left_alone_for_as_long_as_it_asks() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        let until = pauses.strike("a", Some(seconds(30)), &LADDER, now);
        assert_eq!(until, now + seconds(30));
        assert_eq!(pauses.until("a", now + seconds(29)), Some(until));
        assert_eq!(pauses.until("a", until), None);
        assert_eq!(pauses.until("b", now), None);
    }

    /// Row 26a: who stands in line does not wait for the end of a pause past the cap.
    #[tokio::test(start_paused = true)]
    async fn a_pause_past_the_cap_is_not_worth_waiting_for() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        let until = pauses.strike("a", Some(seconds(200)), &LADDER, now);
        let waits = |later| pauses.worth_waiting_for("a", LADDER.longest_asked, now + seconds(later));
        assert_eq!([0, 79, 80, 199, 200].map(waits), [None, None, Some(until), Some(until), None]);
    }

    /// Row 26b: who does not say how long is left alone for longer each time, up to the cap; a success begins anew.
    #[tokio::test(start_paused = true)]
    async fn strikes_in_a_row_climb_the_ladder_until_one_request_is_served() {
        let (mut pauses, mut now) = (Pauses::default(), Instant::now());
        for asked in [None, Some(Duration::ZERO), None, None, None] {
            now = pauses.strike("a", asked, &LADDER, now);
        }
        let ladder = [1, 2, 4, 6, 6].map(seconds);
        assert_eq!(now.duration_since(Instant::now()), ladder.iter().sum::<Duration>());
        pauses.served("a", now);
        assert_eq!(pauses.strike("a", None, &LADDER, now), now + seconds(1));
    }

    /// Row 26b: answers to requests that were under way together are one strike, and the longest wait counts.
    #[tokio::test(start_paused = true)]
    async fn a_volley_is_one_strike() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(pauses.strike("a", None, &LADDER, now), now + seconds(1));
        }
        assert_eq!(pauses.strike("a", Some(seconds(9)), &LADDER, now), now + seconds(9));
        assert_eq!(
            pauses.strike("a", Some(seconds(3)), &LADDER, now),
            now + seconds(9),
            "it does not shrink"
        );
        // What was sent before the pause and is served in it says nothing about what comes after.
        pauses.served("a", now + seconds(1));
        assert_eq!(pauses.until("a", now + seconds(1)), Some(now + seconds(9)));
    }
}
