//! One request with everything that belongs to it: authorisation, redirects, the count.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use url::Url;

use super::hops::{authority, redacted, redirect, same_origin};
use super::response::Answer;
use super::{Registry, Repository};
use crate::access::Access;
use crate::auth::{self, Asker, Challenge, Secrets, Token, TokenRequest};
use crate::body::{self, Body};
use crate::error::{Error, Result, What, chain};
use crate::hosts::Address;
use crate::keychain::{Heard, Keychain};
use crate::reference::{DOCKER_HUB, DOCKER_HUB_API};
use crate::request::Kind;
use crate::transport::{Phase, Reach, Route};

/// What a request carries.
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// Bytes that can be sent again.
    Whole(Bytes),
    /// Bytes that come once.
    Stream(Body),
}

/// One request of the distribution API.
pub(crate) struct Call {
    pub(crate) kind: Kind,
    pub(crate) what: What,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// A refusal is an answer like any other: nothing is done to get past it.
    pub(crate) courtesy: bool,
}

impl Call {
    pub(crate) fn new(kind: Kind, method: Method, what: What) -> Self {
        Self { kind, what, method, headers: HeaderMap::new(), payload: Payload::Empty, courtesy: false }
    }

    /// Nobody needs its success: no token is minted for rights that it lacks.
    pub(crate) fn courtesy(mut self) -> Self {
        self.courtesy = true;
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
}

/// Follows no more redirects than this.
const MAX_REDIRECTS: usize = 8;

impl Repository {
    /// Sends `call` to `url` of the address `at`. Answers of any status come back, except a 401 that no credential
    /// settles; that one, too, where the call is a courtesy. Where the asker has several credentials, one that is refused
    /// gives way to the next.
    pub(super) async fn exchange(&self, at: &Address, url: Url, mut call: Call) -> Result<Answer> {
        let host = credential_host(at, &self.host.upstream, self.name.host());
        let again = !call.courtesy && !matches!(call.payload, Payload::Stream(_));
        loop {
            let heard = Arc::new(Heard::new(&self.access.keychain));
            let access = Access { keychain: Arc::clone(&heard) as Arc<dyn Keychain>, ..self.access.clone() };
            let outcome = self.exchange_as(&access, at, &host, url.clone(), &mut call).await;
            let refused = match &outcome {
                Ok(answer) => !answer.elsewhere && answer.status == StatusCode::FORBIDDEN,
                Err(error) => matches!(error.root(), Error::Unauthorized { .. }),
            };
            let Some(credential) = heard.last().filter(|_| again && refused) else { return outcome };
            if !self.access.keychain.refused(&host, self.name.path(), &credential).await {
                return outcome;
            }
            tracing::debug!(host, repository = self.name.path(), "refused; the asker has another credential");
        }
    }

    /// The same with the one credential that `access` has.
    async fn exchange_as(
        &self,
        access: &Access,
        at: &Address,
        host: &str,
        url: Url,
        call: &mut Call,
    ) -> Result<Answer> {
        let asker =
            Asker { base: &at.base, host, repository: self.name.path(), scopes: &self.scopes, access };
        let minter = Minting { repository: self, at, host };
        let authority = &self.registry.0.authority;
        // An upload session may be on another host (a store behind the registry): that one gets no credentials.
        let home = same_origin(&url, &at.base);
        let mut shown = if home { authority.before(asker, &minter).await? } else { None };
        let answer = self.follow(at, url.clone(), call, shown.as_ref()).await?;
        if call.courtesy {
            return Ok(answer);
        }
        if answer.status != StatusCode::UNAUTHORIZED || !home || answer.elsewhere {
            return Ok(self.hinted(answer, host, shown.is_some()).await);
        }
        let challenges = challenges(&answer);
        let refused = answer.into_error(call.what.clone()).await;
        let had_shown = shown.is_some();
        shown = authority.after(asker, challenges, shown.as_ref(), &minter).await?;
        if shown.is_none() {
            let Error::Unauthorized { what, reason } = refused else { return Err(refused) };
            let hint = self.hint(host, had_shown).await;
            return Err(Error::Unauthorized { what, reason: format!("{reason}{hint}") });
        }
        if matches!(call.payload, Payload::Stream(_)) {
            let reason = "the token expired under an upload; a new one is at hand".to_owned();
            let what = call.what.clone();
            return Err(Error::Unavailable { what, reason, retry_after: None, transient: true });
        }
        let answer = self.follow(at, url, call, shown.as_ref()).await?;
        let answer = self.hinted(answer, host, true).await;
        if answer.status == StatusCode::UNAUTHORIZED && !answer.elsewhere {
            return Err(answer.into_error(call.what.clone()).await);
        }
        Ok(answer)
    }

    /// The name the keychain knows the upstream by.
    pub(super) fn credential_host(&self) -> String {
        credential_host(&self.host.upstream, &self.host.upstream, self.name.host())
    }

    /// The same answer; a refusal says with what credential it met, and what to do.
    async fn hinted(&self, mut answer: Answer, host: &str, shown: bool) -> Answer {
        let refusal = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if refusal && !answer.elsewhere {
            answer.hint = self.hint(host, shown).await;
        }
        answer
    }

