//! What moves, told to a vertex.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lazyblob_remote::progress::{Progress, State};
use lazyblob_remote::{Descriptor, Digest};
use lazyblob_solver::{self as solver, LoadCx};

use super::routes::Routes;

/// Tells a vertex what happens to blobs: one part of its work for each. A blob that belongs to an image is told to that
/// image's own vertex.
#[derive(Debug)]
pub(super) struct OfVertex {
    cx: LoadCx,
    routes: Routes,
    /// Which way those that move do.
    moving: Mutex<HashMap<Digest, State>>,
}

impl OfVertex {
    pub(super) fn new(cx: LoadCx, routes: Routes) -> Self {
        Self { cx, routes, moving: Mutex::default() }
    }

    fn tell(&self, blob: &Descriptor, state: State, current: u64) {
        let id: Arc<str> = blob.digest().as_ref().into();
        let (total, done) = (Some(blob.size()), state.is_final());
        let progress = solver::Progress { id, action: state.word().into(), current, total, done };
        // What goes out of here is the work of who sends it.
        let owners = match state {
            State::Uploading | State::Present | State::Mounted => Vec::new(),
            _ => self.routes.of(blob.digest()),
        };
        if owners.is_empty() {
            self.cx.progress(progress);
            return;
        }
        for owner in owners {
            owner.progress(progress.clone());
        }
    }
}

impl Progress for OfVertex {
    fn start(&self, blob: &Descriptor, state: State) {
        if state.is_moving() {
            let mut moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
            moving.insert(blob.digest().clone(), state);
        }
        self.tell(blob, state, 0);
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let state = moving.get(blob.digest()).copied().unwrap_or(State::Downloading);
        drop(moving);
        self.tell(blob, state, position);
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner).remove(blob.digest());
        self.tell(blob, state, blob.size());
    }

    fn note(&self, message: &str) {
        self.cx.warn(message);
    }
}
