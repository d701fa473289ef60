//! Showing what moves, on standard error.

pub(crate) mod build;
mod frame;
mod in_passing;
mod json;
mod lines;
mod screen;
mod tally;
mod ticker;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// What is no more than worth knowing.
    fn tell(&self, message: &str) {
        self.note(message);
    }
    /// From now on this is done, beside whatever moves; it is over when nothing is said.
    fn doing(&self, _what: Option<&str>) {}
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
    /// Whether programs read what is shown: they get every end.
    for_programs: bool,
    /// The run has ended, and said what it came to: what is stopped now has no line.
    over: AtomicBool,
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
        let (for_programs, over) = (mode == ProgressMode::Json, AtomicBool::new(false));
        Arc::new(Self { show, retries, present, mounted, moved, passed, for_programs, over })
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

    /// A line for people that nobody misses who asked for quiet.
    pub(crate) fn tell(&self, message: &str) {
        self.show.tell(message);
    }

    /// Says that `what` is being done, and goes on to say so while `work` is at it: not every silence is a hang.
    pub(crate) async fn during<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        self.show.tell(what);
        self.show.doing(Some(what));
        let done = work.await;
        self.show.doing(None);
        done
    }

    /// A line for people: a warning, or what they must know.
    pub(crate) fn say(&self, message: &str) {
        self.show.note(message);
    }

    /// Clears what is shown only while things move, and shows nothing of blobs from now on.
    pub(crate) fn close(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.show.end();
    }

    fn is_over(&self) -> bool {
        !self.for_programs && self.over.load(Ordering::Relaxed)
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
        if !self.is_over() {
            self.show.start(blob, state);
        }
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
        if !self.is_over() {
            self.show.finish(blob, state);
        }
    }

    fn note(&self, message: &str) {
        self.show.note(message);
    }

    fn retry(&self, failed: &Error, wait: Duration) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.show.note(&format!("{failed}; {}", retrying(seconds_left(wait))));
    }
}

/// Shows nothing but warnings.
#[derive(Debug)]
struct Quiet;

impl Show for Quiet {
    fn start(&self, _: &Descriptor, _: State) {}
    fn advance(&self, _: &Descriptor, _: u64) {}
    fn finish(&self, _: &Descriptor, _: State) {}
    fn note(&self, message: &str) {
        output::note(message);
    }
    fn tell(&self, _: &str) {}
}
