//! From hints to providers: where a blob was seen, for whoever asks now.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::registry::RegistrySource;
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{Access, Descriptor, Provider, Registry, RepositoryName, Scopes, Source};

/// Reaches the places that records remember.
pub trait Remotes: Send + Sync + fmt::Debug {
    /// Reads from `origin` with the credentials of `access`; nothing where such a place cannot be reached. Sends no
    /// request.
    fn source(&self, origin: &Origin, access: &Access) -> Option<Arc<dyn Source>>;

    /// Reads blobs from `origin`, likewise.
    fn provider(&self, origin: &Origin, access: &Access) -> Option<Arc<dyn Provider>> {
        self.source(origin, access).map(|source| source.blobs())
    }
}

impl Remotes for Registry {
    fn source(&self, origin: &Origin, access: &Access) -> Option<Arc<dyn Source>> {
        let name = RepositoryName::new(&origin.host, &origin.repository).ok()?;
        let repository = self.repository(&name, Scopes::pull(&name), access).ok()?;
        Some(Arc::new(RegistrySource::new(repository)))
    }
}

/// Reaches nowhere: blobs come from handlers alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl Remotes for Nowhere {
    fn source(&self, _: &Origin, _: &Access) -> Option<Arc<dyn Source>> {
        None
    }
}

/// A place that could be reached when it was written down, and cannot any more.
#[derive(Debug)]
pub(crate) struct Unreachable(pub(crate) Origin);

#[async_trait]
impl Provider for Unreachable {
    async fn open(&self, blob: &Descriptor, _: Range<u64>) -> lazyblob_remote::Result<Unverified> {
        Err(self.says_no(blob))
    }

    async fn info(&self, blob: &Descriptor) -> lazyblob_remote::Result<BlobInfo> {
        Err(self.says_no(blob))
    }

    fn origin(&self) -> Origin {
        self.0.clone()
    }
}

impl Unreachable {
    fn says_no(&self, blob: &Descriptor) -> lazyblob_remote::Error {
        let object = format!("{} from {}", blob.digest(), self.0);
        lazyblob_remote::Error::not_found("read blob", object, "this place cannot be reached from here")
    }
}
