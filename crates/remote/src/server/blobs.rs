//! GET, HEAD and DELETE of blobs.

use std::ops::Range;
use std::sync::Arc;

use futures::TryStreamExt;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use oci_spec::image::Digest;

use super::problem::{Answer, Problem};
use super::range::{self, Wanted};
use super::registry::Registry;
use super::route;
use super::sync::lock;
use crate::body::{self, Body};
use crate::reference::RepositoryName;

/// The digest of what is answered with.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Registry {
    pub(super) async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &str,
        request: &Request<Body>,
    ) -> Answer {
        let digest = route::digest(digest)?;
        let shown = lock(&self.catalogue).get(repository.path()).is_some_and(|repository| {
            repository.names_blob(&digest) || self.settings.serve_unnamed && repository.has_blob(&digest)
        });
        let size = if shown { self.backend.size(&digest).await? } else { None };
        let size = size.ok_or_else(|| Problem::blob_unknown(&digest))?;
        let (status, part) = match range::wanted(request.headers(), size) {
            Wanted::Whole => (StatusCode::OK, 0..size),
            Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            Wanted::Nothing => {
                let reason = "the blob has no such bytes";
                let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", reason);
                return Err(problem.header(CONTENT_RANGE, text(format!("bytes */{size}"))));
            }
        };
        let mut response = blob_response(status, &digest, part.end - part.start, Body::default());
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            response.headers_mut().insert(CONTENT_RANGE, text(range));
        }
        *response.body_mut() = self.outgoing(&digest, part).await?;
        Ok(response)
    }

    pub(super) async fn head_blob(&self, repository: &RepositoryName, digest: &str) -> Answer {
        let digest = route::digest(digest)?;
        let present = self.has_blob(repository.path(), &digest);
        let size = if present { self.backend.size(&digest).await? } else { None };
        let size = size.ok_or_else(|| Problem::blob_unknown(&digest))?;
        Ok(blob_response(StatusCode::OK, &digest, size, body::empty()))
    }

    pub(super) fn delete_blob(&self, repository: &RepositoryName, digest: &str) -> Answer {
        if !self.settings.delete {
            return Err(Problem::unsupported());
        }
        let digest = route::digest(digest)?;
        if !lock(&self.catalogue).remove_blob(repository.path(), &digest) {
            return Err(Problem::blob_unknown(&digest));
        }
        Ok(accepted())
    }

    /// Bytes of a blob, counted as they leave.
    pub(crate) async fn outgoing(&self, digest: &Digest, part: Range<u64>) -> Result<Body, Problem> {
        let length = part.end - part.start;
        let stream = self.backend.read(digest, part).await?;
        let traffic = Arc::clone(&self.traffic);
        Ok(body::streaming(stream.inspect_ok(move |piece| traffic.sent(piece.len())), Some(length)))
    }
}

/// The length of a request's body, where it is told in advance; without a socket the body itself knows it.
pub(super) fn declared(request: &Request<Body>) -> Option<u64> {
    let header = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    header.or_else(|| request.body().size_hint().exact())
}

/// 202 without a body.
pub(super) fn accepted() -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

pub(crate) fn blob_response(status: StatusCode, digest: &Digest, length: u64, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONTENT_DIGEST, text(digest));
    response
}

/// A header of text we made ourselves; anything else becomes empty.
pub(super) fn text(value: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(value.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
