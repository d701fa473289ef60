//! What has become of the blobs of a run, and in numbers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};
use lazyblob::remote::progress::{Meter, State};
use lazyblob::remote::{Descriptor, Digest};
use tokio::time::Instant;

/// Knows the state of each blob, and counts blobs and bytes, as events come in.
#[derive(Debug, Default)]
pub(super) struct Tally {
    blobs: HashMap<Digest, Blob>,
    known: u64,
    /// Blobs announced.
    expected: u64,
    ended: HashMap<State, u64>,
    moved: u64,
    meter: Meter,
    began: Option<Instant>,
    /// What is done beside whatever moves, and since when.
    doing: Option<(String, Instant)>,
}

/// One blob of a run.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) state: State,
    /// Since when it is in this state.
    pub(super) since: Instant,
    /// The newest position told.
    pub(super) position: Option<u64>,
    /// When its bytes began to move.
    pub(super) moving_since: Option<Instant>,
    /// Its number among the blobs of the run.
    pub(super) order: u64,
}

impl Tally {
    /// So many more blobs are to come.
    pub(super) fn expect(&mut self, blobs: usize) {
        self.expected += blobs as u64;
    }

    /// A blob enters `state`. Gives the blob, and whether that is another phase and not a second less of a countdown.
    pub(super) fn start(&mut self, blob: &Descriptor, state: State, now: Instant) -> (Blob, bool) {
        self.began.get_or_insert(now);
        self.meter.start(blob, state, now);
        let (known, new) = self.blob(blob, state, now);
        let other_phase = new || known.state.word() != state.word();
        // All of it was there: it moves from the beginning, once more or to another place.
        let again = known.state == State::Verifying && state.is_moving();
        (known.state, known.since) = (state, now);
        if state.is_moving() {
            known.moving_since.get_or_insert(now);
        }
        if again {
            known.position = None;
        }
        (known.clone(), other_phase)
    }

    pub(super) fn advance(&mut self, blob: &Descriptor, position: u64, now: Instant) {
        self.meter.advance(blob, position, now);
        if let Some(known) = self.blobs.get_mut(blob.digest()) {
            known.position = Some(position);
        }
    }

    /// A blob has ended; it is known still, so that a screen can show how.
    pub(super) fn finish(&mut self, blob: &Descriptor, state: State, now: Instant) -> Blob {
        self.meter.finish(blob, state);
        let (known, _) = self.blob(blob, state, now);
        (known.state, known.since) = (state, now);
        let known = known.clone();
        if state == State::Done {
            self.moved = self.moved.saturating_add(blob.size());
        }
        *self.ended.entry(state).or_default() += 1;
        known
    }

    /// The blob, and whether it is a new one. One that has ended may come again: another image has it too.
    fn blob(&mut self, blob: &Descriptor, state: State, now: Instant) -> (&mut Blob, bool) {
        match self.blobs.entry(blob.digest().clone()) {
            Entry::Occupied(known) if !known.get().state.is_final() => (known.into_mut(), false),
            entry => {
                self.known += 1;
                let new = Blob {
                    digest: blob.digest().clone(),
                    size: blob.size(),
                    state,
                    since: now,
                    position: None,
                    moving_since: None,
                    order: self.known,
                };
                (entry.insert_entry(new).into_mut(), true)
            }
        }
    }

    /// All blobs, ended ones included, in no order.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.blobs.values()
    }

    /// From now on this is done, or nothing any more.
    pub(super) fn doing(&mut self, what: Option<&str>, now: Instant) {
        self.doing = what.map(|what| (what.to_owned(), now));
    }

    /// Whether some blob has begun and not ended, or something else is done.
    pub(super) fn is_busy(&self) -> bool {
        self.ended_in_all() < self.known || self.doing.is_some()
    }

    /// The part of all bytes that is there, 0 to 1, where that is known.
    pub(super) fn part(&self, now: Instant) -> Option<f64> {
        let reading = self.meter.read(now);
        let total = reading.total.filter(|total| *total > 0)?;
        Some(reading.position as f64 / total as f64)
    }

    /// `3 of 7`: blobs that have ended, of those known.
    pub(super) fn count(&self) -> String {
        format!("{} of {}", self.ended_in_all(), self.all())
    }

    /// Blobs that have come up or are to come up.
    fn all(&self) -> u64 {
        self.known.max(self.expected)
    }

    fn ended_in_all(&self) -> u64 {
        self.ended.values().sum()
    }

    fn of(&self, state: State) -> u64 {
        self.ended.get(&state).copied().unwrap_or_default()
    }

    /// Where things stand: `3 of 7 blobs, 30.00 MiB of 120.00 MiB, 25.00 MiB/s, 4s left, 2 waiting`. What is not known
    /// or nought is left out.
    pub(super) fn standing(&self, now: Instant) -> String {
        let mut parts = Vec::new();
        if self.all() > 0 || self.doing.is_none() {
            parts.push(format!("{} {}", self.count(), blobs(self.all())));
        }
        let reading = self.meter.read(now);
        let position = HumanBytes(reading.position);
        match reading.total {
            Some(0) => {}
            Some(total) => parts.push(format!("{position} of {}", HumanBytes(total))),
            None if parts.is_empty() => {}
            None => parts.push(position.to_string()),
        }
        if self.blobs.values().any(|blob| blob.state.is_moving()) {
            parts.push(format!("{}/s", HumanBytes(reading.speed)));
        }
        if let Some(left) = reading.left.filter(|left| !left.is_zero()) {
            parts.push(format!("{:#} left", HumanDuration(left.max(Duration::from_secs(1)))));
        }
        let waiting = self.blobs.values().filter(|blob| blob.state == State::Waiting).count();
        if waiting > 0 {
            parts.push(format!("{waiting} waiting"));
        }
        if let Some((what, since)) = &self.doing {
            let seconds = now.saturating_duration_since(*since).as_secs();
            parts.push(if seconds == 0 { what.clone() } else { format!("{what} ({seconds} s)") });
        }
        parts.join(", ")
    }

    /// What it came to: `7 blobs: 5 mounted, 1 present, 1 moved (12 MiB) in 0.4 s`; nothing where there were no blobs.
    pub(super) fn outcome(&self, now: Instant) -> Option<String> {
        if self.known == 0 {
            return None;
        }
        let mut parts = Vec::new();
        for state in [State::Mounted, State::Present, State::Failed] {
            if self.of(state) > 0 {
                parts.push(format!("{} {state}", self.of(state)));
            }
        }
        parts.push(format!("{} moved ({})", self.of(State::Done), HumanBytes(self.moved)));
        let (ended, all) = (self.ended_in_all(), self.known);
        if ended < all {
            parts.push(format!("{} unfinished", all - ended));
        }
        let elapsed = self.began.map(|began| now.saturating_duration_since(began)).unwrap_or_default();
        Some(format!("{all} {}: {} in {:.1} s", blobs(all), parts.join(", "), elapsed.as_secs_f64()))
    }
}

