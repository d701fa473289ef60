//! Lines for logs: each phase of each blob, where things stand now and then, and what it came to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::HumanBytes;
use lazyblob::remote::Descriptor;
use lazyblob::remote::digest::short;
use lazyblob::remote::progress::State;
use tokio::time::Instant;

use super::Show;
use super::tally::{Blob, Tally};
use super::ticker::Ticker;
use crate::cli::output;

/// Where things stand is said no more often than this, and as often where nothing else happens: a log without a line
/// looks like a hang.
const EVERY: Duration = Duration::from_secs(5);

/// A tally that speaks.
#[derive(Debug, Default)]
pub(super) struct Lines {
    tally: Arc<Mutex<Tally>>,
    /// Runs from the first blob to the end.
    ticker: Mutex<Option<Ticker>>,
}

impl Lines {
    fn with<T>(&self, change: impl FnOnce(&mut Tally, Instant) -> T) -> T {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner), Instant::now())
    }

    fn speak_from_now_on(&self) {
        self.ticker.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| {
            let tally = Arc::clone(&self.tally);
            Ticker::every(EVERY, move || {
                let line = standing(&tally.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
                line.iter().for_each(|line| output::note(line));
            })
        });
    }
}

impl Show for Lines {
    fn expect(&self, blobs: usize) {
        self.with(|tally, _| tally.expect(blobs));
    }

    fn start(&self, blob: &Descriptor, state: State) {
        let line = self.with(|tally, now| started(tally, blob, state, now));
        line.iter().for_each(|line| output::note(line));
        self.speak_from_now_on();
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        self.with(|tally, now| tally.advance(blob, position, now));
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        output::note(&self.with(|tally, now| finished(tally, blob, state, now)));
    }

    fn note(&self, message: &str) {
        output::note(message);
    }

    fn doing(&self, what: Option<&str>) {
        self.with(|tally, now| tally.doing(what, now));
        self.speak_from_now_on();
    }

    fn end(&self) {
        drop(self.ticker.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(line) = self.with(|tally, now| std::mem::take(tally).outcome(now)) {
            output::note(&line);
        }
    }
}

/// The line for a blob's new phase. A countdown is one phase; and those that wait are a number in the line for all, for
/// a hundred lines of them would say no more.
fn started(tally: &mut Tally, blob: &Descriptor, state: State, now: Instant) -> Option<String> {
    let (blob, new_phase) = tally.start(blob, state, now);
    if !new_phase || state == State::Waiting {
        return None;
    }
    let size = HumanBytes(blob.size);
    let bytes = match blob.position.filter(|position| *position > 0 && state.is_moving()) {
        Some(position) => format!("{} of {size}", HumanBytes(position)),
        None => size.to_string(),
    };
    Some(line(tally, &blob, &bytes))
}

/// The line for a blob's end.
fn finished(tally: &mut Tally, blob: &Descriptor, state: State, now: Instant) -> String {
    let blob = tally.finish(blob, state, now);
    let size = HumanBytes(blob.size);
    let bytes = match blob.moving_since {
        Some(since) => format!("{size} in {:.1} s", now.saturating_duration_since(since).as_secs_f64()),
        None => size.to_string(),
    };
    line(tally, &blob, &bytes)
}

/// A line that makes sense by itself, wherever it stands in a log.
fn line(tally: &Tally, blob: &Blob, bytes: &str) -> String {
    format!("[{}] {} {}, {bytes}", tally.count(), short(&blob.digest), blob.state)
}

/// Where things stand, while there is something to it.
fn standing(tally: &Tally, now: Instant) -> Option<String> {
    tally.is_busy().then(|| tally.standing(now))
}

#[cfg(test)]
mod tests {
    use lazyblob::remote::digest::sha256;

    use super::*;

    fn blob(fill: u8) -> Descriptor {
        Descriptor::new("x".into(), 2048, sha256(&[fill]))
    }

    /// Rows 15, 90, 97: a line for each phase of a blob, none for a second of a countdown or for one more that waits.
    #[test]
    fn a_line_is_a_phase() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        tally.start(&blob(1), State::Waiting, now);
        let mut said = Vec::new();
        for (state, position) in [
            (State::Waiting, None),
            (State::Downloading, Some(1024)),
            (State::Retrying { seconds: 2 }, None),
            (State::Retrying { seconds: 1 }, None),
            (State::Waiting, None),
            (State::Downloading, Some(2048)),
            (State::Verifying, None),
            (State::Complete, None),
            (State::Extracting, None),
        ] {
            said.extend(started(&mut tally, &blob(0), state, now));
            position.iter().for_each(|position| tally.advance(&blob(0), *position, now));
        }
        said.push(finished(&mut tally, &blob(0), State::Done, now + Duration::from_millis(1500)));
        said.push(finished(&mut tally, &blob(1), State::Mounted, now));
        let expected = [
            ("0", 0, "downloading, 2.00 KiB"),
            ("0", 0, "retrying in 2 seconds, 2.00 KiB"),
            ("0", 0, "downloading, 1.00 KiB of 2.00 KiB"),
            ("0", 0, "verifying, 2.00 KiB"),
            ("0", 0, "complete, 2.00 KiB"),
            ("0", 0, "extracting, 2.00 KiB"),
            ("1", 0, "done, 2.00 KiB in 1.5 s"),
            ("2", 1, "mounted, 2.00 KiB"),
        ];
        let line = |(ended, fill, text)| format!("[{ended} of 2] {} {text}", short(blob(fill).digest()));
        assert_eq!(said, expected.map(line));
    }

    /// Row 97: the line for all is there while there is something to say, and then no more.
    #[test]
    fn the_line_for_all_ends_with_the_blobs() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        assert_eq!(standing(&tally, now), None);
        started(&mut tally, &blob(0), State::Uploading, now);
        assert_eq!(standing(&tally, now).unwrap(), "0 of 1 blob, 0 B of 2.00 KiB, 0 B/s");
        finished(&mut tally, &blob(0), State::Done, now);
        assert_eq!(standing(&tally, now), None);
    }
}
