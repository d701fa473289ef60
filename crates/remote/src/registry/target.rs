//! A repository as the target of a copy.

use async_trait::async_trait;
use oci_spec::image::{Descriptor, Digest};

use super::Repository;
use super::push::Push;
use crate::endpoint::{Mounted, Mounting, Name, Target};
use crate::error::{Error, Result};
use crate::keychain::Identity;
use crate::manifest::Manifest;
use crate::provider::Origin;
use crate::transfer::Blob;

/// A repository to write to, with the retries of [`crate::transfer`].
#[derive(Clone, Debug)]
pub struct RegistryTarget(Repository);

impl RegistryTarget {
    /// Writes to `repository`.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self(repository)
    }
}

#[async_trait]
impl Target for RegistryTarget {
    async fn resolve(&self, name: &Name) -> Result<Option<Digest>> {
        match self.0.retried(|| self.0.upstream_digest(name)).await {
            Ok(digest) => Ok(Some(digest)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        self.0.asked(|| self.0.holds_blob(blob)).await
    }

    fn mounts(&self) -> bool {
        !self.0.facts().refuses_mounts()
    }

    /// The first mount at a host goes alone; once it is refused no other is tried in this run.
    async fn mount(&self, blob: &Descriptor, from: &Origin) -> Result<Mounted> {
        if from.host != self.0.name.host() {
            return Ok(Mounted::No { session: None });
        }
        let facts = self.0.facts();
        let mount = || self.0.asked(|| self.0.mount_blob(blob, &from.repository));
        let mut own = None;
        let mounts = facts
            .mounts()
            .get_or_try_init(|| async {
                let outcome = mount().await?;
                Ok::<_, Error>(*own.insert(outcome) == Mounted::Yes)
            })
            .await;
        mounts?;
        if let Some(outcome) = own {
            return Ok(outcome);
        }
        if facts.refuses_mounts() {
            return Ok(Mounted::No { session: None });
        }
        let outcome = mount().await?;
        if outcome != Mounted::Yes {
            facts.set_mount_refused();
        }
        Ok(outcome)
    }

    /// As with [`Target::mount`], the first question at a host goes alone, and where nothing comes of it no other is
    /// asked. Once a mount has succeeded a refusal is about its place and not about the host.
    async fn mount_from(&self, blob: &Descriptor, places: &[Origin]) -> Result<Mounting> {
        let host = self.0.name.host();
        let places: Vec<_> = places.iter().filter(|place| place.host == host).cloned().collect();
        let facts = self.0.facts();
        if places.is_empty() || facts.refuses_mounts() {
            return Ok(Mounting::default());
        }
        let mut own = None;
        let mounts = facts.mounts().get_or_try_init(|| async {
            let mounting = self.0.mount_in_turn(blob, &places).await?;
            Ok::<_, Error>(own.insert(mounting).from.is_some())
        });
        mounts.await?;
        match own {
            Some(mounting) => Ok(mounting),
            None if facts.refuses_mounts() => Ok(Mounting::default()),
            None => self.0.mount_in_turn(blob, &places).await,
        }
    }

    async fn put_blob(&self, blob: &Blob, session: Option<String>) -> Result<()> {
        let session =
            session.map(|location| self.0.resume_session(blob.descriptor(), &location)).transpose()?;
        Push::new(&self.0, blob, session).run().await
    }

    async fn put_manifest(&self, manifest: &Manifest, name: &Name) -> Result<()> {
        let subject_noted = self.0.retried(|| self.0.put_manifest(manifest, name)).await?;
        if manifest.subject().is_some() && !subject_noted {
            self.0.retried(|| self.0.note_referrer(manifest)).await?;
        }
        Ok(())
    }

    async fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn vouches_for_blobs(&self) -> bool {
        true
    }

    async fn identity(&self) -> Option<Identity> {
        let (host, path) = (self.0.credential_host(), self.0.name.path());
        match self.0.access.keychain.credential(&host, path).await {
            Ok(credential) => Some(credential.identity()),
            Err(error) => {
                tracing::debug!(host, %error, "whose credentials these are is not known");
                None
            }
        }
    }

    fn origin(&self) -> Origin {
        Origin { host: self.0.name.host().to_owned(), repository: self.0.name.path().to_owned() }
    }

    fn host(&self) -> Option<&str> {
        Some(self.0.name.host())
    }
}
