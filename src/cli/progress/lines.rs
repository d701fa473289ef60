//! Lines for logs: one for each blob that has ended, and a sum now and then while bytes move.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration};
use lazyblob::remote::Descriptor;
use lazyblob::remote::digest::short;
use lazyblob::remote::progress::State;

use super::{Show, word};
use crate::cli::output;

/// The sum is said no more often than this.
const EVERY: Duration = Duration::from_secs(5);

/// The sum of what has been seen.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Sum>);

#[derive(Debug, Default)]
struct Sum {
    moving: HashMap<String, (u64, u64)>,
    finished: u64,
    began: Option<Instant>,
    said: Option<Instant>,
}

impl Sum {
    fn line(&mut self, now: Instant) -> Option<String> {
        let began = *self.began.get_or_insert(now);
        if now.duration_since(*self.said.get_or_insert(now)) < EVERY {
            return None;
        }
        self.said = Some(now);
        let position: u64 = self.finished + self.moving.values().map(|(position, _)| position).sum::<u64>();
        let size: u64 = self.finished + self.moving.values().map(|(_, size)| size).sum::<u64>();
        let seconds = now.duration_since(began).as_secs_f64().max(0.001);
        let speed = position as f64 / seconds;
        let left = Duration::try_from_secs_f64(size.saturating_sub(position) as f64 / speed.max(1.0));
        let left = left.map_or_else(|_| "a long time".to_owned(), |left| HumanDuration(left).to_string());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let speed = HumanBytes(speed as u64);
        Some(format!("{} of {}, {speed}/s, {left} left", HumanBytes(position), HumanBytes(size)))
    }
}

impl Show for Lines {
    fn start(&self, blob: &Descriptor, state: State) {
        if state == State::Transferring {
            let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sum.began.get_or_insert_with(Instant::now);
            sum.moving.insert(blob.digest().to_string(), (0, blob.size()));
        }
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(moving) = sum.moving.get_mut(blob.digest().as_ref()) {
            moving.0 = position;
        }
        let line = sum.line(Instant::now());
        drop(sum);
        if let Some(line) = line {
            output::note(&line);
        }
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sum.moving.remove(blob.digest().as_ref()).is_some() && state == State::Done {
            sum.finished += blob.size();
        }
        drop(sum);
        output::note(&format!("{} {} {}", short(blob.digest()), word(state), HumanBytes(blob.size())));
    }

    fn note(&self, message: &str) {
        output::note(message);
    }
}
