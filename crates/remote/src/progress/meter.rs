//! How far, how fast, how long still.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use oci_spec::image::{Descriptor, Digest};
use tokio::time::Instant;

use super::State;

/// A window is cut into this many slices: its memory is bounded, however many positions are told.
const SLICES: u32 = 20;

/// Sums the blobs of a run up: fed with the events of [`super::Progress`], it knows how far they are, how fast bytes
/// move and how long that will take.
///
/// The total is that of the blobs that move or are queued to. One that turns out to be there already leaves it. The
/// speed is that of the last few seconds and of bytes that moved in this run: where a blob goes on at an offset, what
/// lies before it is done but was not fast; what comes a second time after a restart counts a second time.
#[derive(Clone, Debug)]
pub struct Meter {
    under_way: HashMap<Digest, Blob>,
    /// Bytes of blobs that have ended.
    ended: u64,
    slice: Duration,
    /// When the first blob began to move.
    began: Option<Instant>,
    /// Bytes by the number of the slice in which they moved, oldest first.
    slices: VecDeque<(u128, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Blob {
    size: u64,
    /// None until the first one is told.
    position: Option<u64>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Bytes that are there.
    pub position: u64,
    /// Bytes that there will be; nothing where some blob has become larger than it was said to be, for then nobody
    /// knows.
    pub total: Option<u64>,
    /// Bytes a second over the window.
    pub speed: u64,
    /// How long the rest takes at this speed; nothing without a total or without a speed.
    pub left: Option<Duration>,
}

impl Meter {
    /// A speed over the last 5 s follows a change without dancing.
    pub const WINDOW: Duration = Duration::from_secs(5);

    /// A meter whose speed is that of the last `window`, at least a millisecond.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        let slice = window.max(Duration::from_millis(1)) / SLICES;
        Self { under_way: HashMap::new(), ended: 0, slice, began: None, slices: VecDeque::new() }
    }

    /// A blob enters `state` at `now`.
    pub fn start(&mut self, blob: &Descriptor, state: State, now: Instant) {
        if state.is_moving() {
            self.began.get_or_insert(now);
        }
        if state.is_moving() || state == State::Waiting {
            let new = Blob { size: blob.size(), position: None };
            self.under_way.entry(blob.digest().clone()).or_insert(new);
        }
    }

    /// `position` bytes of a blob are through at `now`.
    pub fn advance(&mut self, blob: &Descriptor, position: u64, now: Instant) {
        let Some(known) = self.under_way.get_mut(blob.digest()) else { return };
        let before = known.position.replace(position).unwrap_or(position);
        let moved = position.saturating_sub(before);
        if moved == 0 {
            return;
        }
        let slice = self.slice_at(now);
        match self.slices.back_mut() {
            Some((at, bytes)) if *at >= slice => *bytes = bytes.saturating_add(moved),
            _ => self.slices.push_back((slice, moved)),
        }
        self.slices.retain(|(at, _)| at + u128::from(SLICES) > slice);
    }

    /// A blob has ended in `state`.
    pub fn finish(&mut self, blob: &Descriptor, state: State) {
        let Some(known) = self.under_way.remove(blob.digest()) else { return };
        let there = match state {
            State::Done => known.size.max(known.position.unwrap_or_default()),
            // What came of it came, and no more will.
            State::Failed => known.position.unwrap_or_default(),
            _ => 0,
        };
        self.ended = self.ended.saturating_add(there);
    }

    /// Where things stand at `now`.
    #[must_use]
    pub fn read(&self, now: Instant) -> Reading {
        let blobs = self.under_way.values();
        let position = blobs.clone().filter_map(|blob| blob.position).fold(self.ended, u64::saturating_add);
        let outgrown = blobs.clone().any(|blob| blob.position > Some(blob.size));
        let total = (!outgrown).then(|| blobs.map(|blob| blob.size).fold(self.ended, u64::saturating_add));
        let speed = self.speed(now);
        let left = total.filter(|_| speed > 0).map(|total| {
            let rest = u128::from(total.saturating_sub(position)) * 1000 / u128::from(speed);
            Duration::from_millis(u64::try_from(rest).unwrap_or(u64::MAX))
        });
        Reading { position, total, speed, left }
    }

    /// Bytes a second since the beginning of the oldest slice of the window.
    fn speed(&self, now: Instant) -> u64 {
        let Some(began) = self.began else { return 0 };
        let age = now.saturating_duration_since(began).as_nanos();
        let current = self.slice_at(now);
        let oldest = (current + 1).saturating_sub(u128::from(SLICES));
        let bytes =
            self.slices.iter().filter(|(at, _)| *at >= oldest).map(|(_, bytes)| u128::from(*bytes)).sum();
        // The first instants would make a speed of any height.
        let covered = (age - (oldest * self.slice.as_nanos()).min(age)).max(self.slice.as_nanos());
        let speed = u128::saturating_mul(bytes, 1_000_000_000) / covered.max(1);
        u64::try_from(speed).unwrap_or(u64::MAX)
    }

    fn slice_at(&self, now: Instant) -> u128 {
        let age = self.began.map(|began| now.saturating_duration_since(began)).unwrap_or_default();
        age.as_nanos() / self.slice.as_nanos().max(1)
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new(Self::WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;

    fn blob(name: &str, size: u64) -> Descriptor {
        Descriptor::new("x".into(), size, sha256(name.as_bytes()))
    }

    /// A meter whose window is 2 s, and the blob `a` of 10,000 bytes that began to move at the instant returned.
    fn started() -> (Meter, Descriptor, Instant) {
        let (mut meter, a, now) = (Meter::new(Duration::from_secs(2)), blob("a", 10_000), Instant::now());
        meter.start(&a, State::Downloading, now);
        (meter, a, now)
    }

    fn after(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    /// Row 89b: the total is the sum of the sizes of what moves or is queued to; what needs no move leaves it.
    #[test]
    fn the_total_is_of_what_moves() {
        let (mut meter, a, now) = started();
        meter.advance(&a, 0, now);
        let queued = blob("b", 500);
        meter.start(&queued, State::Waiting, now);
        assert_eq!(meter.read(now).total, Some(10_500));
        meter.finish(&queued, State::Mounted);
        meter.finish(&blob("c", 7), State::Present);
        assert_eq!(meter.read(now).total, Some(10_000));

        meter.advance(&a, 4_000, now);
        let failing = blob("d", 3_000);
        meter.start(&failing, State::Uploading, now);
        meter.advance(&failing, 1_000, now);
        meter.finish(&failing, State::Failed);
        let reading = meter.read(now);
        assert_eq!((reading.position, reading.total), (5_000, Some(11_000)), "no byte of it comes any more");
        meter.finish(&a, State::Done);
        let reading = meter.read(now);
        assert_eq!((reading.position, reading.total), (11_000, Some(11_000)));
    }

    /// Row 89b: the speed is that of the window, not of the run.
    #[test]
    fn the_speed_is_that_of_the_window() {
        let (mut meter, a, now) = started();
        // 1,000 bytes a second for 4 s, then 100 a second.
        for at in 0..=40 {
            meter.advance(&a, at * 100, after(now, at * 100));
        }
        let speed = meter.read(after(now, 4_000)).speed;
        assert!((1_000..=1_060).contains(&speed), "{speed}");
        for at in 1..=40 {
            meter.advance(&a, 4_000 + at * 10, after(now, 4_000 + at * 100));
        }
        let speed = meter.read(after(now, 8_000)).speed;
        assert!((100..=106).contains(&speed), "{speed}: what is older than the window counts no more");
        assert!(meter.slices.len() <= 20);
        let reading = meter.read(after(now, 10_100));
        assert_eq!((reading.speed, reading.left), (0, None), "a stall has no end in sight");
    }

    /// Row 89b: a resumed blob is as far as it was, but its old bytes were not fast.
    #[test]
    fn an_offset_is_done_but_not_fast() {
        let (mut meter, a, now) = started();
        meter.advance(&a, 8_000, now);
        let reading = meter.read(after(now, 1_000));
        assert_eq!((reading.position, reading.speed, reading.left), (8_000, 0, None));
        meter.advance(&a, 8_500, after(now, 1_000));
        let reading = meter.read(after(now, 1_000));
        assert_eq!((reading.position, reading.speed), (8_500, 500));
        assert_eq!(reading.left, Some(Duration::from_secs(3)), "1,500 bytes at 500 a second");
    }

    /// Row 89b: a retry goes on where it was, and after a restart the same bytes move once more.
    #[test]
    fn a_restart_moves_the_same_bytes_again() {
        let (mut meter, a, now) = started();
        for (state, position, ms) in
            [(State::Downloading, 0, 0), (State::Downloading, 1_000, 200), (State::Verifying, 1_000, 200)]
        {
            meter.start(&a, state, after(now, ms));
            meter.advance(&a, position, after(now, ms));
        }
        meter.start(&a, State::Downloading, after(now, 300));
        meter.advance(&a, 0, after(now, 300));
        assert_eq!(meter.read(after(now, 500)).position, 0);
        meter.advance(&a, 600, after(now, 500));
        let reading = meter.read(after(now, 500));
        assert_eq!((reading.position, reading.speed), (600, 3_200), "1,600 bytes in half a second");
    }

    /// Row 89b: without a total there is no time left.
    #[test]
    fn a_size_that_was_wrong_is_no_total() {
        let (mut meter, _, now) = started();
        let unsized_blob = blob("b", 0);
        meter.start(&unsized_blob, State::Downloading, now);
        meter.advance(&unsized_blob, 0, now);
        assert_eq!(meter.read(now).total, Some(10_000), "an empty blob is one");
        meter.advance(&unsized_blob, 64, after(now, 1_000));
        let reading = meter.read(after(now, 1_000));
        assert_eq!((reading.position, reading.total, reading.left), (64, None, None));
        assert!(reading.speed > 0);
        meter.finish(&unsized_blob, State::Done);
        assert_eq!(meter.read(after(now, 1_000)).total, Some(10_064));
    }

    #[test]
    fn nothing_has_no_speed() {
        let reading = Meter::default().read(Instant::now());
        assert_eq!(reading, Reading { position: 0, total: Some(0), speed: 0, left: None });
    }
}
