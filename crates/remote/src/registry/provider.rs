//! A repository as a source of blobs.

use std::ops::Range;

use async_trait::async_trait;
use oci_spec::image::Descriptor;

use super::Repository;
use crate::error::Result;
use crate::provider::{BlobInfo, Origin, Provider};
use crate::verify::Unverified;

/// The blobs of a repository, on behalf of the asker the repository was opened for.
#[derive(Clone, Debug)]
pub struct RepositoryProvider(Repository);

impl RepositoryProvider {
    /// The blobs of `repository`.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self(repository)
    }
}

#[async_trait]
impl Provider for RepositoryProvider {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        self.0.get_blob(blob, range).await
    }

    async fn info(&self, blob: &Descriptor) -> Result<BlobInfo> {
        self.0.head_blob(blob).await
    }

    fn distrust(&self, blob: &Descriptor) -> bool {
        let facts = self.0.facts();
        let Some(mirror) = facts.served(blob.digest()) else { return false };
        // Where there is only this one, whoever asks next has to ask it.
        let another = self.0.brings(blob).iter().any(|address| address.base != mirror);
        if another {
            facts.distrust(blob.digest(), mirror);
        }
        another
    }

    fn avoid(&self, blob: &Descriptor) -> bool {
        let facts = self.0.facts();
        let Some(mirror) = facts.served(blob.digest()) else { return false };
        let another = |base: &str| base != mirror && !facts.avoids(blob.digest(), base);
        self.0.brings(blob).iter().any(|address| another(&address.base)) && facts.avoid(blob.digest(), mirror)
    }

    fn origin(&self) -> Origin {
        Origin { host: self.0.name.host().to_owned(), repository: self.0.name.path().to_owned() }
    }

    fn host(&self) -> Option<&str> {
        Some(self.0.name.host())
    }
}
