//! Refusals as the error documents of distribution-spec ("Error Codes").

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::error::{Error, Mismatch};

/// What a handler answers.
pub(crate) type Answer = Result<Response<Body>, Problem>;

/// A refusal: one status, one code, one entry per object concerned.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Vec<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Vec::new(), headers: Vec::new() }
    }

    /// Names one more object the refusal is about.
    pub(crate) fn about(mut self, detail: impl Into<Value>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Sends a header along.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn name_invalid(name: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", "invalid repository name").about(name)
    }

    pub(crate) fn name_unknown(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry").about(name)
    }

    pub(crate) fn blob_unknown(digest: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to this repository")
            .about(digest.to_string())
    }

    pub(crate) fn manifest_unknown(reference: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown to this repository")
            .about(reference.to_string())
    }

    pub(crate) fn manifest_invalid(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", reason)
    }

    pub(crate) fn digest_invalid(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", reason)
    }

    pub(crate) fn size_invalid(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", reason)
    }

    pub(crate) fn too_large(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", reason)
    }

    pub(crate) fn upload_unknown(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "upload session unknown to this repository")
            .about(id)
    }

    pub(crate) fn unsupported() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported")
    }

    /// A body that broke on its way to us. Hardly anybody will read the answer.
    pub(crate) fn body_broke(cause: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "BLOB_UPLOAD_INVALID",
            format!("the request's body broke: {cause}"),
        )
    }

    /// The answer, in the shape the spec wants.
    pub(crate) fn into_response(self) -> Response<Body> {
        let entry = |detail: Option<Value>| {
            let mut entry = json!({ "code": self.code, "message": self.message });
            if let (Some(detail), Some(fields)) = (detail, entry.as_object_mut()) {
                fields.insert("detail".to_owned(), detail);
            }
            entry
        };
        let errors: Vec<Value> = if self.details.is_empty() {
            vec![entry(None)]
        } else {
            self.details.iter().map(|detail| entry(Some(detail.clone()))).collect()
        };
        let mut response = json_response(self.status, &json!({ "errors": errors }));
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// A JSON document with a status.
pub(crate) fn json_response(status: StatusCode, document: &Value) -> Response<Body> {
    let mut response = Response::new(body::full(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error.root() {
            Error::Integrity { mismatch: Mismatch::Size { .. }, .. } => Self::size_invalid(error.to_string()),
            Error::Integrity { .. } => Self::digest_invalid(error.to_string()),
            Error::Invalid { reason, .. } => Self::manifest_invalid(reason.clone()),
            Error::Refused { reason, .. } => Self::too_large(reason.clone()),
            Error::NotFound { .. } => {
                Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "the registry's store lacks it")
            }
            _ => {
                // The client learns that we failed; paths of ours stay in our log.
                tracing::error!(%error, "storage failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the registry's storage failed")
            }
        }
    }
}
