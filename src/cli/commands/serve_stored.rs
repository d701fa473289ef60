//! `lazyblob serve --store`: the cache as a registry that is read. What others bring into the cache meanwhile is served,
//! too.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use async_trait::async_trait;
use http::{HeaderMap, Request, Response};
use lazyblob::cache::Manager;
use lazyblob::remote::body::Body;
use lazyblob::remote::server::{
    Authorizer, Dropped, Htpasswd, Need, ReadOnly, Refusal, Registry, Service, Settings,
};

use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::store_backend::StoreBackend;

/// A registry over what the cache has now, opened anew when its names have changed.
#[derive(Debug)]
pub(super) struct Stored {
    backend: Arc<StoreBackend>,
    users: Option<Arc<Htpasswd>>,
    index: PathBuf,
    current: RwLock<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    stamp: Stamp,
    registry: Arc<Registry>,
}

/// What changes when `index.json` is replaced.
type Stamp = Option<(SystemTime, u64)>;

impl Stored {
    /// Serves the cache of `context`; with `lazy_upstream` what is not in it is fetched with the credentials of this run.
    pub(super) async fn open(
        context: &Context,
        users: Option<Arc<Htpasswd>>,
        lazy_upstream: bool,
    ) -> Result<Self, Failure> {
        let manager: &Manager = context.manager().await?;
        let access = lazy_upstream.then(|| context.access().clone());
        let backend = Arc::new(StoreBackend::new(manager, access));
        let index = manager.store().layout().root().join("index.json");
        let stamp = stamp(&index).await;
        let registry = open(&backend, users.as_ref()).await?;
        let current = RwLock::new(Current { stamp, registry: Arc::new(registry) });
        Ok(Self { backend, users, index, current })
    }

    async fn registry(&self) -> Arc<Registry> {
        // Looked at before it is read: what changes in between is seen the next time.
        let stamp = stamp(&self.index).await;
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if current.stamp == stamp {
            return current.registry;
        }
        match open(&self.backend, self.users.as_ref()).await {
            Ok(registry) => {
                let registry = Arc::new(registry);
                let new = Current { stamp, registry: Arc::clone(&registry) };
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                registry
            }
            Err(error) => {
                tracing::warn!(%error, "what is new in the cache is not served");
                current.registry
            }
        }
    }
}

#[async_trait]
impl Service for Stored {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Dropped> {
        self.registry().await.call(request).await
    }
}

async fn open(backend: &Arc<StoreBackend>, users: Option<&Arc<Htpasswd>>) -> Result<Registry, Failure> {
    let settings = Settings { delete: false, ..Settings::default() };
    let registry = Registry::open(Arc::clone(backend) as _, settings).await?;
    Ok(match users {
        Some(users) => registry.guarded_by(Arc::new(Readers(Arc::clone(users)))),
        None => registry.guarded_by(Arc::new(ReadOnly)),
    })
}

async fn stamp(index: &PathBuf) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let found = tokio::fs::metadata(index).await.ok()?;
    Some((found.modified().ok()?, found.ino()))
}

/// Who is known may read.
#[derive(Debug)]
struct Readers(Arc<Htpasswd>);

#[async_trait]
impl Authorizer for Readers {
    async fn authorize(&self, headers: &HeaderMap, needs: &[Need]) -> Result<(), Refusal> {
        self.0.authorize(headers, needs).await?;
        ReadOnly.authorize(headers, needs).await
    }
}
