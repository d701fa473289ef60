//! The store as the other end of a copy: blobs first, records next, the name last.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lazyblob_remote::endpoint::{Mounted, Name, Target};
use lazyblob_remote::provider::Origin;
use lazyblob_remote::transfer::Blob;
use lazyblob_remote::{Manifest, Provider, RepositoryName, Result};
use oci_spec::image::{Descriptor, Digest};

use crate::manager::Manager;
use crate::root::{Pin, Pinned};
use crate::unlazy::outwards;

/// A repository's names in the store, written by whoever copies something into it. As long as it lives, nothing of
/// what was copied is pruned.
#[derive(Clone)]
pub struct StoreTarget {
    manager: Manager,
    repository: RepositoryName,
    pins: Arc<Mutex<Vec<Pinned>>>,
}

impl StoreTarget {
    /// The names of `repository` in the store of `manager`.
    #[must_use]
    pub fn new(manager: &Manager, repository: &RepositoryName) -> Self {
        Self { manager: manager.clone(), repository: repository.clone(), pins: Arc::default() }
    }

    /// What the index has for `name`: tags of the store are full references.
    fn full(&self, name: &Name) -> Result<Name> {
        match name {
            Name::Tag(tag) => Ok(Name::Tag(self.repository.tagged(tag)?.to_string())),
            other => Ok(other.clone()),
        }
    }

    /// What is to be there is protected before it is, and before anybody looks whether it is.
    fn pin(&self, digest: &Digest) -> Result<()> {
        let pin = self.manager.root().live().pin(&[Pin::Blob(digest.clone())]).map_err(outwards)?;
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).push(pin);
        Ok(())
    }
}

#[async_trait]
impl Target for StoreTarget {
    async fn resolve(&self, name: &Name) -> Result<Option<Digest>> {
        Target::resolve(self.manager.store().layout(), &self.full(name)?).await
    }

    async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        self.pin(blob.digest())?;
        self.manager.store().holds(blob).await.map_err(outwards)
    }

    async fn mount(&self, _: &Descriptor, _: &Origin) -> Result<Mounted> {
        Ok(Mounted::No { session: None })
    }

    async fn put_blob(&self, blob: &Blob, session: Option<String>) -> Result<()> {
        self.pin(blob.descriptor().digest())?;
        self.manager.store().layout().put_blob(blob, session).await?;
        self.manager.store().stored(blob.descriptor());
        Ok(())
    }

    async fn put_manifest(&self, manifest: &Manifest, name: &Name) -> Result<()> {
        self.pin(manifest.digest())?;
        self.manager.store().layout().put_manifest(manifest, &self.full(name)?).await
    }

    async fn finish(&self) -> Result<()> {
        self.manager.store().layout().finish().await
    }

    /// A manifest counts as here only if all that it names is; and what is copied from the store to the store is as lazy
    /// as it was.
    fn vouches_for_blobs(&self) -> bool {
        true
    }

    fn origin(&self) -> Origin {
        Target::origin(self.manager.store().layout())
    }

    async fn hold(&self, blob: &Descriptor) -> Result<Option<Arc<dyn Provider>>> {
        self.manager.store().layout().hold(blob).await
    }
}

impl fmt::Debug for StoreTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreTarget").field("manager", &self.manager).finish_non_exhaustive()
    }
}
