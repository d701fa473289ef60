//! A watcher that knows what a blob may do.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oci_spec::image::{Descriptor, Digest};
use tokio::time::Instant;

use crate::error::Error;
use crate::progress::{Progress, State, retrying, seconds_left};

/// One event, as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When, on the clock of the test.
    pub at: Instant,
    /// Of which blob; none for a note.
    pub blob: Option<Digest>,
    /// What.
    pub event: Event,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A blob entered a state, a final one included.
    State(State),
    /// Bytes of it that are through.
    Position(u64),
    /// A line for people.
    Note(String),
    /// A retry, and the wait before it.
    Retry(Duration),
}

/// Records events and holds them against the contract of [`Progress`]: the order of the states, positions that rise
/// except once per restart and only while bytes move, one end and nothing after it.
///
/// What is wrong is kept until [`ProgressChecker::assert_legal`] or [`ProgressChecker::assert_ended`] panics with all
/// of it; a checker dropped before that panics by itself, so no test passes by forgetting to ask.
#[derive(Debug, Default)]
pub struct ProgressChecker {
    late: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seen: Vec<Seen>,
    wrong: Vec<String>,
    blobs: HashMap<Digest, Blob>,
}

#[derive(Debug, Default)]
struct Blob {
    state: Option<State>,
    position: Option<u64>,
    /// A byte has moved.
    moved: bool,
    /// It has started over: the next position may be lower.
    may_fall: bool,
}

impl ProgressChecker {
    /// A watcher that is there from the beginning.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A watcher that joins work under way: the first event of a blob may be any that is not an end.
    #[must_use]
    pub fn late() -> Self {
        Self { late: true, inner: Mutex::default() }
    }

    /// All events so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// The states that a blob has entered, in order.
    #[must_use]
    pub fn states(&self, blob: &Digest) -> Vec<State> {
        let of = |event: &Event| if let Event::State(state) = event { Some(*state) } else { None };
        self.of(blob).iter().filter_map(|seen| of(&seen.event)).collect()
    }

    /// The positions of a blob and when they were told, in order.
    #[must_use]
    pub fn positions(&self, blob: &Digest) -> Vec<(Instant, u64)> {
        let of = |event: &Event| if let Event::Position(position) = event { Some(*position) } else { None };
        self.of(blob).iter().filter_map(|seen| Some((seen.at, of(&seen.event)?))).collect()
    }

    /// Expects that every event so far was one that may come.
    ///
    /// # Panics
    /// With all that was wrong.
    #[track_caller]
    pub fn assert_legal(&self) {
        let wrong = std::mem::take(&mut self.lock().wrong);
        assert!(wrong.is_empty(), "events that may not come:\n{}", wrong.join("\n"));
    }

    /// Expects what [`ProgressChecker::assert_legal`] does, and that each blob that began has ended.
    ///
    /// # Panics
    /// With all that was wrong, or with the blobs that have not ended.
    #[track_caller]
    pub fn assert_ended(&self) {
        self.assert_legal();
        let inner = self.lock();
        let live = inner.blobs.iter().filter(|(_, blob)| !blob.state.is_some_and(State::is_final));
        let live: Vec<_> = live.map(|(digest, blob)| format!("{digest} is {:?}", blob.state)).collect();
        drop(inner);
        assert!(live.is_empty(), "blobs without an end:\n{}", live.join("\n"));
    }

