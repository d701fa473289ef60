//! A registry a test starts, asks, seeds and breaks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use oci_spec::image::{Descriptor, MediaType};

use super::builder::Builder;
use super::memory_transport::MemoryTransport;
use super::misbehave::{self, Before, FirstRanges, Scene};
use super::seed::Image;
use super::storage::{self, Place, Storage};
use super::token_service::TOKEN_PATH;
use super::tokens::TokenServer;
use super::toxic::{Toxic, Toxics};
use crate::body::Body;
use crate::digest::sha256;
use crate::manifest::Manifest;
use crate::request::{Counter, Kind};
use crate::server::route::{self, Route};
use crate::server::{Dropped, Entry, Front, Registry, Service, Traffic, Trust};

/// A registry for one test.
#[derive(Debug)]
pub struct TestRegistry {
    pub(super) inner: Arc<Inner>,
    pub(super) front: Option<Front>,
}

/// What answers, with or without a socket.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) registry: Registry,
    pub(super) tokens: Option<Arc<TokenServer>>,
    pub(super) toxics: Toxics,
    pub(super) storage: Storage,
    pub(super) first_ranges: FirstRanges,
    /// Known once the socket has its port.
    pub(super) hosts: OnceLock<Hosts>,
    /// `http` or `https`, where a request does not say it itself.
    pub(super) scheme: &'static str,
}

/// The names a registry answers to, each `HOST[:PORT]`.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    pub(super) own: String,
    /// The storage, and foreign upload addresses.
    pub(super) other: String,
    pub(super) tokens: String,
}

impl TestRegistry {
    /// How it is to be, to be said before it starts.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An open one in memory on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// An open one without a socket, as `host`.
    pub async fn in_memory(host: &str) -> Self {
        Self::builder().in_memory(host).await
    }

    /// `HOST[:PORT]` for references.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.inner.hosts().own
    }

    /// `HOST[:PORT]` of the storage blobs are redirected to and of foreign upload addresses.
    #[must_use]
    pub fn storage_host(&self) -> &str {
        &self.inner.hosts().other
    }

    /// `HOST[:PORT]` of the token server.
    #[must_use]
    pub fn token_host(&self) -> &str {
        &self.inner.hosts().tokens
    }

    /// All names it answers to.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        [self.host(), self.storage_host(), self.token_host()].map(str::to_owned).to_vec()
    }

    /// Misbehaves by one more rule from now on.
    pub fn add(&self, toxic: Toxic) {
        self.inner.toxics.add(toxic);
    }

    /// Behaves from now on.
    pub fn behave(&self) {
        self.inner.toxics.clear();
    }

    /// The token server, if there is one.
    #[must_use]
    pub fn tokens(&self) -> Option<&TokenServer> {
        self.inner.tokens.as_deref()
    }

    /// What answers, to be put anywhere.
    #[must_use]
    pub fn service(&self) -> Arc<dyn Service> {
        Arc::clone(&self.inner) as Arc<dyn Service>
    }

    /// A network with this registry alone.
    #[must_use]
    pub fn transport(&self) -> MemoryTransport {
        MemoryTransport::new().with(self)
    }

    /// Requests by kind.
    #[must_use]
    pub fn counter(&self) -> &Counter {
        self.traffic().requests()
    }

    /// Requests of one kind so far.
    #[must_use]
    pub fn requests(&self, kind: Kind) -> u64 {
        self.counter().of(kind)
    }

    /// Requests, bytes and log.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        self.inner.registry.traffic()
    }

    /// Every request since the start or the last [`TestRegistry::reset`].
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.traffic().log()
    }

    /// Every request as `METHOD TARGET STATUS`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |entry: Entry| {
            let status = entry.status.map_or("dropped".to_owned(), |status| status.as_u16().to_string());
            format!("{} {} {status}", entry.method, entry.target)
        };
        self.log().into_iter().map(line).collect()
    }

    /// Starts counts and log again.
    pub fn reset(&self) {
        self.traffic().reset();
    }

    /// The registry itself.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Makes a blob present in a repository, without a request.
    pub async fn seed_blob(&self, repository: &str, blob: impl Into<Bytes>) -> Descriptor {
        let blob = blob.into();
        let digest = sha256(&blob);
        let size = blob.len() as u64;
        let stored = self.registry().store_blob(repository, blob, &digest).await;
        stored.expect("the backend takes a blob");
        Descriptor::new(MediaType::Other("application/octet-stream".to_owned()), size, digest)
    }

    /// Stores a manifest by tag or, where `name` has a colon, by digest, without a request. Its children need not be
    /// there.
    pub async fn seed_manifest(&self, repository: &str, name: &str, manifest: &Manifest) {
        let repository = route::repository(repository).expect("the name is one of a repository");
        let name = route::name(&repository, name).expect("the name is a tag or a digest");
        let stored = self.registry().store_manifest(repository.path(), manifest, Vec::new(), &name).await;
        stored.expect("the backend takes a manifest");
    }

    /// Stores an image of such layers under a tag, without a request.
    pub async fn seed_image(&self, repository: &str, tag: &str, layers: &[Bytes]) -> Image {
        let image = Image::of(layers);
        self.seed(repository, tag, &image).await;
        image
    }

    /// Stores an image with all its blobs, without a request.
    pub async fn seed(&self, repository: &str, name: &str, image: &Image) {
        for (_, blob) in &image.blobs {
            self.seed_blob(repository, blob.clone()).await;
        }
        self.seed_manifest(repository, name, &image.manifest).await;
    }

    /// Ends it: connections are cut, and every task has returned.
    pub async fn close(&self) {
        if let Some(front) = &self.front {
            front.close(Duration::ZERO).await;
        }
        self.registry().close().await;
    }
}

