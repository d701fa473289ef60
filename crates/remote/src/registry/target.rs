//! A repository as the target of a copy.

use async_trait::async_trait;
use futures::StreamExt;
use oci_spec::image::{Descriptor, Digest};

use super::Repository;
use super::upload::{Failure, Session, Streamed};
use crate::endpoint::{Mounted, Name, Target};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::provider::Origin;
use crate::transfer::Blob;

/// After so many streams that were cut off, chunks are tried.
const STREAMS: u32 = 2;

/// A repository to write to, with the retries of [`crate::transfer`].
#[derive(Clone, Debug)]
pub struct RegistryTarget(Repository);

impl RegistryTarget {
    /// Writes to `repository`.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self(repository)
    }

    /// One try: everything in one request, or in chunks of the size given.
    async fn upload(&self, blob: &Blob, session: Option<Session>, chunk: Option<u64>) -> Result<(), Failure> {
        let repository = &self.0.under(blob.lease());
        let descriptor = blob.descriptor();
        // The source answers first: a session that nothing goes into is never opened.
        let mut source = blob.read().await.map_err(Failure::Source)?;
        let nothing = descriptor.size() == 0;
        if nothing {
            while let Some(chunk) = source.next().await {
                chunk.map_err(Failure::Source)?;
            }
        }
        let session = match session {
            Some(session) => session,
            None => repository.start_upload(descriptor).await?,
        };
        let session = match chunk {
            // No PATCH: there is nothing to send.
            _ if nothing => session,
            Some(chunk) => repository.chunked_upload(blob, session, source, chunk).await?.0,
            None => match repository.stream_upload(descriptor, session, source).await? {
                Streamed::All(session) => session,
                Streamed::TooMuch => {
                    let source = blob.read().await.map_err(Failure::Source)?;
                    let session = repository.start_upload(descriptor).await?;
                    let chunk = repository.registry.0.settings.chunk;
                    let (session, chunk) = repository.chunked_upload(blob, session, source, chunk).await?;
                    repository.facts().set_chunk(chunk);
                    session
                }
            },
        };
        match repository.finish_upload(descriptor, session).await {
            // The answer may have been lost after the blob was stored.
            Err(error) if error.is_transient() => match repository.holds_blob(descriptor).await {
                Ok(true) => Ok(()),
                _ => Err(error.into()),
            },
            outcome => Ok(outcome?),
        }
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

    async fn put_blob(&self, blob: &Blob, session: Option<String>) -> Result<()> {
        let mut session =
            session.map(|location| self.0.resume_session(blob.descriptor(), &location)).transpose()?;
        let usual = self.0.registry.0.settings.chunk;
        let (mut failures, mut cut_off) = (0, 0);
        loop {
            // Some registries keep only the last chunk, so that this is tried once in a while and its failure is not
            // the last word.
            let in_spite = cut_off >= STREAMS && blob.descriptor().size() > usual;
            let chunk = self.0.facts().chunk().or(in_spite.then_some(usual));
            let error = match self.upload(blob, session.take(), chunk).await {
                Ok(()) => return Ok(()),
                // It has had its tries.
                Err(Failure::Source(error)) => return Err(error),
                Err(Failure::CutOff(error)) => {
                    cut_off += 1;
                    error
                }
                Err(Failure::Target(Error::Rejected { what, reason, .. })) if in_spite => {
                    cut_off = 0;
                    Error::broken(what.operation, what.object, &format!("in chunks, too: {reason}").into())
                }
                Err(Failure::Target(error)) => error,
            };
            failures += 1;
            blob.back_off(failures, error).await?;
        }
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

    fn origin(&self) -> Origin {
        Origin { host: self.0.name.host().to_owned(), repository: self.0.name.path().to_owned() }
    }

    fn host(&self) -> Option<&str> {
        Some(self.0.name.host())
    }
}
