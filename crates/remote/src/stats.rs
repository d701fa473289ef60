//! What was sent and what moved: every request and every body byte, as `--stats` shows them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::body::{Body, BoxError};
use crate::request::Counter;

/// Counts of one run. Cheap to share; everything only grows.
#[derive(Debug, Default)]
pub struct Stats {
    /// Requests by kind, 401s, redirects and retries included.
    pub requests: Counter,
    down: Arc<AtomicU64>,
    up: Arc<AtomicU64>,
}

impl Stats {
    /// Body bytes received.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Body bytes sent.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    pub(crate) fn count_down(&self, body: Body) -> Body {
        Counted { body, bytes: Arc::clone(&self.down) }.boxed()
    }

    pub(crate) fn count_up(&self, body: Body) -> Body {
        Counted { body, bytes: Arc::clone(&self.up) }.boxed()
    }
}

struct Counted {
    body: Body,
    bytes: Arc<AtomicU64>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
