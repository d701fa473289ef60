//! The HTTP library's only door. A transport sends one request and follows nothing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::body::{Body, BoxError};

pub mod address;
mod cause;
pub mod http;
mod pace;
mod resolver;
mod tls;

pub use self::http::{HttpTransport, Settings};

/// How a host's TLS is checked, and what we show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// PEM files of certification authorities beside the system's.
    pub ca: Vec<PathBuf>,
    /// PEM files of a client certificate chain and of its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Accepts any certificate.
    pub insecure: bool,
}

/// Which addresses a request may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Any: the user named the host.
    #[default]
    Any,
    /// Only public ones: a public host led here, and it must not lead into a private network.
    Public,
}

/// How a request goes out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    /// TLS of the host.
    pub tls: Arc<Tls>,
    /// Addresses it may reach.
    pub reach: Reach,
}

/// Why no response came.
#[derive(Debug)]
pub struct TransportError {
    /// What failed.
    pub phase: Phase,
    /// The library's own error.
    pub cause: BoxError,
}

/// Where on its way a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The host's name does not resolve. Final.
    Resolve,
    /// No connection: refused, unreachable, timed out. Worth another try.
    Connect,
    /// The TLS handshake or a certificate. Final.
    Tls,
    /// A rule of ours: the address may not be reached from here. Final.
    Forbidden,
    /// The connection broke, or no answer came in time. Worth another try.
    Exchange,
    /// The request could not be made: a bad certificate file, a bad proxy. Final.
    Setup,
}

impl TransportError {
    /// An error of `phase`.
    pub fn new(phase: Phase, cause: impl Into<BoxError>) -> Self {
        Self { phase, cause: cause.into() }
    }

    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.phase, Phase::Connect | Phase::Exchange)
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Resolve => "host name does not resolve",
            Phase::Connect => "cannot connect",
            Phase::Tls => "TLS",
            Phase::Forbidden => "refused",
            Phase::Exchange => "connection broke",
            Phase::Setup => "cannot set up the connection",
        };
        write!(f, "{phase}: {}", crate::error::chain(self.cause.as_ref()))
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

/// Sends requests.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends one request to its absolute URI and returns the head of the answer with its body still to come.
    /// Redirects are answers like any other.
    ///
    /// # Errors
    /// [`TransportError`] where no answer came. An answer with any status is a success here.
    async fn send(
        &self,
        request: ::http::Request<Body>,
        route: &Route,
    ) -> Result<::http::Response<Body>, TransportError>;

    /// Whether what `host` (no port) names must be public: true unless `host` is private for certain, that is, a
    /// private or loopback address, or a name with addresses of which each is one. Whoever owns a name decides what
    /// it resolves to, so a name with any public address is public, and so is one that does not resolve.
    async fn is_public(&self, host: &str) -> bool;
}
