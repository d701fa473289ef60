//! Progress of a shared transfer: from the one who works to all who watch.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lazyblob_flightcontrol::{Context, Item, Watcher};
use oci_spec::image::Descriptor;
use tokio::time::Instant;

use crate::error::Error;
use crate::progress::{Progress, Pulse, State};

/// So many notes are kept for those who read slowly.
const NOTES: u8 = 32;

/// What is put up on the board. Watchers see the last one of each [`Item::id`].
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Where the blob is. `newest` is the position as it is now: what comes shortly after one that was put up is not put
    /// up itself, and nothing may come after it.
    At { state: State, position: u64, newest: Arc<AtomicU64> },
    /// Something worth a line.
    Note { id: u8, text: Arc<str> },
    /// Something went wrong and is tried again.
    Retry { id: u8, error: Arc<Error>, wait: Duration },
}

impl Item for Event {
    type Id = u8;

    fn id(&self) -> u8 {
        match self {
            Self::At { .. } => u8::MAX,
            Self::Note { id, .. } | Self::Retry { id, .. } => *id,
        }
    }
}

/// The worker's end: what it is told goes to all who watch the transfer, now or later.
pub(super) struct Board {
    context: Context<Event>,
    at: Mutex<At>,
    notes: AtomicU8,
}

struct At {
    state: State,
    newest: Arc<AtomicU64>,
    pulse: Pulse,
}

impl Board {
    /// A board whose position is put up once in an `interval`.
    pub(super) fn new(context: Context<Event>, interval: Duration) -> Self {
        let at = At { state: State::Waiting, newest: Arc::default(), pulse: Pulse::new(interval) };
        Self { context, at: Mutex::new(at), notes: AtomicU8::new(0) }
    }

    fn note_id(&self) -> u8 {
        self.notes.fetch_add(1, Ordering::Relaxed) % NOTES
    }

    fn put(&self, change: impl FnOnce(&mut At) -> bool) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut at) {
            // Under the lock, so that the last one put up is the last one that was.
            let (newest, position) = (Arc::clone(&at.newest), at.newest.load(Ordering::Relaxed));
            self.context.emit(Event::At { state: at.state, position, newest });
        }
    }
}

impl Progress for Board {
    fn start(&self, _: &Descriptor, state: State) {
        self.put(|at| {
            at.state = state;
            true
        });
    }

    fn advance(&self, _: &Descriptor, position: u64) {
        self.put(|at| {
            at.newest.store(position, Ordering::Relaxed);
            at.pulse.beat(position, Instant::now())
        });
    }

    /// The outcome is told to each watcher with the result.
    fn finish(&self, _: &Descriptor, _: State) {}

    fn note(&self, message: &str) {
        self.context.emit(Event::Note { id: self.note_id(), text: message.into() });
    }

    fn retry(&self, failed: &Error, wait: Duration) {
        let error = Arc::new(failed.duplicate());
        self.context.emit(Event::Retry { id: self.note_id(), error, wait });
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

/// A watcher's end: tells its own [`Progress`] what came, and how it ended even if nobody waits for that any more. A
/// watcher that reads slowly misses states in between; what it tells is in the legal order all the same.
pub(super) struct Telling {
    blob: Descriptor,
    progress: Arc<dyn Progress>,
    /// The state of a blob whose bytes move here.
    moving: State,
    told: Option<State>,
    position: Option<u64>,
    /// Where it is by now, for as long as that has not been looked up.
    newest: Option<Arc<AtomicU64>>,
    ended: bool,
}

impl Telling {
    pub(super) fn new(blob: Descriptor, progress: Arc<dyn Progress>, moving: State) -> Self {
        Self { blob, progress, moving, told: None, position: None, newest: None, ended: false }
    }

    /// Tells what `watcher` sees, to its end. What came after the last position that was put up is told after an
    /// `interval` without another, so that a source that falls silent is shown where it is.
    pub(super) async fn follow(&mut self, mut watcher: Watcher<Event>, interval: Duration) {
        loop {
            tokio::select! {
                biased;
                event = watcher.next() => match event {
                    Some(event) => self.tell(&event),
                    None => return,
                },
                () = tokio::time::sleep(interval), if self.newest.is_some() => self.catch_up(),
            }
        }
    }

    fn catch_up(&mut self) {
        if let Some(newest) = self.newest.take()
            && self.told.is_some_and(State::is_moving)
        {
            self.move_to(newest.load(Ordering::Relaxed));
        }
    }

    fn tell(&mut self, event: &Event) {
        if let Event::At { newest, .. } = event {
            self.newest = Some(Arc::clone(newest));
        }
        match event {
            Event::At { state, position, .. } if state.is_moving() => self.move_to(*position),
            Event::At { state, position, .. } => {
                // What has come or gone meanwhile moved, and is told before it stands still.
                if self.told.is_some_and(State::is_moving) || *state == State::Verifying {
                    self.move_to(*position);
                }
                self.enter(*state);
            }
            Event::Note { text, .. } => self.progress.note(text),
            Event::Retry { error, wait, .. } => self.progress.retry(error, *wait),
        }
    }

    /// The blob has ended in `state`.
    pub(super) fn end(mut self, state: State) {
        self.ended = true;
        self.progress.finish(&self.blob, state);
    }

    fn move_to(&mut self, position: u64) {
        self.enter(self.moving);
        if self.position != Some(position) {
            self.position = Some(position);
            self.progress.advance(&self.blob, position);
        }
    }

    fn enter(&mut self, state: State) {
        if self.told == Some(state) {
            return;
        }
        if !state.may_follow(self.told) {
            // The states between were missed: it stopped, and goes on.
            self.stop();
        }
        if state.is_moving() {
            self.position = None;
        }
        self.told = Some(state);
        self.progress.start(&self.blob, state);
    }

    fn stop(&mut self) {
        if self.told.is_none_or(|told| !told.is_moving()) {
            self.told = Some(self.moving);
            self.progress.start(&self.blob, self.moving);
        }
        self.told = Some(State::Retrying { seconds: 0 });
        self.progress.start(&self.blob, State::Retrying { seconds: 0 });
    }
}

impl Drop for Telling {
    /// Whoever asked has left.
    fn drop(&mut self) {
        if !self.ended && self.told.is_some() {
            self.progress.finish(&self.blob, State::Failed);
        }
    }
}
