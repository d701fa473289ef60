//! When a request may be sent: a slot for each verb, and no request to a host that asked to be left alone.

use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::Repository;
use super::hops::{authority, same_origin};
use super::response::retry_after;
use crate::body::Body;
use crate::error::{Error, Result, What};
use crate::request::Kind;
use crate::transfer::Need;
use crate::transport::Route;

impl Repository {
    /// A verb about a manifest, with the ladder of retries.
    pub(super) async fn retried<T, F>(&self, verb: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let need = Need::manifest(self.name.host());
        self.registry.0.transfers.ask(&need, &self.access, verb).await
    }

    /// A question about a blob, with the ladder of retries.
    pub(super) async fn asked<T, F>(&self, verb: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let need = Need::probe(self.name.host());
        self.registry.0.transfers.ask(&need, &self.access, verb).await
    }

    /// Sends a request once its host may be asked, and takes note of what the host says about being asked.
    pub(super) async fn dispatch(
        &self,
        kind: Kind,
        request: Request<Body>,
        url: &Url,
        route: &Route,
        what: &What,
    ) -> Result<Response<Body>> {
        let host = self.known_as(url);
        let transfers = &self.registry.0.transfers;
        transfers.until_welcome(&host).await.map_err(|wait| left_alone(&host, wait, what))?;
        let sent = Instant::now();
        let response = self.registry.send(kind, request, route, what).await?;
        let scheduler = transfers.scheduler();
        match asks_for_peace(response.status(), response.headers()) {
            true => scheduler.pause(&host, retry_after(response.headers(), std::time::SystemTime::now())),
            false => scheduler.served(&host, sent),
        }
        Ok(response)
    }

    /// The error of asking at `url` now, if its host asked to be left alone.
    pub(super) fn paused(&self, url: &Url, what: &What) -> Option<Error> {
        let host = self.known_as(url);
        let until = self.registry.0.transfers.scheduler().paused_until(&host)?;
        Some(left_alone(&host, until.saturating_duration_since(Instant::now()), what))
    }

    /// The same operation and object; where another host than the upstream answers, with that host.
    pub(super) fn said_by(&self, what: &What, url: &Url) -> What {
        if same_origin(url, &self.host.upstream.base) {
            return what.clone();
        }
        What::new(what.operation, format_args!("{} at {}", what.object, authority(url)))
    }

    /// The name by which limits and pauses know the host of `url`: the upstream goes by its registry's name.
    fn known_as(&self, url: &Url) -> String {
        if same_origin(url, &self.host.upstream.base) { self.name.host().to_owned() } else { authority(url) }
    }
}

/// The error of a request that was not sent because `host` is left alone for another `wait`.
fn left_alone(host: &str, wait: Duration, what: &What) -> Error {
    let seconds = wait.as_secs();
    let reason = format!("{host} asks to be left alone for {seconds} s; it is not asked before that");
    Error::RateLimited { what: what.clone(), reason, retry_after: Some(wait), quota: false }
}

/// Whether a host asks all of us for fewer requests: by 429, or by a 503 that says how long.
fn asks_for_peace(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key(http::header::RETRY_AFTER)
}
