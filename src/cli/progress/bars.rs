//! Bars on a terminal: one for each blob that moves, and one for all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lazyblob::remote::Descriptor;
use lazyblob::remote::digest::short;
use lazyblob::remote::progress::State;

use super::tally::Tally;
use super::{Show, word};
use crate::cli::output;

/// The bars on the screen.
#[derive(Debug)]
pub(super) struct Bars {
    tally: Mutex<Tally>,
    screen: MultiProgress,
    all: ProgressBar,
    moving: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    pub(super) fn new() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let all = ProgressBar::hidden().with_style(style(
            "{prefix:19} {bar:24} {bytes:>11}/{total_bytes:11} {bytes_per_sec:>13} {eta:>4} left  {msg}",
        ));
        all.set_prefix("all");
        Self { tally: Mutex::default(), screen, all, moving: Mutex::default() }
    }

    /// The bar for all appears with the first blob that moves.
    fn show_all(&self) {
        if self.all.is_hidden() && self.all.length().unwrap_or_default() == 0 {
            self.screen.add(self.all.clone());
            self.all.enable_steady_tick(Duration::from_millis(100));
        }
    }
}

impl Show for Bars {
    fn start(&self, blob: &Descriptor, state: State) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).start(blob, state, Instant::now());
        if !matches!(state, State::Downloading | State::Uploading) {
            return;
        }
        let mut moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        if moving.contains_key(blob.digest().as_ref()) {
            return;
        }
        self.show_all();
        self.all.set_length(self.all.length().unwrap_or_default().saturating_add(blob.size()));
        let bar = self.screen.insert_before(&self.all, ProgressBar::new(blob.size()));
        bar.set_style(style("{prefix:19} {bar:24} {bytes:>11}/{total_bytes:11} {bytes_per_sec:>13}"));
        bar.set_prefix(short(blob.digest()));
        moving.insert(blob.digest().to_string(), bar);
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = moving.get(blob.digest().as_ref()) {
            self.all.inc(position.saturating_sub(bar.position()));
            bar.set_position(position);
        }
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).finish(blob, state);
        let bar = self.moving.lock().unwrap_or_else(PoisonError::into_inner).remove(blob.digest().as_ref());
        // Only what moved is worth a line; the rest is in the sum at the end.
        let Some(bar) = bar else { return };
        bar.finish_and_clear();
        self.screen.remove(&bar);
        let size = HumanBytes(blob.size());
        // A screen that cannot be written to is no reason to stop.
        let _ = self.screen.println(format!("{} {} {size}", short(blob.digest()), word(state)));
    }

    fn note(&self, message: &str) {
        let _ = self.screen.println(message);
    }

    fn end(&self) {
        self.all.finish_and_clear();
        let _ = self.screen.clear();
        let tally = std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(line) = tally.outcome(Instant::now()) {
            output::note(&line);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}
