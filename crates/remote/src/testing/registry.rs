//! A registry a test starts, asks, seeds and breaks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use oci_spec::image::{Descriptor, MediaType};

use super::memory_transport::MemoryTransport;
use super::seed::Image;
use crate::body::Body;
use crate::digest::sha256;
use crate::manifest::Manifest;
use crate::request::{Counter, Kind};
use crate::server::route::{self, Route};
use crate::server::{
    Authorizer, Backend, Certificates, Dropped, Entry, Front, Memory, Registry, Service, Settings, Traffic,
    Trust,
};

/// A registry for one test.
#[derive(Debug)]
pub struct TestRegistry {
    host: String,
    inner: Arc<Inner>,
    front: Option<Front>,
}

/// What answers, with or without a socket.
#[derive(Debug)]
struct Inner {
    registry: Registry,
}

/// Says how a [`TestRegistry`] is to be.
#[derive(Debug)]
pub struct Builder {
    backend: Arc<dyn Backend>,
    settings: Settings,
    authorizer: Option<Arc<dyn Authorizer>>,
    certificates: Option<Certificates>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            backend: Arc::new(Memory::new()),
            settings: Settings::default(),
            authorizer: None,
            certificates: None,
        }
    }
}

impl Builder {
    /// Keeps everything in `backend` instead of in memory.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backend = backend;
        self
    }

    /// Changes the settings.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Asks `authorizer` before every request.
    #[must_use]
    pub fn guarded_by(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.authorizer = Some(authorizer);
        self
    }

    /// Speaks TLS on its socket.
    #[must_use]
    pub fn tls(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Starts it on a free port of 127.0.0.1.
    pub async fn start(self) -> TestRegistry {
        let tls = self.certificates.clone();
        let inner = self.inner().await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let service = Arc::clone(&inner) as Arc<dyn Service>;
        let front = Front::listen(address, tls.as_ref(), service).await.expect("loopback has a free port");
        TestRegistry { host: front.address().to_string(), inner, front: Some(front) }
    }

    /// Makes it answer as `host`, without a socket.
    pub async fn in_memory(self, host: &str) -> TestRegistry {
        TestRegistry { host: host.to_owned(), inner: self.inner().await, front: None }
    }

    async fn inner(self) -> Arc<Inner> {
        let registry = Registry::open(self.backend, self.settings).await.expect("the backend opens");
        let registry = match self.authorizer {
            Some(authorizer) => registry.guarded_by(authorizer),
            None => registry,
        };
        registry.traffic().set_logging(true);
        Arc::new(Inner { registry })
    }
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
        &self.host
    }

    /// All names it answers to.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        vec![self.host.clone()]
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
        let stored = self.registry().store_manifest(repository.path(), manifest, &name).await;
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
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Dropped> {
        let traffic = self.registry.traffic();
        let kind = Route::of(request.uri()).kind(request.method(), request.uri());
        traffic.requests().count(kind);
        let entry = Entry::of(request.method(), request.uri(), request.headers(), kind);
        let response = self.registry.answer(request, Trust::Ask).await;
        traffic.answered(entry, Some(response.status()));
        Ok(response)
    }
}
