//! The registry: every request goes through here, and nothing in here knows a socket.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use oci_spec::image::Digest;
use serde_json::json;

use super::auth::{Authorizer, Open, Refusal};
use super::backend::Backend;
use super::catalogue::Catalogue;
use super::problem::{Answer, Problem, json_response};
use super::route::{self, Resource, Route};
use super::service::{Dropped, Service};
use super::session::Sessions;
use super::sync::lock;
use super::traffic::{Entry, Traffic};
use crate::body::Body;
use crate::error::Result;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// How a registry behaves where the spec leaves a choice.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Serves a blob's bytes although no manifest of the repository names it yet.
    pub serve_unnamed: bool,
    /// Lists referrers and acknowledges subjects; off, it answers 404 as distribution 2 and 3 do.
    pub referrers: bool,
    /// Allows deleting.
    pub delete: bool,
    /// Entries of a page of tags or referrers at most; nothing is "as many as asked for".
    pub page: Option<usize>,
    /// The least a chunk of an upload should have, in bytes, told by `OCI-Chunk-Min-Length`.
    pub chunk_min: Option<u64>,
    /// An upload session nobody touched for that long is forgotten.
    pub session_idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            serve_unnamed: false,
            referrers: true,
            delete: true,
            page: None,
            chunk_min: None,
            session_idle: Duration::from_secs(3600),
        }
    }
}

/// A registry. Requests may come from any number of tasks.
#[derive(Debug)]
pub struct Registry {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) catalogue: Arc<Mutex<Catalogue>>,
    pub(super) sessions: Sessions,
    pub(super) settings: Settings,
    pub(super) traffic: Arc<Traffic>,
    authorizer: Arc<dyn Authorizer>,
}

impl Registry {
    /// Opens a registry over what `backend` has. Everybody may do everything until [`Registry::guarded_by`] says else.
    ///
    /// # Errors
    /// The backend's, where its names cannot be read.
    pub async fn open(backend: Arc<dyn Backend>, settings: Settings) -> Result<Self> {
        let catalogue = super::open::catalogue(backend.as_ref()).await?;
        Ok(Self {
            backend,
            catalogue: Arc::new(Mutex::new(catalogue)),
            sessions: Sessions::new(settings.session_idle),
            settings,
            traffic: Arc::default(),
            authorizer: Arc::new(Open),
        })
    }

    /// The same registry, guarded.
    #[must_use]
    pub fn guarded_by(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = authorizer;
        self
    }

    /// What passed so far.
    #[must_use]
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Answers one request, counts and logs it.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let route = Route::of(request.uri());
        let kind = route.kind(request.method(), request.uri());
        let entry = Entry::of(request.method(), request.uri(), request.headers(), kind);
        self.traffic.requests().count(kind);
        let response = self.answer(request, Trust::Ask).await;
        self.traffic.answered(entry, Some(response.status()));
        response
    }

    /// Answers one request that somebody else counts.
    pub(crate) async fn answer(&self, request: Request<Body>, trust: Trust) -> Response<Body> {
        let answer = match self.admit(&request, trust).await {
            Ok(()) => self.dispatch(request).await,
            Err(problem) => Err(problem),
        };
        let mut response = answer.unwrap_or_else(Problem::into_response);
        response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        response
    }

    /// Forgets all upload sessions and what they took in.
    pub async fn close(&self) {
        self.sessions.discard_all().await;
    }

    async fn admit(&self, request: &Request<Body>, trust: Trust) -> std::result::Result<(), Problem> {
        match trust {
            Trust::Ask => {}
            #[cfg(feature = "testing")]
            Trust::Given => return Ok(()),
        }
        let needs = Route::of(request.uri()).needs(request.method(), request.uri());
        let Err(refusal) = self.authorizer.authorize(request.headers(), &needs).await else { return Ok(()) };
        Err(match refusal {
            Refusal::Challenge(challenges) => challenges.into_iter().fold(
                Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required"),
                |problem, challenge| problem.header(WWW_AUTHENTICATE, challenge),
            ),
            Refusal::Denied => {
                Problem::new(StatusCode::FORBIDDEN, "DENIED", "requested access to the resource is denied")
            }
        })
    }

    async fn dispatch(&self, request: Request<Body>) -> Answer {
        let (name, resource) = match Route::of(request.uri()) {
            Route::Base if matches!(*request.method(), Method::GET | Method::HEAD) => {
                return Ok(json_response(StatusCode::OK, &json!({})));
            }
            Route::Base => return Err(Problem::unsupported()),
            Route::Unknown => {
                return Err(Problem::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such address"));
            }
            Route::Within(name, resource) => (name, resource),
        };
        let repository = route::repository(&name)?;
        match (resource, request.method().clone()) {
            (Resource::Manifest(name), Method::GET) => self.get_manifest(&repository, &name, false).await,
            (Resource::Manifest(name), Method::HEAD) => self.get_manifest(&repository, &name, true).await,
            (Resource::Manifest(name), Method::PUT) => self.put_manifest(&repository, &name, request).await,
            (Resource::Manifest(name), Method::DELETE) => self.delete_manifest(&repository, &name).await,
            (Resource::Blob(digest), Method::GET) => self.get_blob(&repository, &digest, &request).await,
            (Resource::Blob(digest), Method::HEAD) => self.head_blob(&repository, &digest).await,
            (Resource::Blob(digest), Method::DELETE) => self.delete_blob(&repository, &digest),
            (Resource::Uploads, Method::POST) => self.open_upload(&repository, request).await,
            (Resource::Upload(id), Method::GET | Method::HEAD) => self.upload_status(&repository, &id).await,
            (Resource::Upload(id), Method::PATCH) => self.append_upload(&repository, &id, request).await,
            (Resource::Upload(id), Method::PUT) => self.finish_upload(&repository, &id, request).await,
            (Resource::Upload(id), Method::DELETE) => self.cancel_upload(&repository, &id).await,
            (Resource::Tags, Method::GET) => self.list_tags(&repository, request.uri()),
            (Resource::Referrers(digest), Method::GET) => {
                self.list_referrers(&repository, &digest, request.uri())
            }
            _ => Err(Problem::unsupported()),
        }
    }

    /// Whether a blob is present in a repository.
    pub(super) fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        lock(&self.catalogue).get(repository).is_some_and(|repository| repository.has_blob(digest))
    }
}

/// Whether a request's sender is asked who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// By the authorizer.
    Ask,
    /// The address itself was the permission.
    #[cfg(feature = "testing")]
    Given,
}

#[async_trait]
impl Service for Registry {
    async fn call(&self, request: Request<Body>) -> std::result::Result<Response<Body>, Dropped> {
        Ok(self.handle(request).await)
    }
}
