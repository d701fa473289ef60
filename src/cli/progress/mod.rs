//! Showing what moves, on standard error.

mod frame;
mod in_passing;
mod json;
mod lines;
mod screen;
mod tally;
mod ticker;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lazyblob::remote::progress::{State, retrying, seconds_left};
use lazyblob::remote::{Descriptor, Error, Progress};

pub(crate) use in_passing::InPassing;

use super::args::ProgressMode;
use super::output;

/// One way of showing.
pub(crate) trait Show: Send + Sync + std::fmt::Debug {
    fn expect(&self, _blobs: usize) {}
    fn start(&self, blob: &Descriptor, state: State);
    fn advance(&self, blob: &Descriptor, position: u64);
    fn finish(&self, blob: &Descriptor, state: State);
    fn note(&self, message: &str);
    /// Everything has been shown; what is on the screen only while things move goes.
    fn end(&self) {}
}

/// Counts what becomes of blobs, and shows it.
#[derive(Debug)]
pub(crate) struct Watch {
    show: Box<dyn Show>,
    retries: AtomicU64,
    present: AtomicU64,
    mounted: AtomicU64,
    moved: AtomicU64,
    passed: AtomicU64,
}

impl Watch {
    /// A watch that shows in `mode`.
    pub(crate) fn new(mode: ProgressMode) -> Arc<Self> {
        let show: Box<dyn Show> = match mode {
            // Lines that no terminal draws would swallow what is said between them.
            ProgressMode::Auto | ProgressMode::Tty if std::io::stderr().is_terminal() => {
                Box::new(screen::Screen::new())
            }
            ProgressMode::Auto | ProgressMode::Tty | ProgressMode::Plain => Box::new(lines::Lines::default()),
            ProgressMode::Json => Box::new(json::Events::default()),
            ProgressMode::Quiet => Box::new(Quiet),
        };
        let [retries, present, mounted, moved, passed] = Default::default();
        Arc::new(Self { show, retries, present, mounted, moved, passed })
    }

    /// Requests sent again.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Blobs the target had, took by mount, and got by their bytes.
    pub(crate) fn blobs(&self) -> [u64; 3] {
        [&self.present, &self.mounted, &self.moved].map(|count| count.load(Ordering::Relaxed))
    }

    /// Blobs that were fetched on their way to somewhere else.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// A line for people.
    pub(crate) fn say(&self, message: &str) {
        self.show.note(message);
    }

    /// Clears what is shown only while things move.
    pub(crate) fn end(&self) {
        self.show.end();
    }
}

impl Progress for Watch {
    fn expect(&self, blobs: usize) {
        self.show.expect(blobs);
    }

    fn start(&self, blob: &Descriptor, state: State) {
        self.show.start(blob, state);
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        self.show.advance(blob, position);
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        let count = match state {
            State::Present => Some(&self.present),
            State::Mounted => Some(&self.mounted),
            State::Done => Some(&self.moved),
            _ => None,
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.show.finish(blob, state);
    }

    fn note(&self, message: &str) {
        self.show.note(message);
    }

    fn retry(&self, failed: &Error, wait: Duration) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.show.note(&format!("{failed}; {}", retrying(seconds_left(wait))));
    }
}

/// Shows nothing but what is said.
#[derive(Debug)]
struct Quiet;

impl Show for Quiet {
    fn start(&self, _: &Descriptor, _: State) {}
    fn advance(&self, _: &Descriptor, _: u64) {}
    fn finish(&self, _: &Descriptor, _: State) {}
    fn note(&self, message: &str) {
        output::note(message);
    }
}
