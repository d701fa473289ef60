//! What moves, told to a vertex.

use std::sync::Arc;

use lazyblob_remote::Descriptor;
use lazyblob_remote::progress::{Progress, State};
use lazyblob_solver::{self as solver, LoadCx};

/// Tells a vertex what happens to blobs: one part of its work for each.
#[derive(Debug)]
pub(super) struct OfVertex(LoadCx);

impl OfVertex {
    pub(super) fn new(cx: LoadCx) -> Self {
        Self(cx)
    }

    fn tell(&self, blob: &Descriptor, action: &str, current: u64, done: bool) {
        let id: Arc<str> = blob.digest().as_ref().into();
        let total = Some(blob.size());
        self.0.progress(solver::Progress { id, action: action.into(), current, total, done });
    }
}

impl Progress for OfVertex {
    fn start(&self, blob: &Descriptor, state: State) {
        self.tell(blob, state.word(), 0, false);
    }

    fn advance(&self, blob: &Descriptor, position: u64) {
        self.tell(blob, State::Downloading.word(), position, false);
    }

    fn finish(&self, blob: &Descriptor, state: State) {
        self.tell(blob, state.word(), blob.size(), true);
    }

    fn note(&self, message: &str) {
        self.0.warn(message);
    }
}
