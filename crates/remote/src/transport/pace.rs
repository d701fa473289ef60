//! Time limits on silence: neither a long upload nor a long download is cut while bytes still move.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::body::{Body, BoxError};

/// Nothing came from the other side for this long.
#[derive(Debug, thiserror::Error)]
#[error("no {awaited} within {limit:?}")]
pub(crate) struct Silence {
    awaited: &'static str,
    limit: Duration,
}

/// Whose move it is while a request is under way.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// The server's, since this moment: it is to take the bytes or to answer.
    Server(Instant),
    /// Ours: the request body has no bytes ready, which is no fault of the server's.
    Source,
}

/// Watches a request body so that the wait for an answer begins when the server has what it needs.
#[derive(Clone, Debug)]
pub(crate) struct Watch(Arc<Mutex<Turn>>);

impl Watch {
    /// It is the server's turn once `grace`, the time a connection may take, is over.
    pub(crate) fn new(grace: Duration) -> Self {
        Self(Arc::new(Mutex::new(Turn::Server(Instant::now() + grace))))
    }

    /// The same body, watched.
    pub(crate) fn over(&self, body: Body) -> WatchedBody {
        WatchedBody { body, watch: self.clone() }
    }

    /// Waits for `answer`, but not longer than `limit` for a move of the server's.
    pub(crate) async fn bounded<F: Future>(&self, limit: Duration, answer: F) -> Result<F::Output, Silence> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let until = match self.turn() {
                Turn::Server(since) if since + limit <= Instant::now() => {
                    return Err(Silence { awaited: "answer", limit });
                }
                Turn::Server(since) => since + limit,
                Turn::Source => Instant::now() + limit,
            };
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    fn turn(&self) -> Turn {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, turn: Turn) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }
}

/// A request body under [`Watch`].
pub(crate) struct WatchedBody {
    body: Body,
    watch: Watch,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.watch.set(if polled.is_pending() { Turn::Source } else { Turn::Server(Instant::now()) });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body that ends with an error after `limit` without a byte while somebody is reading it.
pub(crate) struct PacedBody {
    body: reqwest::Body,
    limit: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl PacedBody {
    pub(crate) fn new(body: reqwest::Body, limit: Duration) -> Self {
        Self { body, limit, alarm: None }
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(cx) {
            // A reader that takes its time between two reads is not the server's silence.
            this.alarm = None;
            return Poll::Ready(next.map(|frame| frame.map_err(|error| error.without_url().into())));
        }
        let limit = this.limit;
        let alarm = this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(alarm.as_mut().poll(cx));
        this.alarm = None;
        Poll::Ready(Some(Err(Silence { awaited: "byte", limit }.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::body;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Row 57a: the head of an answer has its time, which begins when the server has what it needs.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_runs_out_of_time() {
        let began = Instant::now();
        let watch = Watch::new(Duration::from_secs(10));
        let error = watch.bounded(LIMIT, std::future::pending::<()>()).await.unwrap_err();
        assert!(error.to_string().contains("30s"), "{error}");
        assert_eq!(began.elapsed(), Duration::from_secs(40));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_does_not() {
        let watch = Watch::new(Duration::ZERO);
        let slow = futures::stream::unfold(0, |sent| async move {
            tokio::time::sleep(LIMIT * 2).await;
            (sent < 5).then_some((Ok::<_, BoxError>(Bytes::from_static(b"x")), sent + 1))
        });
        let upload = watch.over(body::streaming(slow, Some(5)));
        let bytes = watch.bounded(LIMIT, http_body_util::BodyExt::collect(upload)).await.unwrap().unwrap();
        assert_eq!(bytes.to_bytes().len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_a_silent_server() {
        let chunks = futures::stream::iter(["x"; 3]).map(|chunk| Ok::<_, BoxError>(Bytes::from(chunk)));
        let mut body = PacedBody::new(reqwest::Body::wrap(body::streaming(chunks, None)), LIMIT);
        for _ in 0..3 {
            tokio::time::sleep(LIMIT * 3).await;
            assert!(http_body_util::BodyExt::frame(&mut body).await.unwrap().is_ok());
        }
        let mut silent = PacedBody::new(
            reqwest::Body::wrap(body::streaming(futures::stream::pending::<Result<_, BoxError>>(), None)),
            LIMIT,
        );
        let error = http_body_util::BodyExt::frame(&mut silent).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("no byte within 30s"), "{error}");
    }
}
