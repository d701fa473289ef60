//! An image to registries: present? mount? and only then are bytes read.

use std::collections::BTreeSet;
use std::sync::Arc;

use lazyblob_remote::copy::{Action, Copy, Report};
use lazyblob_remote::endpoint::{Name, Target};
use lazyblob_remote::provider::Origin;
use lazyblob_remote::registry::RegistryTarget;
use lazyblob_remote::{Access, Descriptor, Digest, Reference, RepositoryName, Scopes};

use super::image::ImageExport;
use super::source::ExportSource;
use crate::error::{Error, Result};
use crate::worker::Worker;

/// Repositories that one push asks for the right to read: each makes the token longer.
const READ: usize = 16;

/// An image that has gone to a repository.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The repository.
    pub repository: RepositoryName,
    /// The tags it has there; none if it went there by its digest.
    pub tags: Vec<String>,
    /// Its digest.
    pub digest: Digest,
    /// All of it was there.
    pub unchanged: bool,
    /// Every blob and what became of it; none if all of it was there.
    pub blobs: Vec<(Descriptor, Action)>,
}

impl ImageExport {
    /// Pushes the image to where its names lead, one repository after the other; of one, all tags at the end. What was
    /// pushed is remembered to be there.
    ///
    /// # Errors
    /// [`Error::Failed`] for a name with a digest, no names, and a tag that is to be pushed `by_digest`;
    /// [`Error::Remote`] with those of the copy: what the failing repository had under the name is untouched then.
    pub async fn push(
        &self,
        worker: &Worker,
        names: &[Reference],
        by_digest: bool,
        access: &Access,
    ) -> Result<Vec<Pushed>> {
        let mut pushed = Vec::new();
        for (repository, names) in by_repository(names, by_digest)? {
            let names = if by_digest { vec![Name::Digest(self.digest().clone())] } else { names };
            let report = self.push_to(worker, &repository, names.clone(), access).await?;
            let tags = names.into_iter().filter_map(|name| match name {
                Name::Tag(tag) => Some(tag),
                _ => None,
            });
            let Report { root, unchanged, blobs, .. } = report;
            pushed.push(Pushed { repository, tags: tags.collect(), digest: root, unchanged, blobs });
        }
        Ok(pushed)
    }

    async fn push_to(
        &self,
        worker: &Worker,
        repository: &RepositoryName,
        names: Vec<Name>,
        access: &Access,
    ) -> Result<Report> {
        let towards = Origin { host: repository.host().to_owned(), repository: repository.path().to_owned() };
        let source = ExportSource::new(self, towards.clone());
        let transfers = worker.registry().transfers();
        let mut others = BTreeSet::new();
        for part in &self.0.parts {
            for layer in part.manifest.layers() {
                for place in source.places(layer) {
                    if place == towards {
                        // It is believed, and asked before anything else.
                        transfers.locations().record(layer.digest(), place, None);
                    } else if place.host == towards.host && others.len() < READ {
                        others.insert(place.repository);
                    }
                }
            }
        }
        let mut scopes = Scopes::push(repository);
        for other in others {
            if let Ok(other) = RepositoryName::new(repository.host(), &other) {
                scopes = Scopes::pull(&other).union(&scopes);
            }
        }
        let target = RegistryTarget::new(worker.registry().repository(repository, scopes, access)?);
        let target: Arc<dyn Target> = Arc::new(target);
        let copy = Copy::new(Arc::new(source), Name::Only, target, names, access.clone(), transfers.clone());
        let report = copy.of(self.root().clone()).run().await?;
        self.remember(worker, &report, &towards).await;
        Ok(report)
    }

    /// Writes down where the layers are now. The push is done: that it is not remembered costs the next one requests, and
    /// no more.
    async fn remember(&self, worker: &Worker, report: &Report, place: &Origin) {
        let is_foreign = |digest: &Digest| {
            report.blobs.iter().any(|(blob, action)| blob.digest() == digest && *action == Action::Foreign)
        };
        let layers = self.layers().into_iter().filter(|digest| !is_foreign(digest)).collect();
        if let Err(error) = worker.manager().layers_pushed_to(layers, place).await {
            tracing::warn!(%error, %place, "where an image is now could not be written down");
        }
    }
}

type ByRepository = Vec<(RepositoryName, Vec<Name>)>;

/// Names of one repository together, in the order in which repositories are named first.
pub(super) fn by_repository(names: &[Reference], by_digest: bool) -> Result<ByRepository> {
    let mut grouped: ByRepository = Vec::new();
    for name in names {
        if name.digest().is_some() {
            return Err(Error::failed("push", name, "an image that is made gets its digest from what it is"));
        }
        if by_digest && name.tag().is_some() {
            return Err(Error::failed("push", name, "it has a tag, and is to be pushed by its digest alone"));
        }
        let tag = Name::Tag(name.identifier());
        match grouped.iter_mut().find(|(repository, _)| repository == name.repository()) {
            Some((_, tags)) if tags.contains(&tag) => {}
            Some((_, tags)) => tags.push(tag),
            None => grouped.push((name.repository().clone(), vec![tag])),
        }
    }
    if grouped.is_empty() {
        return Err(Error::failed("push", "image", "it has no name to push to"));
    }
    Ok(grouped)
}
