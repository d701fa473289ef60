//! What answers requests, with or without a socket in front of it.

use async_trait::async_trait;
use http::{Request, Response};

use crate::body::Body;

/// Answers requests. The socket front and the in-memory transport of the tests both call it.
#[async_trait]
pub trait Service: Send + Sync + std::fmt::Debug + 'static {
    /// Answers one request, or drops its connection without an answer.
    ///
    /// # Errors
    /// [`Dropped`]: the peer sees its connection break.
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Dropped>;
}

/// The connection ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection reset by the server")]
pub struct Dropped;
