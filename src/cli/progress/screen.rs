//! Lines on a terminal that change in place: one for each blob that something happens to, and one for all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lazyblob::remote::Descriptor;
use lazyblob::remote::progress::State;
use tokio::time::Instant;

use super::Show;
use super::frame::frame;
use super::tally::Tally;
use super::ticker::Ticker;
use crate::cli::output;

/// How often the lines are drawn anew; what is over before that is not drawn at all.
const EVERY: Duration = Duration::from_millis(100);

/// The lines, and what draws them.
#[derive(Debug)]
pub(super) struct Screen {
    canvas: Arc<Canvas>,
    /// Runs from the first blob to the end.
    ticker: Mutex<Option<Ticker>>,
}

#[derive(Debug)]
struct Canvas {
    tally: Mutex<Tally>,
    screen: MultiProgress,
    lines: Mutex<Vec<ProgressBar>>,
}

impl Screen {
    pub(super) fn new() -> Self {
        // The frames are ours; it must not leave out the last line of one because of the first.
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(100));
        let canvas = Canvas { tally: Mutex::default(), screen, lines: Mutex::default() };
        Self { canvas: Arc::new(canvas), ticker: Mutex::default() }
    }

    fn draw_from_now_on(&self) {
        self.ticker.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| {
            let canvas = Arc::clone(&self.canvas);
            Ticker::every(EVERY, move || canvas.draw())
        });
    }
}

impl Canvas {
    fn with<T>(&self, change: impl FnOnce(&mut Tally, Instant) -> T) -> T {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner), Instant::now())
    }

    fn draw(&self) {
        let frame = self.with(|tally, now| frame(tally, now));
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.len() > frame.len() {
            lines.pop().iter().for_each(|line| self.erase(line));
        }
        for (at, text) in frame.into_iter().enumerate() {
            if at == lines.len() {
                lines.push(self.screen.add(ProgressBar::no_length().with_style(style())));
            }
            if lines[at].message() != text {
                lines[at].set_message(text);
            }
        }
    }

    fn erase(&self, line: &ProgressBar) {
        line.finish_and_clear();
        self.screen.remove(line);
    }
}

/// One text, cut to the width of the terminal.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Show for Screen {
    fn expect(&self, blobs: usize) {
        self.canvas.with(|tally, _| tally.expect(blobs));
    }

    fn start(&self, blob: &Descriptor, state: State) {
        self.canvas.with(|tally, now| tally.start(blob, state, now));
        self.draw_from_now_on();
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        self.canvas.with(|tally, now| tally.advance(blob, position, now));
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        self.canvas.with(|tally, now| tally.finish(blob, state, now));
        self.draw_from_now_on();
    }

    fn doing(&self, what: Option<&str>) {
        self.canvas.with(|tally, now| tally.doing(what, now));
        self.draw_from_now_on();
    }

    fn note(&self, message: &str) {
        // A screen that cannot be written to is no reason to stop.
        let _ = self.canvas.screen.println(message);
    }

    fn end(&self) {
        // Joined, so nothing is drawn any more.
        drop(self.ticker.lock().unwrap_or_else(PoisonError::into_inner).take());
        for line in self.canvas.lines.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.canvas.erase(&line);
        }
        let _ = self.canvas.screen.clear();
        if let Some(line) = self.canvas.with(|tally, now| std::mem::take(tally).outcome(now)) {
            output::note(&line);
        }
    }
}
