//! `--offline`: a transport that sends nothing.

use async_trait::async_trait;
use lazyblob::remote::body::Body;
use lazyblob::remote::transport::{Phase, Route, Transport, TransportError};

/// Refuses every request.
#[derive(Debug)]
pub(crate) struct Offline;

#[async_trait]
impl Transport for Offline {
    async fn send(
        &self,
        _request: http::Request<Body>,
        _route: &Route,
    ) -> Result<http::Response<Body>, TransportError> {
        Err(TransportError::new(Phase::Forbidden, "--offline allows no request"))
    }

    async fn is_public(&self, _host: &str) -> bool {
        false
    }
}
