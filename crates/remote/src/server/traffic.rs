//! What passes: requests by kind, blob bytes in and out, and, if wanted, a log of every request.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::sync::lock;
use crate::request::{Counter, Kind};

/// One request and its answer. No header's value with a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The method.
    pub method: Method,
    /// Path and query as they came.
    pub target: String,
    /// The host the client asked for.
    pub host: String,
    /// The status of the answer; nothing where the connection was dropped instead.
    pub status: Option<StatusCode>,
    /// What the request was for.
    pub kind: Kind,
    /// Whether an `Authorization` header came along.
    pub authorized: bool,
    /// The `Range` or `Content-Range` header of the request.
    pub range: Option<String>,
}

impl Entry {
    /// An entry for a request that is not answered yet.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri, headers: &HeaderMap, kind: Kind) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let target = uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string);
        let host =
            uri.authority().map(ToString::to_string).or_else(|| text(header::HOST)).unwrap_or_default();
        Self {
            method: method.clone(),
            target,
            host,
            status: None,
            kind,
            authorized: headers.contains_key(header::AUTHORIZATION),
            range: text(header::RANGE).or_else(|| text(header::CONTENT_RANGE)),
        }
    }
}

/// Counts and, if asked to, remembers.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: Counter,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    logging: AtomicBool,
    log: Mutex<Vec<Entry>>,
}

impl Traffic {
    /// Requests by kind.
    #[must_use]
    pub fn requests(&self) -> &Counter {
        &self.requests
    }

    /// Bytes of blobs received so far, monolithic, streamed and in chunks.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes of blobs sent so far.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Begins or ends the log; it is off at first, since it grows without bound.
    pub fn set_logging(&self, on: bool) {
        self.logging.store(on, Ordering::Relaxed);
    }

    /// Every request since the log began, in the order of their answers.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        lock(&self.log).clone()
    }

    /// Starts all counts and the log again.
    pub fn reset(&self) {
        self.requests.reset();
        self.bytes_in.store(0, Ordering::Relaxed);
        self.bytes_out.store(0, Ordering::Relaxed);
        lock(&self.log).clear();
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, mut entry: Entry, status: Option<StatusCode>) {
        let status_code = status.map(|status| status.as_u16());
        tracing::debug!(method = %entry.method, target = %entry.target, status = status_code, "answered");
        if self.logging.load(Ordering::Relaxed) {
            entry.status = status;
            lock(&self.log).push(entry);
        }
    }
}
