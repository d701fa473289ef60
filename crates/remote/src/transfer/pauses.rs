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
    /// The end of the one before it.
    before: Instant,
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
        let pause =
            self.hosts.entry(host.into()).or_insert_with(|| Pause { before: now, until: now, strikes: 0 });
        if pause.until <= now {
            pause.before = pause.until;
            pause.strikes = pause.strikes.saturating_add(1);
        }
        let wait = match asked {
            Some(asked) if !asked.is_zero() => asked,
            _ => ladder.step(pause.strikes),
        };
        pause.until = pause.until.max(now + wait);
        pause.until
    }

    /// `host` has served a request that was `sent` then: what comes next is not the next strike in a row. Not so where
    /// the request is from before the pause before this one: that says nothing about what the host takes by now.
    pub(super) fn served(&mut self, host: &str, sent: Instant, now: Instant) {
        let Some(pause) = self.hosts.get_mut(host) else { return };
        if pause.until <= now {
            self.hosts.remove(host);
        } else if sent >= pause.before {
            pause.strikes = 0;
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
        pauses.served("a", now, now);
        assert_eq!(pauses.strike("a", None, &LADDER, now), now + seconds(1));
    }

    /// Row 26b: of requests that were sent together some are refused and some served; in which order the answers come
    /// makes no difference.
    #[tokio::test(start_paused = true)]
    async fn one_that_is_served_beside_one_that_is_refused_ends_the_row() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        let first = pauses.strike("a", None, &LADDER, now);
        let second = pauses.strike("a", None, &LADDER, first);
        assert_eq!(second, first + seconds(2));
        // Sent before all that, and slow.
        pauses.served("a", now - seconds(1), first);
        let third = pauses.strike("a", None, &LADDER, second);
        assert_eq!(third, second + seconds(4));
        // Sent together with what was refused the last time. The pause is not cut short by it.
        pauses.served("a", second, second);
        assert_eq!(pauses.until("a", second), Some(third));
        assert_eq!(pauses.strike("a", None, &LADDER, third), third + seconds(1));
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
        pauses.served("a", now, now + seconds(1));
        assert_eq!(pauses.until("a", now + seconds(1)), Some(now + seconds(9)));
    }
}
