//! How long a source keeps us waiting, and when that is too long.
//!
//! Only the time between a reader's asking and the source's having something counts: neither the time a blob waits for
//! its slot, nor what a slow disk, a slow target or a commit takes.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use crate::body::{BoxError, ByteStream};
use crate::error::{Error, Result, What};

/// What a source must bring, so as not to be given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The longest wait for the next byte.
    pub stall: Duration,
    /// The least speed in bytes per second, over `window`; zero asks for none.
    pub least: u64,
    /// The time in which the speed is taken.
    pub window: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { stall: Duration::from_secs(30), least: 1024, window: Duration::from_secs(60) }
    }
}

/// Why a source was given up.
#[derive(Debug, thiserror::Error)]
enum TooSlow {
    #[error("no byte within {0:?}")]
    Stalled(Duration),
    #[error("{bytes} bytes in {waited:?} are below the least speed of {least} bytes per second")]
    Crawls { bytes: u64, waited: Duration, least: u64 },
}

/// A body under watch.
pub(super) struct Paced {
    body: ByteStream,
    pace: Pace,
    what: What,
    alarm: Option<Pin<Box<Sleep>>>,
    waiting: Option<Waiting>,
    /// The body has ended, and is not asked again.
    ended: bool,
    /// Bytes still to be dropped at the beginning.
    skip: u64,
    /// Time waited, and bytes come, in this window.
    waited: Duration,
    bytes: u64,
}

/// A wait under way.
struct Waiting {
    since: Instant,
    bell: Arc<Bell>,
}

/// Notes the moment when the source had something.
struct Bell {
    reader: Waker,
    rung: Mutex<Option<Instant>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        self.reader.wake_by_ref();
    }
}

impl Waiting {
    /// How long the source took.
    fn over(self) -> Duration {
        let rung = *self.bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
        rung.unwrap_or_else(Instant::now).saturating_duration_since(self.since)
    }
}

impl Paced {
    pub(super) fn new(body: ByteStream, pace: Pace, what: What) -> Self {
        let (alarm, waiting, ended, skip, waited, bytes) = Default::default();
        Self { body, pace, what, alarm, waiting, ended, skip, waited, bytes }
    }

    /// Drops the next `bytes`: the source began earlier than asked.
    pub(super) fn drop_first(&mut self, bytes: u64) {
        self.skip = bytes;
    }

    fn give_up(&self, why: TooSlow) -> Error {
        Error::broken(self.what.operation, &self.what.object, &BoxError::from(why))
    }

    /// Books a wait that is over, and says whether the window was slow.
    fn book(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.alarm = None;
        self.waited += self.waiting.take().map(Waiting::over).unwrap_or_default();
        self.bytes += bytes as u64;
        if self.waited < self.pace.window {
            return Ok(());
        }
        let (bytes, waited) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.waited));
        // Products instead of a quotient: nothing is rounded, and nothing overflows.
        let (came, wanted) = (u128::from(bytes) * 1000, u128::from(self.pace.least) * waited.as_millis());
        if came < wanted { Err(TooSlow::Crawls { bytes, waited, least: self.pace.least }) } else { Ok(()) }
    }
}

impl Stream for Paced {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            let mut next = ready!(this.poll_source(cx));
            this.ended = next.is_none();
            if let Some(Ok(bytes)) = &mut next
                && this.skip > 0
            {
                let cut = usize::try_from(this.skip).unwrap_or(usize::MAX).min(bytes.len());
                this.skip -= cut as u64;
                *bytes = bytes.split_off(cut);
                if bytes.is_empty() {
                    continue;
                }
            }
            return Poll::Ready(next);
        }
    }
}

impl Paced {
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // Asked again before it has something, the source rings the same bell.
        let known = self.waiting.as_ref().map(|waiting| &waiting.bell);
        let bell = match known.filter(|bell| bell.reader.will_wake(cx.waker())) {
            Some(bell) => Arc::clone(bell),
            None => Arc::new(Bell { reader: cx.waker().clone(), rung: Mutex::default() }),
        };
        let waker = Waker::from(Arc::clone(&bell));
        if let Poll::Ready(next) = self.body.poll_next_unpin(&mut Context::from_waker(&waker)) {
            let length = next.as_ref().and_then(|next| next.as_ref().ok()).map_or(0, Bytes::len);
            let paced = self.book(length);
            return Poll::Ready(match (next, paced) {
                (Some(Ok(_)), Err(slow)) => Some(Err(self.give_up(slow))),
                (next, _) => next,
            });
        }
        match &mut self.waiting {
            Some(waiting) => {
                // If it rang, it was a false alarm: nothing has come.
                bell.rung.lock().unwrap_or_else(PoisonError::into_inner).take();
                waiting.bell = bell;
            }
            None => self.waiting = Some(Waiting { since: Instant::now(), bell }),
        }
        let stall = self.pace.stall;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(alarm.as_mut().poll(cx));
        self.alarm = None;
        Poll::Ready(Some(Err(self.give_up(TooSlow::Stalled(stall)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { stall: Duration::from_secs(10), least: 100, window: Duration::from_secs(30) };

    /// Chunks that come after the waits given.
    fn coming(chunks: Vec<(u64, usize)>) -> Paced {
        let body = futures::stream::iter(chunks).then(|(wait, bytes)| async move {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            Ok(Bytes::from(vec![0; bytes]))
        });
        Paced::new(body.boxed(), PACE, What::new("read blob", "sha256:0"))
    }

    /// Row 61: a source that says nothing for too long is given up, one that is slow but moves is not.
    #[tokio::test(start_paused = true)]
    async fn silence_is_cut_off_and_slowness_is_not() {
        let mut silent = coming(vec![(1, 1), (11, 1)]);
        assert!(silent.next().await.unwrap().is_ok());
        let began = Instant::now();
        let error = silent.next().await.unwrap().unwrap_err();
        assert_eq!(began.elapsed(), PACE.stall);
        assert!(error.is_transient() && error.to_string().contains("no byte within 10s"), "{error}");

        let slow = coming(vec![(9, 1000); 20]);
        assert_eq!(slow.filter(|item| std::future::ready(item.is_ok())).count().await, 20);
    }

    /// Row 61: bytes that only trickle are cut off after a window.
    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_cut_off() {
        let mut trickle = coming(vec![(5, 10); 20]);
        let mut came = 0;
        let error = loop {
            match trickle.next().await.unwrap() {
                Ok(_) => came += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(came, 5, "the sixth ends the window of 30 s");
        assert!(error.to_string().contains("60 bytes in 30s are below"), "{error}");
    }

    /// Row 61: time that the reader takes is not the source's.
    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_no_slow_source() {
        let mut body = coming(vec![(1, 150); 40]);
        for _ in 0..40 {
            // Asked once, then left alone for longer than anything allows, as a connection does that cannot send.
            assert!(futures::poll!(body.next()).is_pending());
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert!(body.next().await.unwrap().is_ok());
        }
    }
}
