//! The wait before another try, in words and second by second.

use std::time::Duration;

use tokio::time;

/// `retrying in 3 seconds`, `retrying in 1 second`, `retrying now`.
#[must_use]
pub fn retrying(seconds: u64) -> String {
    match seconds {
        0 => "retrying now".to_owned(),
        1 => "retrying in 1 second".to_owned(),
        _ => format!("retrying in {seconds} seconds"),
    }
}

/// Whole seconds in which `wait` is surely over.
#[must_use]
pub fn seconds_left(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

/// Waits for `wait`, and tells the seconds left: at once, and whenever there is one less. Dropping the future ends the
/// wait.
pub async fn count_down(wait: Duration, mut tell: impl FnMut(u64)) {
    let mut left = wait;
    while !left.is_zero() {
        let seconds = seconds_left(left);
        tell(seconds);
        let rest = Duration::from_secs(seconds - 1);
        time::sleep(left - rest).await;
        left = rest;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Row 23b: one second is singular, all others are plural.
    #[test]
    fn one_second_is_singular() {
        assert_eq!(retrying(1), "retrying in 1 second");
        assert_eq!(retrying(2), "retrying in 2 seconds");
        assert_eq!(retrying(20), "retrying in 20 seconds");
        assert_eq!(retrying(0), "retrying now");
    }

    /// Row 23b: a wait is never said to be shorter than it is.
    #[test]
    fn seconds_are_rounded_up() {
        let seconds = [0, 1, 999, 1000, 1001, 2500].map(|ms| seconds_left(Duration::from_millis(ms)));
        assert_eq!(seconds, [0, 1, 1, 1, 2, 3]);
        assert_eq!(seconds_left(Duration::MAX), u64::MAX);
    }

    /// Row 23b: an event each second, and the wait is as long as it was to be.
    #[tokio::test(start_paused = true)]
    async fn a_countdown_tells_each_second() {
        let began = Instant::now();
        let mut told = Vec::new();
        count_down(Duration::from_millis(3400), |seconds| told.push((began.elapsed().as_millis(), seconds)))
            .await;
        assert_eq!(told, [(0, 4), (400, 3), (1400, 2), (2400, 1)]);
        assert_eq!(began.elapsed(), Duration::from_millis(3400));

        count_down(Duration::ZERO, |seconds| panic!("{seconds} seconds of nothing")).await;
    }

    /// Row 23b: who does not wait to the end hears no more of it.
    #[tokio::test(start_paused = true)]
    async fn a_countdown_that_is_dropped_is_silent() {
        let mut told = Vec::new();
        let wait = count_down(Duration::from_secs(5), |seconds| told.push(seconds));
        assert!(time::timeout(Duration::from_millis(1500), wait).await.is_err());
        assert_eq!(told, [5, 4]);
    }
}
