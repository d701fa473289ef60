//! Lines for logs: where things stand now and then, and what it came to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lazyblob::remote::Descriptor;
use lazyblob::remote::progress::State;

use super::Show;
use super::tally::Tally;
use crate::cli::output;

/// Where things stand is said no more often than this.
const EVERY: Duration = Duration::from_secs(5);

/// A tally that speaks now and then.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tally: Tally,
    said: Option<Instant>,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn speak(mut inner: MutexGuard<'_, Inner>) {
        let now = Instant::now();
        if now.duration_since(*inner.said.get_or_insert(now)) < EVERY {
            return;
        }
        inner.said = Some(now);
        let line = inner.tally.standing(now);
        drop(inner);
        output::note(&line);
    }
}

impl Show for Lines {
    fn start(&self, blob: &Descriptor, state: State) {
        let mut inner = self.lock();
        inner.tally.start(blob, state, Instant::now());
        Self::speak(inner);
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        let mut inner = self.lock();
        inner.tally.advance(blob, position);
        Self::speak(inner);
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        let mut inner = self.lock();
        inner.tally.finish(blob, state);
        Self::speak(inner);
    }

    fn note(&self, message: &str) {
        output::note(message);
    }

    fn end(&self) {
        let tally = std::mem::take(&mut self.lock().tally);
        if let Some(line) = tally.outcome(Instant::now()) {
            output::note(&line);
        }
    }
}