    async fn hint(&self, host: &str, shown: bool) -> String {
        match self.access.keychain.credential(host, self.name.path()).await {
            Ok(crate::Credential::Anonymous) => {
                format!("; no credentials for {host} are known: `lazyblob login {host}`")
            }
            Ok(_) if shown => format!("; the credentials for {host} are not accepted or not sufficient"),
            _ => format!("; the credentials for {host} are of no use to what it asks for"),
        }
    }

    /// Sends and follows redirects. Authorization goes to the origin it is for and never to another.
    async fn follow(
        &self,
        at: &Address,
        url: Url,
        call: &mut Call,
        shown: Option<&HeaderValue>,
    ) -> Result<Answer> {
        let mut url = url;
        // Whoever it was handed to once does not send it back with our name on it.
        let mut home = true;
        // After a 303, what is asked for is elsewhere, and the request was heard (RFC 9110, section 15.4.4).
        let mut see_other = false;
        for hop in 0..=MAX_REDIRECTS {
            let mut headers = call.headers.clone();
            home &= same_origin(&url, &at.base);
            if home {
                for (name, value) in &at.headers {
                    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
                    {
                        headers.append(name, value);
                    }
                }
                if let Some(shown) = shown {
                    headers.insert(header::AUTHORIZATION, shown.clone());
                }
            }
            let route = self.route(at, &url, &call.what).await?;
            let see = see_other && !matches!(call.method, Method::GET | Method::HEAD);
            let method = if see { Method::GET } else { call.method.clone() };
            let (body, length) =
                if see { (body::empty(), None) } else { take_body(&mut call.payload, &method) };
            if see {
                headers.remove(header::CONTENT_TYPE);
                headers.remove(header::CONTENT_RANGE);
            }
            if let Some(length) = length {
                headers.insert(header::CONTENT_LENGTH, length.into());
            }
            let mut request = Request::builder().method(method).uri(url.as_str());
            if let Some(all) = request.headers_mut() {
                *all = headers;
            }
            let request = request.body(body).map_err(|error| {
                Error::invalid(call.what.operation, &call.what.object, format_args!("address: {error}"))
            })?;
            let kind = if hop == 0 { call.kind } else { Kind::Redirect };
            let response = self.dispatch(kind, request, &url, &route, &call.what).await?;
            let secrets = self.secrets(at, shown, response.status()).await;
            self.registry.warnings(response.headers(), &secrets, &self.access);
            see_other |= response.status() == StatusCode::SEE_OTHER;
            let Some(next) = redirect(&response, &url) else {
                let (parts, body) = response.into_parts();
                let elsewhere = !same_origin(&url, &at.base);
                let (status, headers) = (parts.status, parts.headers);
                return Ok(Answer { status, headers, body, url, elsewhere, hint: String::new(), secrets });
            };
            let next =
                next.map_err(|reason| Error::refused(call.what.operation, &call.what.object, reason))?;
            if matches!(call.payload, Payload::Stream(_)) {
                let reason = "the host redirects an upload whose bytes were already under way";
                return Err(Error::refused(call.what.operation, &call.what.object, reason));
            }
            url = next;
        }
        let reason = format!("more than {MAX_REDIRECTS} redirects");
        Err(Error::refused(call.what.operation, &call.what.object, reason))
    }

    /// What a request that shows `shown` gives away, and must not come out of the answer of this status.
    async fn secrets(&self, at: &Address, shown: Option<&HeaderValue>, status: StatusCode) -> Secrets {
        let mut secrets = Secrets::default();
        for (name, value) in &at.headers {
            secrets.add_header(name, value);
        }
        let Some(shown) = shown else { return secrets };
        secrets.add_authorization(shown);
        if !status.is_success() {
            // It was asked for already; the host that takes tokens may be the one that sells them.
            let host = credential_host(at, &self.host.upstream, self.name.host());
            if let Ok(credential) = self.access.keychain.credential(&host, self.name.path()).await {
                secrets.add_credential(&credential);
            }
        }
        secrets
    }

