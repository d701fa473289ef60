//! How a test registry is to be.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use super::misbehave::FirstRanges;
use super::registry::{Hosts, Inner, TestRegistry};
use super::storage::Storage;
use super::token_service::TOKEN_PATH;
use super::tokens::TokenServer;
use super::toxic::{Toxic, Toxics};
use crate::server::{Authorizer, Backend, Certificates, Front, Memory, Registry, Service, Settings};

/// Says how a [`TestRegistry`] is to be.
#[derive(Debug)]
pub struct Builder {
    backend: Arc<dyn Backend>,
    settings: Settings,
    authorizer: Option<Arc<dyn Authorizer>>,
    tokens: Option<Arc<TokenServer>>,
    certificates: Option<Certificates>,
    toxics: Vec<Toxic>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            backend: Arc::new(Memory::new()),
            settings: Settings::default(),
            authorizer: None,
            tokens: None,
            certificates: None,
            toxics: Vec::new(),
        }
    }
}

impl Builder {
    /// Keeps everything in `backend` instead of in memory.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backend = backend;
        self
    }

    /// Changes the settings.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Asks `authorizer` before every request.
    #[must_use]
    pub fn guarded_by(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    /// Demands tokens of this server, which answers beside the registry: at the same address on a socket, at
    /// `auth.HOST` in memory.
    #[must_use]
    pub fn tokens(mut self, tokens: TokenServer) -> Self {
        let tokens = Arc::new(tokens);
        self.tokens = Some(Arc::clone(&tokens));
        self.authorizer = Some(tokens);
        self
    }

    /// Speaks TLS on its socket.
    #[must_use]
    pub fn tls(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Misbehaves by this rule.
    #[must_use]
    pub fn toxic(mut self, toxic: Toxic) -> Self {
        self.toxics.push(toxic);
        self
    }

    /// Starts it on a free port of 127.0.0.1. Its other host is `localhost`, at the same port.
    ///
    /// # Panics
    /// Where it cannot start.
    pub async fn start(self) -> TestRegistry {
        let tls = self.certificates.clone();
        let inner = self.inner(if tls.is_some() { "https" } else { "http" }).await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let service = Arc::clone(&inner) as Arc<dyn Service>;
        let front = Front::listen(address, tls.as_ref(), service).await.expect("loopback has a free port");
        let own = front.address().to_string();
        let other = format!("localhost:{}", front.address().port());
        name(&inner, Hosts { tokens: own.clone(), own, other });
        TestRegistry { inner, front: Some(front) }
    }

    /// Makes it answer as `host` without a socket, its storage as `storage.HOST` and its token server as `auth.HOST`.
    /// Addresses it gives out have the scheme of the request they answer.
    ///
    /// # Panics
    /// Where the backend does not open.
    pub async fn in_memory(self, host: &str) -> TestRegistry {
        let inner = self.inner("https").await;
        let hosts =
            Hosts { own: host.to_owned(), other: format!("storage.{host}"), tokens: format!("auth.{host}") };
        name(&inner, hosts);
        TestRegistry { inner, front: None }
    }

    async fn inner(self, scheme: &'static str) -> Arc<Inner> {
        let registry = Registry::open(self.backend, self.settings).await.expect("the backend opens");
        let registry = match self.authorizer {
            Some(authorizer) => registry.guarded_by(authorizer),
            None => registry,
        };
        registry.traffic().set_logging(true);
        let toxics = Toxics::default();
        self.toxics.into_iter().for_each(|toxic| toxics.add(toxic));
        Arc::new(Inner {
            registry,
            tokens: self.tokens,
            toxics,
            storage: Storage::default(),
            first_ranges: FirstRanges::default(),
            hosts: OnceLock::new(),
            scheme,
        })
    }
}

/// Tells a registry its names, and its token server where it is.
fn name(inner: &Inner, hosts: Hosts) {
    if let Some(tokens) = &inner.tokens {
        tokens.set_realm(&format!("{}://{}{TOKEN_PATH}", inner.scheme, hosts.tokens));
    }
    let named = inner.hosts.set(hosts);
    named.expect("a registry is named once");
}
