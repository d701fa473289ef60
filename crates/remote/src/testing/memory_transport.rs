//! A transport without sockets: requests go to services by the name of their host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::header::{HOST, HeaderValue};
use http::{Request, Response};

use super::registry::TestRegistry;
use crate::body::Body;
use crate::server::Service;
use crate::server::sync::lock;
use crate::transport::{Phase, Reach, Route, Transport, TransportError};

/// Hosts in memory. Cheap to clone; clones share their hosts.
#[derive(Clone, Debug, Default)]
pub struct MemoryTransport {
    hosts: Arc<Mutex<HashMap<String, Host>>>,
}

#[derive(Clone, Debug)]
struct Host {
    service: Arc<dyn Service>,
    public: bool,
}

impl MemoryTransport {
    /// A network without hosts: every connection is refused, and names under `.invalid` (RFC 6761) do not resolve.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts all hosts of a registry on the network: its own, and those of its storage and its tokens.
    #[must_use]
    pub fn with(self, registry: &TestRegistry) -> Self {
        for host in registry.hosts() {
            lock(&self.hosts).insert(host, Host { service: registry.service(), public: true });
        }
        self
    }

    /// Puts any service on the network, as `HOST[:PORT]`. It is public.
    #[must_use]
    pub fn host(self, host: &str, service: Arc<dyn Service>) -> Self {
        lock(&self.hosts).insert(host.to_owned(), Host { service, public: true });
        self
    }

    /// Makes a host private: what reaches only public addresses does not reach it.
    #[must_use]
    pub fn private(self, host: &str) -> Self {
        if let Some(host) = lock(&self.hosts).get_mut(host) {
            host.public = false;
        }
        self
    }

    /// Takes a host off the network.
    pub fn remove(&self, host: &str) {
        lock(&self.hosts).remove(host);
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn send(
        &self,
        mut request: Request<Body>,
        route: &Route,
    ) -> Result<Response<Body>, TransportError> {
        let authority = request.uri().authority().map(ToString::to_string);
        let authority =
            authority.ok_or_else(|| TransportError::new(Phase::Setup, "the address has no host"))?;
        let host = lock(&self.hosts).get(&authority).cloned();
        let Some(host) = host else {
            if without_port(&authority).ends_with(".invalid") {
                return Err(TransportError::new(Phase::Resolve, format!("{authority}: no such host")));
            }
            return Err(TransportError::new(Phase::Connect, format!("{authority}: connection refused")));
        };
        if route.reach == Reach::Public && !host.public {
            return Err(TransportError::new(
                Phase::Forbidden,
                format!("{authority} is not a public address"),
            ));
        }
        let value =
            HeaderValue::try_from(authority).map_err(|error| TransportError::new(Phase::Setup, error))?;
        request.headers_mut().entry(HOST).or_insert(value);
        host.service.call(request).await.map_err(|dropped| TransportError::new(Phase::Exchange, dropped))
    }

    async fn is_public(&self, host: &str) -> bool {
        let hosts = lock(&self.hosts);
        let mut named = hosts.iter().filter(|(name, _)| without_port(name) == host).peekable();
        named.peek().is_none() || named.any(|(_, host)| host.public)
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}