    fn of(&self, blob: &Digest) -> Vec<Seen> {
        self.lock().seen.iter().filter(|seen| seen.blob.as_ref() == Some(blob)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, blob: &Descriptor, state: State) {
        let mut inner = self.lock();
        inner.record(Some(blob), Event::State(state));
        let known = inner.blobs.entry(blob.digest().clone()).or_default();
        let before = known.state.replace(state);
        let joins = self.late && before.is_none();
        let mut wrong = Vec::new();
        if !joins && !state.may_follow(before) {
            wrong.push(format!("{state:?} after {before:?}"));
        }
        if known.moved && matches!(state, State::Present | State::Mounted) {
            wrong.push(format!("{state:?}, though bytes have moved"));
        }
        known.may_fall = state.is_moving();
        inner.complain(blob, wrong);
    }
}

impl Inner {
    fn record(&mut self, blob: Option<&Descriptor>, event: Event) {
        let blob = blob.map(|blob| blob.digest().clone());
        self.seen.push(Seen { at: Instant::now(), blob, event });
    }

    fn complain(&mut self, blob: &Descriptor, wrong: Vec<String>) {
        self.wrong.extend(wrong.into_iter().map(|wrong| format!("{}: {wrong}", blob.digest())));
    }
}

impl Progress for ProgressChecker {
    fn start(&self, blob: &Descriptor, state: State) {
        if state.is_final() {
            self.lock().complain(blob, vec![format!("{state:?} is an end: finish() is for it")]);
        }
        self.enter(blob, state);
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        let mut inner = self.lock();
        inner.record(Some(blob), Event::Position(position));
        let known = inner.blobs.entry(blob.digest().clone()).or_default();
        let mut wrong = Vec::new();
        if !known.state.is_some_and(State::is_moving) {
            wrong.push(format!("position {position} in {:?}", known.state));
        }
        if position > blob.size() {
            wrong.push(format!("position {position} of {} bytes", blob.size()));
        }
        match known.position.replace(position) {
            Some(before) if position < before && !known.may_fall => {
                wrong.push(format!("position {position} after {before} without a restart"));
            }
            Some(before) => known.moved |= position > before,
            None => {}
        }
        known.may_fall = false;
        inner.complain(blob, wrong);
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        if !state.is_final() {
            self.lock().complain(blob, vec![format!("{state:?} is no end: start() is for it")]);
        }
        self.enter(blob, state);
    }

    fn note(&self, message: &str) {
        self.lock().record(None, Event::Note(message.to_owned()));
    }

    fn retry(&self, failed: &Error, wait: Duration) {
        let mut inner = self.lock();
        inner.record(None, Event::Note(format!("{failed}; {}", retrying(seconds_left(wait)))));
        inner.record(None, Event::Retry(wait));
    }
}

impl Drop for ProgressChecker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_legal();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;

    fn blob() -> Descriptor {
        Descriptor::new("x".into(), 100, sha256(b"x"))
    }

    fn reach(checker: &ProgressChecker, blob: &Descriptor, positions: &[u64]) {
        for position in positions {
            checker.advance(blob, *position);
        }
    }

    /// What a fresh checker says about the events that `tell` makes.
    fn complaint(tell: impl FnOnce(&ProgressChecker, &Descriptor)) -> String {
        let checker = ProgressChecker::new();
        tell(&checker, &blob());
        let wrong = std::mem::take(&mut checker.lock().wrong);
        wrong.join("\n")
    }

    /// Row 90: a blob that is queued, broken, restarted and unpacked has done nothing wrong.
    #[tokio::test(start_paused = true)]
    async fn a_whole_life_is_legal() {
        let (checker, blob) = (ProgressChecker::new(), blob());
        let life = [
            (State::Waiting, vec![]),
            (State::Downloading, vec![0, 40]),
            (State::Retrying { seconds: 2 }, vec![]),
            (State::Retrying { seconds: 1 }, vec![]),
            (State::Waiting, vec![]),
            (State::Downloading, vec![40, 100]),
            (State::Verifying, vec![]),
            (State::Downloading, vec![0, 100]),
            (State::Verifying, vec![]),
            (State::Complete, vec![]),
            (State::Extracting, vec![]),
        ];
        for (state, positions) in &life {
            checker.start(&blob, *state);
            for position in positions {
                tokio::time::advance(Duration::from_millis(10)).await;
                checker.advance(&blob, *position);
            }
        }
        checker.assert_legal();
        checker.finish(&blob, State::Done);
        checker.assert_ended();
        let states: Vec<_> = life.iter().map(|(state, _)| *state).chain([State::Done]).collect();
        assert_eq!(checker.states(blob.digest()), states);
        let positions = checker.positions(blob.digest());
        assert_eq!(
            positions.iter().map(|(_, position)| *position).collect::<Vec<_>>(),
            [0, 40, 40, 100, 0, 100]
        );
        assert_eq!(positions[5].0 - positions[0].0, Duration::from_millis(50));
    }

