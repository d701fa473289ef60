//! One JSON object a line, for programs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lazyblob::remote::Descriptor;
use lazyblob::remote::progress::State;
use serde_json::json;

use super::{Show, word};
use crate::cli::output;

/// Positions of one blob are told no more often than this; the first and the last always.
const EVERY: Duration = Duration::from_millis(200);

/// When each blob was spoken of last.
#[derive(Debug, Default)]
pub(super) struct Events(Mutex<HashMap<String, Instant>>);

impl Events {
    fn tell(blob: &Descriptor, state: State, position: Option<u64>) {
        let mut event = json!({
            "type": "blob", "digest": blob.digest(), "state": word(state), "size": blob.size(),
        });
        if let Some(position) = position {
            event["position"] = json!(position);
        }
        output::note(&event.to_string());
    }

    fn due(&self, blob: &Descriptor) -> bool {
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match said.get_mut(blob.digest().as_ref()) {
            Some(last) if now.duration_since(*last) < EVERY => false,
            Some(last) => {
                *last = now;
                true
            }
            None => said.insert(blob.digest().to_string(), now).is_none(),
        }
    }
}

impl Show for Events {
    fn start(&self, blob: &Descriptor, state: State) {
        Self::tell(blob, state, None);
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        if self.due(blob) {
            Self::tell(blob, State::Uploading, Some(position));
        }
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(blob.digest().as_ref());
        Self::tell(blob, state, (state == State::Done).then(|| blob.size()));
    }

    fn note(&self, message: &str) {
        output::note(&json!({"type": "note", "message": message}).to_string());
    }
}