#[async_trait]
impl Service for Inner {
    async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, Dropped> {
        let place = Storage::place(request.uri());
        if let Place::Foreign(uri) = &place {
            *request.uri_mut() = uri.clone();
        }
        let is_token = self.tokens.is_some() && request.uri().path() == TOKEN_PATH;
        let kind = match place {
            Place::Ticket => Kind::Redirect,
            _ if is_token => Kind::Token,
            _ => Route::of(request.uri()).kind(request.method(), request.uri()),
        };
        let traffic = self.registry.traffic();
        traffic.requests().count(kind);
        let entry = Entry::of(request.method(), request.uri(), request.headers(), kind);
        let result = self.answer(request, kind, &place).await;
        traffic.answered(entry, result.as_ref().ok().map(Response::status));
        result
    }
}

impl Inner {
    async fn answer(
        &self,
        request: Request<Body>,
        kind: Kind,
        place: &Place,
    ) -> Result<Response<Body>, Dropped> {
        let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let effects = self.toxics.effects(kind, &target);
        let scheme = request.uri().scheme_str().unwrap_or(self.scheme).to_owned();
        let scene = Scene {
            method: request.method().clone(),
            target,
            own: format!("{scheme}://{}", self.hosts().own),
            other: format!("{scheme}://{}", self.hosts().other),
            storage: &self.storage,
            first_ranges: &self.first_ranges,
        };
        let request = match misbehave::before(&effects, request).await? {
            Before::Pass(request) => request,
            Before::Answer(response) => return Ok(response),
        };
        let response = match (place, &self.tokens) {
            (Place::Ticket, _) => self.storage.answer(&self.registry, request).await,
            (Place::Foreign(_), _) => match storage::refuse_credentials(&request) {
                Some(refused) => refused,
                None => {
                    let mut response = self.registry.answer(request, Trust::Given).await;
                    misbehave::relocate(&mut response, |path| {
                        format!("{}{}", scene.other, Storage::foreign(path))
                    });
                    response
                }
            },
            (Place::Elsewhere, Some(tokens)) if kind == Kind::Token => tokens.answer(request).await,
            (Place::Elsewhere, _) => self.registry.answer(request, Trust::Ask).await,
        };
        misbehave::after(&effects, &scene, response)
    }

    fn hosts(&self) -> &Hosts {
        self.hosts.get_or_init(Hosts::default)
    }
}
