//! A repository as the source of a copy.

use std::sync::Arc;

use async_trait::async_trait;
use oci_spec::image::{Descriptor, Digest};

use super::{Repository, RepositoryProvider};
use crate::endpoint::{Name, Source};
use crate::error::Result;
use crate::manifest::Manifest;
use crate::provider::{Origin, Provider};

/// A repository to read from, with the retries of [`crate::transfer`].
#[derive(Clone, Debug)]
pub struct RegistrySource(Repository);

impl RegistrySource {
    /// Reads from `repository`.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self(repository)
    }
}

#[async_trait]
impl Source for RegistrySource {
    async fn manifest(&self, name: &Name) -> Result<Manifest> {
        self.0.retried(|| self.0.get_manifest(name)).await
    }

    async fn resolve(&self, name: &Name) -> Result<Digest> {
        self.0.retried(|| self.0.head_manifest(name)).await
    }

    fn blobs(&self) -> Arc<dyn Provider> {
        Arc::new(RepositoryProvider::new(self.0.clone()))
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.0.retried(|| self.0.referrers(subject)).await
    }

    fn meters_gets(&self) -> bool {
        self.0.host.meters_gets
    }

    fn origin(&self) -> Origin {
        RepositoryProvider::new(self.0.clone()).origin()
    }
}
