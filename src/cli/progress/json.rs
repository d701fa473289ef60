//! One JSON object a line, for programs.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lazyblob::remote::progress::{Pulse, State};
use lazyblob::remote::{Descriptor, Digest};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Show;
use crate::cli::output;

/// Positions of one blob are told no more often than this; the first and the last always.
const EVERY: Duration = Duration::from_millis(200);

/// Tells each state of each blob, and positions now and then.
#[derive(Debug, Default)]
pub(super) struct Events(Mutex<Blobs>);

/// The state of each blob that has not ended, and when its position was told.
#[derive(Debug, Default)]
struct Blobs(HashMap<Digest, (State, Pulse)>);

impl Blobs {
    /// A position that was withheld belongs to the state before.
    fn enter(&mut self, blob: &Descriptor, state: State) -> Vec<Value> {
        let new = (state, Pulse::new(EVERY));
        let (before, pulse) = self.0.entry(blob.digest().clone()).or_insert(new);
        let before = std::mem::replace(before, state);
        let withheld = pulse.last().map(|position| event(blob, before, Some(position)));
        let mut done = None;
        if state.is_final() {
            self.0.remove(blob.digest());
            done = (state == State::Done).then(|| blob.size());
        }
        withheld.into_iter().chain([event(blob, state, done)]).collect()
    }

    fn advance(&mut self, blob: &Descriptor, position: u64, now: Instant) -> Option<Value> {
        let (state, pulse) = self.0.get_mut(blob.digest())?;
        pulse.beat(position, now).then(|| event(blob, *state, Some(position)))
    }
}

fn event(blob: &Descriptor, state: State, position: Option<u64>) -> Value {
    let mut event = json!({
        "type": "blob", "digest": blob.digest(), "state": state.word(), "size": blob.size(),
    });
    if let State::Retrying { seconds } = state {
        event["seconds"] = json!(seconds);
    }
    if let Some(position) = position {
        event["position"] = json!(position);
    }
    event
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, Blobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(events: impl IntoIterator<Item = Value>) {
        for event in events {
            output::note(&event.to_string());
        }
    }
}

impl Show for Events {
    fn start(&self, blob: &Descriptor, state: State) {
        let events = self.lock().enter(blob, state);
        Self::tell(events);
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        let event = self.lock().advance(blob, position, Instant::now());
        Self::tell(event);
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        let events = self.lock().enter(blob, state);
        Self::tell(events);
    }

    fn note(&self, message: &str) {
        Self::tell([json!({"type": "note", "message": message})]);
    }
}

#[cfg(test)]
mod tests {
    use lazyblob::remote::digest::sha256;

    use super::*;

    /// Rows 89a, 90: states as they come, positions at the interval with the first and the last, each in its state.
    #[test]
    fn states_and_positions_as_they_come() {
        let (mut blobs, now) = (Blobs::default(), Instant::now());
        let blob = Descriptor::new("x".into(), 100, sha256(b"x"));
        let mut told = blobs.enter(&blob, State::Downloading);
        for position in 0..=100 {
            told.extend(blobs.advance(&blob, position, now + Duration::from_millis(position * 4)));
        }
        told.extend(blobs.enter(&blob, State::Retrying { seconds: 2 }));
        told.extend(blobs.enter(&blob, State::Verifying));
        told.extend(blobs.enter(&blob, State::Done));
        let word = |event: &Value| event["state"].as_str().unwrap().to_owned();
        let short: Vec<_> = told.iter().map(|event| (word(event), event["position"].as_u64())).collect();
        let expected = [
            ("downloading", None),
            ("downloading", Some(0)),
            ("downloading", Some(50)),
            ("downloading", Some(100)),
            ("retrying", None),
            ("verifying", None),
            ("done", Some(100)),
        ];
        assert_eq!(short, expected.map(|(word, position)| (word.to_owned(), position)));
        assert_eq!((&told[4]["seconds"], &told[3]["seconds"]), (&json!(2), &Value::Null));
        let keys: Vec<_> = told[3].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["type", "digest", "state", "size", "position"]);
        assert!(
            blobs.0.is_empty() && blobs.advance(&blob, 1, now).is_none(),
            "after the end there is nothing"
        );
    }

    /// Row 89a: what was withheld is told before the blob leaves its state.
    #[test]
    fn the_last_position_is_told() {
        let (mut blobs, now) = (Blobs::default(), Instant::now());
        let blob = Descriptor::new("x".into(), 100, sha256(b"x"));
        let _ = blobs.enter(&blob, State::Uploading);
        assert!(blobs.advance(&blob, 0, now).is_some() && blobs.advance(&blob, 70, now).is_none());
        let told = blobs.enter(&blob, State::Failed);
        assert_eq!((&told[0]["state"], &told[0]["position"]), (&json!("uploading"), &json!(70)));
        assert_eq!((&told[1]["state"], &told[1]["position"]), (&json!("failed"), &Value::Null));
        assert_eq!(told.len(), 2);
    }
}
