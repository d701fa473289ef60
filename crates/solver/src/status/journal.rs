//! What a job has told so far, for those who listen now and those who come later.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use oci_spec::image::Digest;

use crate::status::events::Events;
use crate::status::{Event, What};

/// The events of a job, in order. Of a progress that was told anew the older state is forgotten.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    events: Events,
    /// Where the last state of each progress is.
    latest: HashMap<(Digest, Arc<str>), usize>,
    ended: bool,
    /// Readers that have seen everything.
    waiting: Vec<Waker>,
}

impl Journal {
    /// Held for a push or a look, never while a waker runs.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, event: Event) {
        let mut inner = self.lock();
        if inner.ended {
            return;
        }
        let at = inner.events.len;
        if let (What::Progress(progress), Some(vertex)) = (&event.what, &event.vertex) {
            let before = inner.latest.insert((vertex.digest.clone(), Arc::clone(&progress.id)), at);
            if let Some(before) = before {
                inner.events.forget(before);
            }
        }
        inner.events.push(event);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Nothing follows.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Everything a job tells, from its beginning, however late one begins to listen. It ends when the job does.
#[must_use = "nothing is told unless it is polled"]
pub struct Status {
    journal: Arc<Journal>,
    next: usize,
}

impl Status {
    pub(crate) fn of(journal: Arc<Journal>) -> Self {
        Self { journal, next: 0 }
    }
}

impl Stream for Status {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = &mut *self;
        let mut inner = this.journal.lock();
        while this.next < inner.events.len {
            this.next += 1;
            if let Some(event) = inner.events.get(this.next - 1) {
                return Poll::Ready(Some(event));
            }
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        if !inner.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
