//! Bodies: bytes on their way, never whole in memory unless bounded.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, Stream, StreamExt};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use sync_wrapper::SyncWrapper;

use crate::error::{Error, Result};

/// Any error a body may end with before it is given an operation and an object.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An HTTP body of either direction.
pub type Body = BoxBody<Bytes, BoxError>;

/// Bytes with errors that already name operation and object.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// A body without bytes.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body that is already in memory.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A body of exactly `length` bytes that are still to come; `None` where the length is not known.
#[must_use]
pub fn streaming<S, E>(stream: S, length: Option<u64>) -> Body
where
    S: Stream<Item = std::result::Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    let stream = stream.map(|item| item.map_err(Into::into)).boxed();
    BodyExt::boxed(StreamBody { stream: SyncWrapper::new(stream), length })
}

/// The chunks of `body`; trailers are dropped.
pub fn chunks(body: Body) -> impl Stream<Item = std::result::Result<Bytes, BoxError>> + Send {
    futures::stream::unfold(body, |mut body| async move {
        loop {
            return match body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => Some((Ok(data), body)),
                    Err(_trailers) => continue,
                },
                Err(error) => Some((Err(error), body)),
            };
        }
    })
}

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// The body's own error, or [`TooLong`] once more than `limit` bytes have come.
pub async fn collect(body: Body, limit: u64) -> std::result::Result<Bytes, BoxError> {
    let mut whole = BytesMut::new();
    let mut chunks = std::pin::pin!(chunks(body));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if (whole.len() + chunk.len()) as u64 > limit {
            return Err(Box::new(TooLong { limit }));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// A body that went past the limit set for it.
#[derive(Debug, thiserror::Error)]
#[error("body is longer than the limit of {limit} bytes")]
pub struct TooLong {
    /// The limit in bytes.
    pub limit: u64,
}

/// A stream of one chunk, or of none where `bytes` is empty.
#[must_use]
pub fn once(bytes: Bytes) -> ByteStream {
    futures::stream::iter((!bytes.is_empty()).then_some(Ok::<_, Error>(bytes))).boxed()
}

struct StreamBody {
    stream: SyncWrapper<BoxStream<'static, std::result::Result<Bytes, BoxError>>>,
    length: Option<u64>,
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BoxError>>> {
        self.stream.get_mut().poll_next_unpin(cx).map(|next| next.map(|item| item.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}
