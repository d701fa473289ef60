//! Blobs that come here on their way to somewhere else: they are shown where they go, and only counted here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lazyblob::remote::progress::State;
use lazyblob::remote::{Descriptor, Error, Progress};

use super::Watch;

/// Counts what was fetched, and passes on what is worth a line.
#[derive(Debug)]
pub(crate) struct InPassing(Arc<Watch>);

impl InPassing {
    /// Counts for `watch`.
    pub(crate) fn new(watch: &Arc<Watch>) -> Self {
        Self(Arc::clone(watch))
    }
}

impl Progress for InPassing {
    fn start(&self, _: &Descriptor, _: State) {}

    fn advance(&self, _: &Descriptor, _: u64) {}

    fn finish(&self, _: &Descriptor, state: State) {
        if state == State::Done {
            self.0.passed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note(&self, message: &str) {
        self.0.note(message);
    }

    fn retry(&self, failed: &Error, wait: Duration) {
        self.0.retry(failed, wait);
    }
}