    /// Rows 89a, 90: each kind of event that may not come is found.
    #[test]
    fn what_may_not_come_is_found() {
        let (moving, done) = (State::Uploading, State::Done);
        assert_eq!(complaint(|checker, blob| checker.start(blob, moving)), "");
        for (expected, found) in [
            ("Verifying after None", complaint(|checker, blob| checker.start(blob, State::Verifying))),
            (
                "Done after Some(Done)",
                complaint(|checker, blob| {
                    checker.start(blob, moving);
                    checker.finish(blob, done);
                    checker.finish(blob, done);
                }),
            ),
            (
                "Uploading after Some(Failed)",
                complaint(|checker, blob| {
                    checker.finish(blob, State::Failed);
                    checker.start(blob, moving);
                }),
            ),
            (
                "position 2 in Some(Done)",
                complaint(|checker, blob| {
                    checker.start(blob, moving);
                    checker.finish(blob, done);
                    checker.advance(blob, 2);
                }),
            ),
            (
                "position 5 after 10 without a restart",
                complaint(|checker, blob| {
                    checker.start(blob, moving);
                    reach(checker, blob, &[0, 10, 5]);
                }),
            ),
            (
                "position 1 after 2 without a restart",
                complaint(|checker, blob| {
                    checker.start(blob, moving);
                    checker.advance(blob, 50);
                    checker.start(blob, State::Retrying { seconds: 0 });
                    checker.start(blob, moving);
                    reach(checker, blob, &[0, 2, 1]);
                }),
            ),
            (
                "position 101 of 100 bytes",
                complaint(|checker, blob| {
                    checker.start(blob, moving);
                    checker.advance(blob, 101);
                }),
            ),
            (
                "Mounted, though bytes have moved",
                complaint(|checker, blob| {
                    checker.start(blob, moving);
                    reach(checker, blob, &[0, 1]);
                    checker.start(blob, State::Retrying { seconds: 1 });
                    checker.start(blob, State::Waiting);
                    checker.finish(blob, State::Mounted);
                }),
            ),
            (
                "Done is an end",
                complaint(|checker, blob| {
                    checker.start(blob, moving);
                    checker.start(blob, done);
                }),
            ),
            ("Waiting is no end", complaint(|checker, blob| checker.finish(blob, State::Waiting))),
        ] {
            assert!(found.contains(expected), "{expected}: {found:?}");
            assert_eq!(found.lines().count(), 1, "{found}");
        }
    }

    /// Row 90: who joins work under way may come in anywhere, and is then held to the order.
    #[test]
    fn who_comes_late_comes_in_anywhere() {
        let (checker, blob) = (ProgressChecker::late(), blob());
        checker.start(&blob, State::Extracting);
        checker.assert_legal();
        checker.start(&blob, State::Verifying);
        assert_eq!(std::mem::take(&mut checker.lock().wrong).len(), 1);
    }

    #[test]
    #[should_panic(expected = "blobs without an end")]
    fn a_blob_without_an_end_is_found() {
        let checker = ProgressChecker::new();
        checker.start(&blob(), State::Downloading);
        checker.assert_ended();
    }

    #[test]
    #[should_panic(expected = "Complete after None")]
    fn nobody_forgets_to_ask() {
        ProgressChecker::new().start(&blob(), State::Complete);
    }
}
