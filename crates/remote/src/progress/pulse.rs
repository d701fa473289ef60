//! One position an interval.

use std::time::Duration;

use tokio::time::Instant;

/// Says which positions of one blob are told, so that a fast transfer is not an event for each piece of it. The first
/// position is told, then at most one an interval; one that falls is told at once, for a restart must not be taken for a
/// gap. The last one is told too if whoever emits asks [`Pulse::last`] before it tells that the blob has left its state.
///
/// ```
/// use std::time::Duration;
/// use lazyblob_remote::progress::Pulse;
/// use tokio::time::Instant;
///
/// let (mut pulse, now) = (Pulse::default(), Instant::now());
/// assert!(pulse.beat(0, now));
/// assert!(!pulse.beat(4096, now));
/// assert!(pulse.beat(8192, now + Duration::from_millis(100)));
/// assert_eq!(pulse.last(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Pulse {
    interval: Duration,
    told: Option<Instant>,
    position: u64,
    withheld: bool,
}

impl Pulse {
    /// How often a position is told unless set otherwise: what an eye can follow.
    pub const INTERVAL: Duration = Duration::from_millis(100);

    /// A pulse of one position an `interval`; every one with an interval of zero.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, told: None, position: 0, withheld: false }
    }

    /// Whether `position`, reached at `now`, is to be told.
    #[must_use = "a position that is due must be told"]
    pub fn beat(&mut self, position: u64, now: Instant) -> bool {
        let fallen = position < self.position;
        self.position = position;
        let due = match self.told {
            Some(told) => fallen || now.saturating_duration_since(told) >= self.interval,
            None => true,
        };
        if due {
            self.told = Some(now);
        }
        self.withheld = !due;
        due
    }

    /// The newest position if it has not been told; it counts as told now.
    #[must_use = "a position that was withheld must be told"]
    pub fn last(&mut self) -> Option<u64> {
        std::mem::take(&mut self.withheld).then_some(self.position)
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new(Self::INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 89a: a piece each millisecond is one position an interval, the first and the last among them, rising.
    #[tokio::test(start_paused = true)]
    async fn one_position_an_interval() {
        let mut pulse = Pulse::new(Duration::from_millis(100));
        let began = Instant::now();
        let mut told = Vec::new();
        for position in 0..=1050_u64 {
            if pulse.beat(position, Instant::now()) {
                told.push((began.elapsed().as_millis(), position));
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let expected: Vec<_> = (0..=10_u64).map(|at| (u128::from(at) * 100, at * 100)).collect();
        assert_eq!(told, expected);
        assert_eq!((pulse.last(), pulse.last()), (Some(1050), None), "once");
    }

    /// Row 89a: what is told is not told again at the end, and what is slow is told as it comes.
    #[test]
    fn nothing_is_told_twice() {
        let (mut pulse, now) = (Pulse::default(), Instant::now());
        assert_eq!(pulse.last(), None, "nothing was reached yet");
        assert!(pulse.beat(10, now));
        assert_eq!(pulse.last(), None);
        assert!(pulse.beat(20, now + Duration::from_secs(1)));
        assert_eq!(pulse.last(), None);
    }

    /// Row 89a: a restart is seen as one, even within an interval.
    #[test]
    fn a_fall_is_told_at_once() {
        let (mut pulse, now) = (Pulse::default(), Instant::now());
        assert!(pulse.beat(4096, now) && !pulse.beat(8192, now));
        assert!(pulse.beat(0, now), "below what was told");
        assert!(!pulse.beat(4096, now), "the rest keeps to the interval");
        assert_eq!(pulse.last(), Some(4096));
    }
}
