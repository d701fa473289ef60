//! Blobs that come here on their way to somewhere else: their way has two parts, and one end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lazyblob::remote::progress::State;
use lazyblob::remote::{Descriptor, Error, Progress};

use super::Watch;

/// Shows how they come, and counts those that have; how they end is said by where they go.
#[derive(Debug)]
pub(crate) struct InPassing {
    watch: Arc<Watch>,
    /// What happens to a blob once it is here.
    next: State,
}

impl InPassing {
    /// Shows on `watch` blobs that go to a registry from here, or to another place on this machine.
    pub(crate) fn new(watch: &Arc<Watch>, to_registry: bool) -> Self {
        let next = if to_registry { State::Uploading } else { State::Downloading };
        Self { watch: Arc::clone(watch), next }
    }
}

impl Progress for InPassing {
    fn start(&self, blob: &Descriptor, state: State) {
        // Those it waits behind are not those it is seen to wait behind.
        if state != State::Waiting {
            self.watch.start(blob, state);
        }
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        self.watch.advance(blob, position);
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        if state == State::Done {
            self.watch.passed.fetch_add(1, Ordering::Relaxed);
            self.watch.start(blob, self.next);
        }
    }

    fn note(&self, message: &str) {
        self.watch.note(message);
    }

    fn retry(&self, failed: &Error, wait: Duration) {
        self.watch.retry(failed, wait);
    }
}
