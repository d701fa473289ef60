//! What a terminal shows at an instant, as lines of text.

use std::time::Duration;

use indicatif::HumanBytes;
use lazyblob::remote::digest::short;
use lazyblob::remote::progress::{State, retrying, seconds_left};
use tokio::time::Instant;

use super::tally::{Blob, Tally};

/// Blobs with a line of their own: the rest is a number, so that the terminal is not scrolled away.
const ROWS: usize = 8;

/// How long a line says how its blob ended.
const LINGER: Duration = Duration::from_secs(2);

/// Columns of a bar of one blob, and of the word before it.
const BAR: usize = 20;
const WORD: usize = 11;

/// Columns of the bar for all.
const ALL: usize = 10;

/// A line for each blob that is worth one, then one for all.
pub(super) fn frame(tally: &Tally, now: Instant) -> Vec<String> {
    let mut blobs: Vec<_> = tally.blobs().filter_map(|blob| Some((worth(blob, now)?, blob))).collect();
    blobs.sort_by_key(|(worth, blob)| (*worth, blob.order));
    let more = blobs.iter().skip(ROWS).filter(|(_, blob)| !blob.state.is_final()).count();
    blobs.truncate(ROWS);
    // A line stays where it is while its blob goes from state to state.
    blobs.sort_by_key(|(_, blob)| blob.order);
    let mut lines: Vec<_> = blobs.iter().map(|(_, blob)| row(blob, now)).collect();
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    let bar = tally.part(now).map(|part| bar(part, ALL) + "  ").unwrap_or_default();
    lines.push(bar + &tally.standing(now));
    lines
}

/// Which blobs have a line first, where there are more than lines: those something happens to, those something has just
/// happened to, those that wait.
fn worth(blob: &Blob, now: Instant) -> Option<u8> {
    match blob.state {
        State::Waiting => Some(2),
        state if state.is_final() => (now.saturating_duration_since(blob.since) < LINGER).then_some(1),
        _ => Some(0),
    }
}

fn row(blob: &Blob, now: Instant) -> String {
    let (name, size) = (short(&blob.digest), HumanBytes(blob.size));
    if blob.state.is_moving() {
        let position = blob.position.unwrap_or_default();
        let part = if blob.size > 0 { position as f64 / blob.size as f64 } else { 1.0 };
        let bar = bar(part, BAR);
        return format!("{name:19} {:WORD$} {bar} {} of {size}", blob.state, HumanBytes(position));
    }
    let state = match blob.state {
        // It counts down whether or not somebody tells it each second.
        State::Retrying { seconds } => {
            let gone = now.saturating_duration_since(blob.since);
            retrying(seconds_left(Duration::from_secs(seconds).saturating_sub(gone)))
        }
        state => state.to_string(),
    };
    let width = WORD + 1 + BAR;
    format!("{name:19} {state:width$} {size}")
}

/// `part` of a bar of so many columns.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2 times the columns")]
fn bar(part: f64, columns: usize) -> String {
    let halves = (part.clamp(0.0, 1.0) * (columns * 2) as f64) as usize;
    let drawn = "━".repeat(halves / 2) + if halves % 2 == 1 { "╸" } else { "" };
    format!("{drawn:columns$}")
}

#[cfg(test)]
mod tests {
    use lazyblob::remote::Descriptor;
    use lazyblob::remote::digest::sha256;

    use super::*;

    fn blob(fill: u8) -> Descriptor {
        Descriptor::new("x".into(), 4096, sha256(&[fill]))
    }

    fn after(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    /// Row 90: each state has its word in the blob's line.
    #[test]
    fn a_line_has_the_word_of_its_state() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        for state in
            [State::Waiting, State::Downloading, State::Verifying, State::Complete, State::Extracting]
        {
            tally.start(&blob(0), state, now);
            let line = &frame(&tally, now)[0];
            assert!(line.starts_with(&format!("{} {state} ", short(blob(0).digest()))), "{line}");
            assert!(line.ends_with("4.00 KiB"), "{line}");
        }
        for (fill, state) in
            [State::Done, State::Present, State::Mounted, State::Failed].into_iter().enumerate()
        {
            let blob = blob(u8::try_from(fill).unwrap());
            tally.finish(&blob, state, now);
            let lines = frame(&tally, now);
            assert!(lines[fill].starts_with(&format!("{} {state} ", short(blob.digest()))), "{lines:?}");
        }
        assert_eq!(frame(&tally, after(now, 2_000)).len(), 1, "in the end only the sum is left");
    }

    /// Row 23b: the seconds go down by themselves, to a singular one.
    #[test]
    fn a_retry_counts_down() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        tally.start(&blob(0), State::Uploading, now);
        tally.start(&blob(0), State::Retrying { seconds: 3 }, now);
        let said = |ms| frame(&tally, after(now, ms))[0][20..52].trim_end().to_owned();
        assert_eq!(said(0), "retrying in 3 seconds");
        assert_eq!(said(999), "retrying in 3 seconds");
        assert_eq!(said(1_000), "retrying in 2 seconds");
        assert_eq!(said(2_100), "retrying in 1 second");
        assert_eq!(said(3_100), "retrying now");
    }

    /// Row 89b: the bars show parts, that for all the part of the sum.
    #[test]
    fn bars_show_parts() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        tally.start(&blob(0), State::Downloading, now);
        tally.start(&blob(1), State::Waiting, now);
        tally.advance(&blob(0), 0, now);
        tally.advance(&blob(0), 2_048, after(now, 1_000));
        let lines = frame(&tally, after(now, 1_000));
        assert!(
            lines[0].contains(&format!(" {}{} 2.00 KiB of 4.00 KiB", "━".repeat(10), " ".repeat(10))),
            "{lines:?}"
        );
        let sum = "0 of 2 blobs, 2.00 KiB of 8.00 KiB, 2.00 KiB/s, 3s left, 1 waiting";
        assert_eq!(lines[2], format!("━━╸{}  {sum}", " ".repeat(7)));
        assert_eq!(bar(0.52, 4), "━━  ");
        assert_eq!(bar(0.65, 4), "━━╸ ");
        assert_eq!(bar(7.0, 4), "━━━━");
    }

    /// Row 89b: a hundred blobs are a few lines; those that move have one, those that wait if there is room.
    #[test]
    fn there_are_never_many_lines() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        for fill in 0..100 {
            tally.start(&blob(fill), State::Waiting, now);
        }
        for fill in 50..55 {
            tally.start(&blob(fill), State::Uploading, now);
        }
        tally.finish(&blob(99), State::Present, now);
        let lines = frame(&tally, now);
        assert_eq!(lines.len(), ROWS + 2);
        let of = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
        assert_eq!((of(" uploading "), of(" present "), of(" waiting  ")), (5, 1, 2), "{lines:#?}");
        assert_eq!(lines[ROWS], "… and 92 more");
        assert!(lines.iter().all(|line| line.chars().count() < 80), "{lines:#?}");
    }
}
