//! An image under a name in the cache: what is lazy stays lazy.

use std::sync::Arc;

use lazyblob_cache::image::StoreTarget;
use lazyblob_remote::copy::Copy;
use lazyblob_remote::endpoint::{Name, Target};
use lazyblob_remote::transfer::Blob;
use lazyblob_remote::{Access, Provider, Reference};

use super::image::ImageExport;
use super::push::by_repository;
use super::source::ExportSource;
use crate::error::Result;
use crate::worker::Worker;

impl ImageExport {
    /// Gives the image its names in the cache; with `canonical` also `NAME@DIGEST`. Fetches nothing.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) for no names and names with a digest; those of the store.
    pub async fn store(
        &self,
        worker: &Worker,
        names: &[Reference],
        canonical: bool,
        access: &Access,
    ) -> Result<()> {
        let (manager, transfers) = (worker.manager(), worker.manager().transfers());
        for (repository, tags) in by_repository(names, false)? {
            let target = Arc::new(StoreTarget::new(manager, &repository));
            let source = Arc::new(ExportSource::within(self, Target::origin(target.as_ref())));
            let provider: Arc<dyn Provider> = Arc::clone(&source) as _;
            // Layers are in the cache as they are; of configs it knows nothing yet.
            for part in &self.0.parts {
                if !target.has_blob(&part.config).await? {
                    let providers = [Arc::clone(&provider)];
                    let settings = transfers.settings().clone();
                    let blob = Blob::new(part.config.clone(), &providers, settings, access.clone());
                    target.put_blob(&blob, None).await?;
                }
            }
            let goes: Arc<dyn Target> = Arc::clone(&target) as _;
            let copy = Copy::new(source, Name::Only, goes, tags.clone(), access.clone(), transfers.clone());
            copy.of(self.root().clone()).run().await?;
            for tag in tags {
                let Name::Tag(tag) = tag else { continue };
                let name = repository.tagged(&tag)?;
                manager.make_records(&name, self.digest()).await?;
                if canonical {
                    manager.give_name(&name, &repository.at(self.digest())).await?;
                }
            }
        }
        Ok(())
    }

    /// Unpacks the layers of all platforms.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::extract`](lazyblob_cache::ImmutableRef::extract).
    pub async fn unpack(&self, access: &Access) -> Result<()> {
        for tree in self.0.parts.iter().filter_map(|part| part.tree.as_ref()) {
            tree.extract(access).await?;
        }
        Ok(())
    }
}
