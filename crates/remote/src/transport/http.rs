//! The transport over real connections: reqwest with rustls on ring, HTTP/2 where the server offers it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderValue, Method, Request, Response};
use async_trait::async_trait;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::OnceCell;
use url::Url;

use super::address::{Spelling, is_public};
use super::cause::classified;
use super::pace::{PacedBody, Watch};
use super::resolver::{Dialled, ForbiddenAddress, Names, Publicness};
use super::tls::{self, SystemRoots};
use super::{Phase, Reach, Route, Transport, TransportError};
use crate::body::Body;
use crate::error::chain;

/// Time limits and the like. The limits on silence begin anew with every byte: none bounds a whole transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name look-up, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// From the last byte the server took to the head of its answer.
    pub response_timeout: Duration,
    /// From one byte of an answer's body to the next.
    pub read_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// The `User-Agent` of requests that bring none.
    pub user_agent: String,
    /// Whether `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` of the environment are heeded.
    pub environment_proxies: bool,
    /// Names that are not looked up, and the addresses they have, as a hosts file says it.
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
            pool_idle_timeout: Duration::from_secs(60),
            user_agent: concat!("lazyblob/", env!("CARGO_PKG_VERSION")).to_owned(),
            environment_proxies: true,
            addresses: BTreeMap::new(),
        }
    }
}

/// Windows of HTTP/2, in bytes: enough for a fast link, and little enough for a small machine.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

type Client = Arc<OnceCell<reqwest::Client>>;

/// Sends requests over TCP and TLS. One connection pool per [`Route`], made when it is first used.
pub struct HttpTransport {
    settings: Settings,
    proxies: Vec<String>,
    roots: Arc<SystemRoots>,
    names: Arc<Names>,
    hosts: Publicness,
    clients: Mutex<HashMap<Route, Client>>,
}

impl HttpTransport {
    /// A transport that has opened nothing yet. Costs nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let proxies = if settings.environment_proxies { proxy_hosts() } else { Vec::new() };
        let names = Arc::new(Names::new(settings.addresses.clone()));
        Self {
            settings,
            proxies,
            roots: Arc::default(),
            hosts: Publicness::of(Arc::clone(&names)),
            names,
            clients: Mutex::default(),
        }
    }

    async fn client(&self, route: &Route) -> Result<reqwest::Client, TransportError> {
        let cell = {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(clients.entry(route.clone()).or_default())
        };
        cell.get_or_try_init(|| self.build(route)).await.cloned()
    }

    async fn build(&self, route: &Route) -> Result<reqwest::Client, TransportError> {
        let settings = &self.settings;
        let tls = tls::client(&route.tls, &self.roots)
            .await
            .map_err(|error| TransportError::new(Phase::Setup, error))?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(&settings.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // Every request is counted, so none is repeated behind our back.
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(settings.pool_idle_timeout)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW);
        if !settings.environment_proxies {
            builder = builder.no_proxy();
        }
        let (names, proxies) = (Arc::clone(&self.names), self.proxies.clone());
        let public = route.reach == Reach::Public;
        builder = builder.dns_resolver(Arc::new(Dialled { names, public, proxies }));
        builder.build().map_err(|error| TransportError::new(Phase::Setup, error.without_url()))
    }

    /// The same error; where no connection came about, with all addresses that were tried.
    fn dialled(&self, host: &str, error: TransportError) -> TransportError {
        match self.names.several(host).filter(|_| error.phase == Phase::Connect) {
            Some(several) => {
                let cause = format!("{}; {several}", chain(error.cause.as_ref()));
                TransportError::new(error.phase, cause)
            }
            None => error,
        }
    }

    /// Refuses what the resolver cannot see: addresses in the URL itself, and names that go to a proxy.
    async fn check_reach(&self, url: &Url) -> Result<(), TransportError> {
        let host = url.host_str().unwrap_or_default();
        let forbidden = |address: String| {
            let error = ForbiddenAddress { host: host.to_owned(), address };
            Err(TransportError::new(Phase::Forbidden, error))
        };
        match Spelling::of(host) {
            Spelling::Literal(address) if !is_public(address) => forbidden(address.to_string()),
            Spelling::Loopback => forbidden("this machine".to_owned()),
            Spelling::Malformed => Err(TransportError::new(Phase::Setup, "the address has no host")),
            // The proxy looks the name up; ours need not resolve, but where it does it must be public.
            Spelling::Name(name) if !self.proxies.is_empty() => match self.hosts.check(&name).await {
                Ok(Err(error)) => Err(TransportError::new(Phase::Forbidden, error)),
                Ok(Ok(())) | Err(_) => Ok(()),
            },
            Spelling::Literal(_) | Spelling::Name(_) => Ok(()),
        }
    }
}

impl Default for HttpTransport {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request<Body>, route: &Route) -> Result<Response<Body>, TransportError> {
        let client = self.client(route).await?;
        let watch = Watch::new(self.settings.connect_timeout);
        let mut request = request.map(|body| reqwest::Body::wrap(watch.over(body)));
        say_length_zero(&mut request);
        let request = reqwest::Request::try_from(request)
            .map_err(|error| TransportError::new(Phase::Setup, error.without_url()))?;
        if route.reach == Reach::Public {
            self.check_reach(request.url()).await?;
        }
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let needs_roots = request.url().scheme() == "https" && !route.tls.insecure;
        let (answer, ()) = tokio::join!(
            watch.bounded(self.settings.response_timeout, client.execute(request)),
            // While the connection is being made, so that no worker is held up by the first check.
            async {
                if needs_roots {
                    self.roots.warm().await;
                }
            },
        );
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.dialled(&host, classified(error))),
            Err(silence) => return Err(TransportError::new(Phase::Exchange, silence)),
        };
        if let Some(address) = answer.remote_addr() {
            self.hosts.meet(&host, address.ip());
        }
        let limit = self.settings.read_timeout;
        Ok(Response::from(answer).map(|body| PacedBody::new(body, limit).boxed()))
    }

    async fn is_public(&self, host: &str) -> bool {
        !self.hosts.is_private(host).await
    }
}

/// RFC 9110, section 8.6: a method that takes content says so when there is none. The library leaves it out, and some
/// servers answer 411 then.
fn say_length_zero(request: &mut Request<reqwest::Body>) {
    if request.body().is_end_stream()
        && matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH)
    {
        request.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
    }
}

/// Hosts of the proxies the environment names.
fn proxy_hosts() -> Vec<String> {
    let mut hosts = Vec::new();
    for variable in ["http_proxy", "https_proxy", "all_proxy"] {
        for variable in [variable.to_owned(), variable.to_ascii_uppercase()] {
            let Ok(value) = std::env::var(variable) else { continue };
            let url = if value.contains("://") { value } else { format!("http://{value}") };
            let host = Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned));
            hosts.extend(host);
        }
    }
    hosts
}