fn blobs(count: u64) -> &'static str {
    if count == 1 { "blob" } else { "blobs" }
}

#[cfg(test)]
mod tests {
    use lazyblob::remote::digest::sha256;

    use super::*;

    fn blob(fill: u8) -> Descriptor {
        Descriptor::new("x".into(), 1024, sha256(&[fill]))
    }

    /// Row 89b: the overall line counts blobs and bytes, and says a time left only where there is a speed.
    #[test]
    fn numbers_add_up() {
        let now = Instant::now();
        let mut tally = Tally::default();
        assert_eq!(tally.outcome(now), None);
        for at in 0..3 {
            tally.start(&blob(at), State::Waiting, now);
        }
        tally.finish(&blob(0), State::Mounted, now);
        assert_eq!(tally.standing(now), "1 of 3 blobs, 0 B of 2.00 KiB, 2 waiting");
        tally.start(&blob(1), State::Uploading, now);
        tally.advance(&blob(1), 0, now);
        assert_eq!(tally.standing(now), "1 of 3 blobs, 0 B of 2.00 KiB, 0 B/s, 1 waiting");
        let later = now + Duration::from_secs(1);
        tally.advance(&blob(1), 512, later);
        assert_eq!(tally.standing(later), "1 of 3 blobs, 512 B of 2.00 KiB, 512 B/s, 3s left, 1 waiting");
        tally.finish(&blob(1), State::Done, later);
        assert!(tally.is_busy());
        assert!(tally.outcome(later).unwrap().ends_with("1 moved (1.00 KiB), 1 unfinished in 1.0 s"));
        tally.finish(&blob(2), State::Present, later);
        let outcome = tally.outcome(later).unwrap();
        assert_eq!(outcome, "3 blobs: 1 mounted, 1 present, 1 moved (1.00 KiB) in 1.0 s");
        assert!(!tally.is_busy());
    }

    /// Row 15: only what is queued waits: what began at once is never counted as waiting, and a slot ends the wait.
    #[test]
    fn only_what_is_queued_waits() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        tally.start(&blob(0), State::Downloading, now);
        assert!(!tally.standing(now).contains("waiting"), "{}", tally.standing(now));
        tally.start(&blob(1), State::Waiting, now);
        assert!(tally.standing(now).ends_with(", 1 waiting"), "{}", tally.standing(now));
        tally.start(&blob(1), State::Downloading, now);
        assert!(!tally.standing(now).contains("waiting"), "{}", tally.standing(now));
        assert!(tally.standing(now).starts_with("0 of 2 blobs"), "counted once, however it began");
    }

    /// What is done when nothing moves is said, with how long it takes.
    #[test]
    fn what_is_done_beside_is_said() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        tally.doing(Some("unpacking 3 layers"), now);
        assert!(tally.is_busy());
        assert_eq!(tally.standing(now), "unpacking 3 layers");
        tally.start(&blob(0), State::Downloading, now);
        tally.finish(&blob(0), State::Done, now);
        let said = tally.standing(now + Duration::from_secs(7));
        assert!(said.starts_with("1 of 1 blob, "), "{said}");
        assert!(said.ends_with(", unpacking 3 layers (7 s)"), "{said}");
        tally.doing(None, now);
        assert!(!tally.is_busy() && !tally.standing(now).contains("unpacking"));
    }

    #[test]
    fn a_countdown_is_one_phase() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        let mut phase = |state| tally.start(&blob(0), state, now).1;
        assert!(phase(State::Uploading) && phase(State::Retrying { seconds: 2 }));
        assert!(!phase(State::Retrying { seconds: 1 }));
        assert!(phase(State::Uploading));
    }

    #[test]
    fn a_blob_of_two_images_counts_twice() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        for state in [State::Done, State::Present] {
            tally.start(&blob(0), State::Uploading, now);
            tally.finish(&blob(0), state, now);
        }
        assert_eq!(tally.outcome(now).unwrap(), "2 blobs: 1 present, 1 moved (1.00 KiB) in 0.0 s");
    }
}
