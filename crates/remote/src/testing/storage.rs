//! The other host: where blobs are redirected to, and where foreign upload addresses lead.
//!
//! As at object stores, the address is the permission: `Authorization` along with it is an error.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::TryStreamExt;
use http::header::{AUTHORIZATION, HeaderName};
use http::{Request, Response, StatusCode, Uri};
use http_body::Body as _;

use super::toxic::Expiry;
use crate::body::{self, Body};
use crate::server::sync::lock;
use crate::server::{Registry, Trust};

/// Paths that lead here.
const TICKETS: &str = "/storage/";
const FOREIGN: &str = "/foreign";

/// Addresses given out.
#[derive(Debug, Default)]
pub(super) struct Storage {
    tickets: Mutex<HashMap<String, Ticket>>,
}

#[derive(Clone, Debug)]
struct Ticket {
    /// Path at the registry.
    path: String,
    expiry: Expiry,
    used: Arc<AtomicU64>,
}

/// What a path at the other host means.
pub(super) enum Place {
    /// A blob.
    Ticket,
    /// An upload session; the path at the registry.
    Foreign(Uri),
    /// Nothing of ours.
    Elsewhere,
}

impl Storage {
    /// Makes an address for what is at `path` of the registry.
    pub(super) fn ticket(&self, path: &str, expiry: Expiry) -> String {
        let id = format!("{:016x}", fastrand::u64(..));
        let address = format!("{TICKETS}{id}?X-Signature={id}");
        lock(&self.tickets).insert(id, Ticket { path: path.to_owned(), expiry, used: Arc::default() });
        address
    }

    /// The path and query of an upload session as a path of the other host.
    pub(super) fn foreign(location: &str) -> String {
        format!("{FOREIGN}{location}")
    }

    pub(super) fn place(uri: &Uri) -> Place {
        if uri.path().starts_with(TICKETS) {
            return Place::Ticket;
        }
        let target = uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default();
        let inner = target.strip_prefix(FOREIGN).and_then(|target| target.parse().ok());
        inner.map_or(Place::Elsewhere, Place::Foreign)
    }

    /// Answers at a ticket's address.
    pub(super) async fn answer(&self, registry: &Registry, request: Request<Body>) -> Response<Body> {
        if let Some(refused) = refuse_credentials(&request) {
            return refused;
        }
        let id = request.uri().path().trim_start_matches(TICKETS);
        let Some(ticket) = lock(&self.tickets).get(id).cloned() else {
            return complaint(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        let expired = match ticket.expiry {
            Expiry::Never => false,
            Expiry::Requests(limit) => ticket.used.fetch_add(1, Ordering::Relaxed) >= limit,
            Expiry::Bytes(limit) => ticket.used.load(Ordering::Relaxed) >= limit,
        };
        if expired {
            return complaint(StatusCode::FORBIDDEN, "AccessDenied: Request has expired");
        }
        let (mut parts, body) = request.into_parts();
        parts.uri = ticket.path.parse().unwrap_or_default();
        let mut response = registry.answer(Request::from_parts(parts, body), Trust::Given).await;
        response.headers_mut().remove(HeaderName::from_static("docker-content-digest"));
        if let Expiry::Bytes(_) = ticket.expiry {
            response = response.map(|body| {
                let length = body.size_hint().exact();
                let counted = body::chunks(body).inspect_ok(move |chunk| {
                    ticket.used.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                });
                body::streaming(counted, length)
            });
        }
        response
    }
}

/// 400 where credentials come along.
pub(super) fn refuse_credentials(request: &Request<Body>) -> Option<Response<Body>> {
    let credentials = request.headers().contains_key(AUTHORIZATION);
    credentials
        .then(|| complaint(StatusCode::BAD_REQUEST, "InvalidArgument: Only one auth mechanism allowed"))
}

fn complaint(status: StatusCode, reason: &str) -> Response<Body> {
    let mut response = Response::new(body::full(format!("<Error>{reason}</Error>")));
    *response.status_mut() = status;
    response
}
