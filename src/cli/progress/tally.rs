//! What has become of the blobs of a run, in numbers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration};
use lazyblob::remote::Descriptor;
use lazyblob::remote::progress::State;

/// Counts blobs and bytes as events come in.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Position and size of blobs whose bytes are moving.
    moving: HashMap<String, (u64, u64)>,
    known: u64,
    ended: HashMap<State, u64>,
    moved: u64,
    began: Option<Instant>,
}

impl Tally {
    pub(super) fn start(&mut self, blob: &Descriptor, state: State, now: Instant) {
        self.began.get_or_insert(now);
        if matches!(state, State::Downloading | State::Uploading) {
            self.moving.insert(blob.digest().to_string(), (0, blob.size()));
        } else {
            self.known += 1;
        }
    }

    pub(super) fn advance(&mut self, blob: &Descriptor, position: u64) {
        if let Some(moving) = self.moving.get_mut(blob.digest().as_ref()) {
            moving.0 = position;
        }
    }

    pub(super) fn finish(&mut self, blob: &Descriptor, state: State) {
        if self.moving.remove(blob.digest().as_ref()).is_some() && state == State::Done {
            self.moved = self.moved.saturating_add(blob.size());
        }
        *self.ended.entry(state).or_default() += 1;
    }

    fn of(&self, state: State) -> u64 {
        self.ended.get(&state).copied().unwrap_or_default()
    }

    /// Where things stand: `3 of 7 blobs, 30 MiB of 120 MiB, 25 MiB/s, 4 seconds left`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a speed for people")]
    pub(super) fn standing(&self, now: Instant) -> String {
        let (ended, known) = (self.ended.values().sum::<u64>(), self.known);
        let position =
            self.moving.values().fold(self.moved, |sum, (position, _)| sum.saturating_add(*position));
        let size = self.moving.values().fold(self.moved, |sum, (_, size)| sum.saturating_add(*size));
        let speed = position as f64 / self.elapsed(now).as_secs_f64().max(0.001);
        let left = Duration::try_from_secs_f64(size.saturating_sub(position) as f64 / speed);
        let left = left.map_or_else(|_| "unknown time".to_owned(), |left| HumanDuration(left).to_string());
        let (position, size, speed) = (HumanBytes(position), HumanBytes(size), HumanBytes(speed as u64));
        format!("{ended} of {known} blobs, {position} of {size}, {speed}/s, {left} left")
    }

    /// What it came to: `7 blobs: 5 mounted, 1 present, 1 moved (12 MiB) in 0.4 s`; nothing where there were no blobs.
    pub(super) fn outcome(&self, now: Instant) -> Option<String> {
        if self.known == 0 {
            return None;
        }
        let mut parts = Vec::new();
        for (state, word) in
            [(State::Mounted, "mounted"), (State::Present, "present"), (State::Failed, "failed")]
        {
            if self.of(state) > 0 {
                parts.push(format!("{} {word}", self.of(state)));
            }
        }
        parts.push(format!("{} moved ({})", self.of(State::Done), HumanBytes(self.moved)));
        let (ended, all) = (self.ended.values().sum::<u64>(), self.known);
        if ended < all {
            parts.push(format!("{} unfinished", all - ended));
        }
        let blobs = if all == 1 { "blob" } else { "blobs" };
        Some(format!("{all} {blobs}: {} in {:.1} s", parts.join(", "), self.elapsed(now).as_secs_f64()))
    }

    fn elapsed(&self, now: Instant) -> Duration {
        self.began.map(|began| now.duration_since(began)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use lazyblob::remote::digest::sha256;

    use super::*;

    #[test]
    fn numbers_add_up() {
        let now = Instant::now();
        let blob = |fill: u8| Descriptor::new("x".into(), 1024, sha256(&[fill]));
        let mut tally = Tally::default();
        assert_eq!(tally.outcome(now), None);
        for at in 0..3 {
            tally.start(&blob(at), State::Waiting, now);
        }
        tally.finish(&blob(0), State::Mounted);
        tally.start(&blob(1), State::Uploading, now);
        tally.advance(&blob(1), 512);
        let later = now + Duration::from_secs(1);
        assert_eq!(tally.standing(later), "1 of 3 blobs, 512 B of 1.00 KiB, 512 B/s, 1 second left");
        tally.finish(&blob(1), State::Done);
        assert!(tally.outcome(later).unwrap().ends_with("1 moved (1.00 KiB), 1 unfinished in 1.0 s"));
        tally.finish(&blob(2), State::Present);
        let outcome = tally.outcome(later).unwrap();
        assert_eq!(outcome, "3 blobs: 1 mounted, 1 present, 1 moved (1.00 KiB) in 1.0 s");
    }
}
