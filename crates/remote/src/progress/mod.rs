//! What a transfer tells those who watch it.
//!
//! * [`State`] is the vocabulary, and knows which state may follow which.
//! * [`Progress`] takes the events of blobs.
//! * [`Pulse`] keeps positions to one an interval, for whoever emits or shows them.
//! * [`Meter`] makes a speed, a total and a time left of them, for whoever shows them.
//! * [`retrying`] and [`count_down`] are the wait before another try, in words and second by second.

mod meter;
mod pulse;
mod retrying;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oci_spec::image::Descriptor;

pub use meter::{Meter, Reading};
pub use pulse::Pulse;
pub use retrying::{count_down, retrying, seconds_left};
pub use state::State;

use crate::error::Error;

/// Takes the events of blobs. Implementations must return at once: they are called on the way of the bytes.
///
/// The states of one blob come in the order that [`State::may_follow`] allows, and end with exactly one call of
/// [`Progress::finish`]; what is queued, and only that, is announced as [`State::Waiting`]. A retry goes on where the
/// bytes ended; a restart enters [`State::Downloading`] or [`State::Uploading`] anew before its position falls.
pub trait Progress: Send + Sync + fmt::Debug {
    /// So many more blobs are about to be asked for: a display may count down from them.
    fn expect(&self, blobs: usize) {
        let _ = blobs;
    }
    /// A blob enters `state`, one that is not [final](State::is_final).
    fn start(&self, blob: &Descriptor, state: State);
    /// `position` bytes of the blob are through, while it is [moving](State::is_moving). The first position after it
    /// began to move is where it goes on from, 0 where from the beginning: what lies before has not moved in this
    /// run. Positions rise; only the first after a restart may be lower.
    fn advance(&self, blob: &Descriptor, position: u64);
    /// The blob has ended: [`State::Present`], [`State::Mounted`], [`State::Done`] or
    /// [`State::Failed`].
    fn finish(&self, blob: &Descriptor, state: State);
    /// Something worth a line: a source dropped, a server's warning.
    fn note(&self, message: &str);
    /// `failed` went wrong and is tried again after `wait`. Called once for each retry.
    fn retry(&self, failed: &Error, wait: Duration) {
        self.note(&format!("{failed}; {}", retrying(seconds_left(wait))));
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &Descriptor, _: State) {}
    fn advance(&self, _: &Descriptor, _: u64) {}
    fn finish(&self, _: &Descriptor, _: State) {}
    fn note(&self, _: &str) {}
}

/// A [`Silent`] watcher to hand on.
#[must_use]
pub fn silent() -> Arc<dyn Progress> {
    Arc::new(Silent)
}

/// Passes on what is worth a line, and nothing about the blob itself: for a blob read on the way to something else.
#[derive(Debug)]
struct NotesOnly(Arc<dyn Progress>);

impl Progress for NotesOnly {
    fn start(&self, _: &Descriptor, _: State) {}
    fn advance(&self, _: &Descriptor, _: u64) {}
    fn finish(&self, _: &Descriptor, _: State) {}

    fn note(&self, message: &str) {
        self.0.note(message);
    }

    fn retry(&self, failed: &Error, wait: Duration) {
        self.0.retry(failed, wait);
    }
}

/// A watcher that tells `progress` what is worth a line, but of no blob.
pub(crate) fn notes_only(progress: &Arc<dyn Progress>) -> Arc<dyn Progress> {
    Arc::new(NotesOnly(Arc::clone(progress)))
}
