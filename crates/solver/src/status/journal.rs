//! What a job has told so far, for those who listen now and those who come later.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use smallvec::SmallVec;

use crate::status::Event;
use crate::status::order::Order;
use crate::status::tape::{Cursor, Tape};

/// Readers that have seen everything. Each has one waker, that of its last look.
type Waiting = SmallVec<[(u64, Waker); 2]>;

/// The events of a job, in order.
pub(crate) struct Journal(Mutex<Inner>);

struct Inner {
    order: Order,
    tape: Tape,
    ended: bool,
    readers: u64,
    waiting: Waiting,
}

impl Journal {
    /// An empty one that keeps this many bytes of what each vertex writes.
    pub(crate) fn new(log_limit: usize) -> Self {
        let (order, tape) = (Order::default(), Tape::new(log_limit));
        Self(Mutex::new(Inner { order, tape, ended: false, readers: 0, waiting: Waiting::new() }))
    }

    /// Held for a push or a look, never while a waker runs.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, if its vertex may tell it now. False if the journal has ended.
    pub(crate) fn push(&self, event: Event) -> bool {
        let mut inner = self.lock();
        if inner.ended {
            return false;
        }
        if inner.order.admits(&event) {
            inner.tape.push(event);
            wake(inner);
        }
        true
    }

    /// Nothing follows.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        wake(inner);
    }
}

/// Wakes all who wait, after letting go of the lock.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waiting = std::mem::take(&mut inner.waiting);
    drop(inner);
    waiting.into_iter().for_each(|(_, waker)| waker.wake());
}

/// Everything a job tells, from its beginning, however late one begins to listen; it ends when the job does.
///
/// Of each vertex:
/// * [`Started`](crate::What::Started) comes when it is not running and has neither [completed](crate::What::Completed) nor
///   [failed](crate::What::Failed); [`Completed`](crate::What::Completed) and [`Stopped`](crate::What::Stopped) while it runs.
/// * [`Cached`](crate::What::Cached) comes when it has not started, or has stopped. It may start after that: what one vertex
///   did not need, another may.
/// * [`Failed`](crate::What::Failed) comes once, at any time, and is the last of these.
/// * [`Lost`](crate::What::Lost) comes at any time before that. Where it has completed or was cached, all begins anew.
/// * [`Preparing`](crate::What::Preparing) and [`Prepared`](crate::What::Prepared) take turns, whatever else it does.
/// * Progress, logs and warnings come at any time; [`Dropped`](crate::What::Dropped) comes before a log.
///
/// What runs or is being prepared when the stream ends was given up with the job.
///
/// Each event is told once. Of a [`Progress`](crate::Progress) only the newest state is told to who comes late or falls
/// behind, and of a long log its beginning and its end ([`Settings::log_limit`](crate::Settings::log_limit)).
#[must_use = "nothing is told unless it is polled"]
pub struct Status {
    journal: Arc<Journal>,
    cursor: Cursor,
    reader: u64,
}

impl Status {
    pub(crate) fn of(journal: Arc<Journal>) -> Self {
        let reader = {
            let mut inner = journal.lock();
            inner.readers += 1;
            inner.readers
        };
        Self { journal, cursor: Cursor::default(), reader }
    }
}

impl Stream for Status {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let Self { journal, cursor, reader } = &mut *self;
        let mut inner = journal.lock();
        if let Some(event) = inner.tape.read(cursor) {
            return Poll::Ready(Some(event));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        match inner.waiting.iter_mut().find(|(waiting, _)| waiting == reader) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => inner.waiting.push((*reader, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.journal.lock().waiting.retain(|(waiting, _)| *waiting != self.reader);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use futures::{FutureExt, StreamExt};

    use super::*;
    use crate::status::What;

    fn warning(n: usize) -> Event {
        Event { at: SystemTime::UNIX_EPOCH, vertex: None, what: What::Warning(n.to_string()) }
    }

    #[test]
    fn readers_leave_nothing_behind_and_the_end_is_told_to_all() {
        let journal = Arc::new(Journal::new(0));
        let mut stays = Status::of(Arc::clone(&journal));
        for n in 0..100 {
            assert!(stays.next().now_or_never().is_none());
            let mut goes = Status::of(Arc::clone(&journal));
            (0..n).for_each(|_| assert!(goes.next().now_or_never().is_some()));
            assert!(goes.next().now_or_never().is_none());
            assert_eq!(journal.lock().waiting.len(), 2);
            drop(goes);
            assert_eq!(journal.lock().waiting.len(), 1);
            assert!(journal.push(warning(n)));
            let told = stays.next().now_or_never().flatten().map(|event| event.what);
            assert!(matches!(told, Some(What::Warning(told)) if told == n.to_string()));
        }
        journal.end();
        assert!(!journal.push(warning(100)));
        assert!(matches!(stays.next().now_or_never(), Some(None)));
        assert_eq!(Status::of(journal).collect::<Vec<_>>().now_or_never().map(|all| all.len()), Some(100));
    }
}