    /// TLS and reach for `url`: wherever a public host leads must be public, too.
    pub(super) async fn route(&self, at: &Address, url: &Url, what: &What) -> Result<Route> {
        if same_origin(url, &at.base) {
            return Ok(Route { tls: Arc::clone(&at.tls), reach: Reach::Any });
        }
        let base =
            Url::parse(&at.base).map_err(|error| Error::invalid(what.operation, &what.object, error))?;
        if base.scheme() == "https" && url.scheme() != "https" {
            let reason = format!("{} leads from https to http://{}", authority(&base), authority(url));
            return Err(Error::refused(what.operation, &what.object, reason));
        }
        let public = self.registry.0.transport.is_public(base.host_str().unwrap_or_default()).await;
        let reach = if public { Reach::Public } else { Reach::Any };
        let tls = self.registry.0.hosts.foreign_tls(&authority(url));
        Ok(Route { tls, reach })
    }
}

impl Registry {
    /// The one place a request leaves from: counted, traced, its bytes counted both ways.
    pub(crate) async fn send(
        &self,
        kind: Kind,
        request: Request<Body>,
        route: &Route,
        what: &What,
    ) -> Result<http::Response<Body>> {
        self.0.stats.requests.count(kind);
        let (parts, body) = request.into_parts();
        let empty = http_body::Body::size_hint(&body).exact() == Some(0);
        let body = if empty { body } else { self.0.stats.count_up(body) };
        let place = format!("{} {}", parts.method, redacted(&parts.uri));
        let started = tokio::time::Instant::now();
        let sent = self.0.transport.send(Request::from_parts(parts, body), route).await;
        match sent {
            Ok(response) => {
                tracing::debug!(request = place, status = response.status().as_u16(), elapsed = ?started.elapsed());
                Ok(response.map(|body| self.0.stats.count_down(body)))
            }
            Err(error) => {
                tracing::debug!(request = place, %error, elapsed = ?started.elapsed());
                // What our own rules or settings forbid has not been sent.
                if matches!(error.phase, Phase::Forbidden | Phase::Setup) {
                    self.0.stats.requests.retract(kind);
                }
                let what = what.clone();
                Err(match error.phase {
                    Phase::Forbidden => Error::Refused { what, reason: chain(error.cause.as_ref()) },
                    _ => Error::Unavailable {
                        what,
                        transient: error.is_transient(),
                        reason: error.to_string(),
                        retry_after: None,
                    },
                })
            }
        }
    }
}

/// Sends to the token server on behalf of a repository.
struct Minting<'a> {
    repository: &'a Repository,
    at: &'a Address,
    /// The host whose credentials are shown.
    host: &'a str,
}

impl auth::Minter for Minting<'_> {
    fn mint(&self, request: TokenRequest) -> BoxFuture<'static, Result<Token>> {
        let (repository, at, host) = (self.repository.clone(), self.at.clone(), self.host.to_owned());
        async move { repository.mint(&at, &host, request).await }.boxed()
    }
}

impl Repository {
    async fn mint(&self, at: &Address, host: &str, request: TokenRequest) -> Result<Token> {
        let what = What::new("get token", format_args!("for {} from {}", self.name, request.server()));
        let route = self.route(at, &request.realm, &what).await?;
        // Not waited for here: many wait for one token, each with a slot of its own to give back meanwhile.
        if let Some(paused) = self.paused(&request.realm, &what) {
            return Err(paused);
        }
        // One try, and one more where the server does not know the POST: whoever asked has the ladder.
        let mut response =
            self.dispatch(Kind::Token, request.build()?, &request.realm, &route, &what).await?;
        if let Some(fallback) = request.fallback(response.status()) {
            response = self.dispatch(Kind::Token, fallback?, &request.realm, &route, &what).await?;
        }
        if response.status() == StatusCode::OK {
            return auth::read_token(&request, response.into_body()).await;
        }
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status, parts.headers);
        let (url, hint, secrets) = (request.realm.clone(), String::new(), request.secrets());
        let answer = Answer { status, headers, body, url, elsewhere: false, hint, secrets };
        let (what, reason) = match answer.into_error(what).await {
            Error::Unauthorized { what, reason } | Error::Rejected { what, reason, .. } => (what, reason),
            Error::NotFound { what, reason } => (what, format!("{status}: {reason}")),
            other => return Err(other),
        };
        // Whatever else a token server says, it says no.
        let hint = self.hint(host, true).await;
        Err(Error::Unauthorized { what, reason: format!("the token server answers {reason}{hint}") })
    }
}

fn challenges(answer: &Answer) -> Vec<Challenge> {
    let fields = answer.headers.get_all(header::WWW_AUTHENTICATE);
    auth::parse_challenges(fields.iter().filter_map(|value| value.to_str().ok()))
}

/// The name the keychain knows an address by. A mirror has credentials of its own, under its own name, and so has a
/// `server` that takes the registry's place: the registry's credentials go to the registry and nowhere else.
fn credential_host(at: &Address, upstream: &Address, host: &str) -> String {
    let Ok(base) = Url::parse(&at.base) else { return host.to_owned() };
    let api = if host == DOCKER_HUB { DOCKER_HUB_API } else { host };
    let own = same_origin(&base, &format!("{}://{api}", base.scheme()));
    if own && at.base == upstream.base { host.to_owned() } else { authority(&base) }
}

/// The body to send now, and the length to declare for it.
fn take_body(payload: &mut Payload, method: &Method) -> (Body, Option<u64>) {
    match payload {
        Payload::Empty if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            (body::empty(), Some(0))
        }
        Payload::Empty => (body::empty(), None),
        Payload::Whole(bytes) => (body::full(bytes.clone()), None),
        Payload::Stream(stream) => (std::mem::take(stream), None),
    }
}

/// The chunks of an answer's body as a stream whose errors name operation and object.
pub(super) fn body_stream(body: Body, what: What) -> body::ByteStream {
    body::chunks(body)
        .map(move |chunk| chunk.map_err(|error| Error::broken(what.operation, &what.object, &error)))
        .boxed()
}
