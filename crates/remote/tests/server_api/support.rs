//! Requests to a registry in memory.

use bytes::Bytes;
use http::header::{AsHeaderName, HeaderName};
use http::{HeaderMap, Method, Request, StatusCode};
use lazyblob_remote::body::{self, Body};
use lazyblob_remote::server::Dropped;
use lazyblob_remote::testing::TestRegistry;

/// An answer with its whole body.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// A header's text; empty where it is missing.
    pub fn header(&self, name: impl AsHeaderName) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The codes of an error document.
pub fn codes(reply: &Reply) -> Vec<String> {
    let errors = reply.json()["errors"].as_array().unwrap().clone();
    errors.iter().map(|error| error["code"].as_str().unwrap().to_owned()).collect()
}

/// The details of an error document.
pub fn details(reply: &Reply) -> Vec<String> {
    let errors = reply.json()["errors"].as_array().unwrap().clone();
    errors.iter().map(|error| error["detail"].as_str().unwrap().to_owned()).collect()
}

pub async fn ask(registry: &TestRegistry, method: Method, target: &str) -> Reply {
    send(registry, method, target, &[], Bytes::new()).await
}

pub async fn put(registry: &TestRegistry, target: &str, bytes: Bytes) -> Reply {
    send(registry, Method::PUT, target, &[], bytes).await
}

/// Sends a request whose connection may be dropped.
pub async fn try_send(registry: &TestRegistry, method: Method, target: &str) -> Result<StatusCode, Dropped> {
    let request = Request::builder().method(method).uri(target).body(body::empty()).unwrap();
    registry.service().call(request).await.map(|response| response.status())
}

pub async fn send(
    registry: &TestRegistry,
    method: Method,
    target: &str,
    headers: &[(HeaderName, &str)],
    bytes: Bytes,
) -> Reply {
    send_body(registry, method, target, headers, body::full(bytes)).await
}

pub async fn send_body(
    registry: &TestRegistry,
    method: Method,
    target: &str,
    headers: &[(HeaderName, &str)],
    body: Body,
) -> Reply {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let response = registry.service().call(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body::collect(body, u64::MAX).await.unwrap();
    Reply { status: parts.status, headers: parts.headers, body }
}
