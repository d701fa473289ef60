//! An image of the store as one end of a copy: what is not here comes from where it was seen.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{Access, Manifest, Provider, Reference, Result, Source, Target};
use oci_spec::image::{Descriptor, Digest};

use super::origins::Origins;
use crate::manager::Manager;
use crate::record::{self, Rows};
use crate::root::{Pin, Pinned};
use crate::unlazy::outwards;

/// An image in the store, read by whoever copies it. Manifests and blobs that are not here are fetched when they are read,
/// with the credentials of the access it was made with.
#[derive(Clone)]
pub struct StoreSource {
    manager: Manager,
    reference: Reference,
    access: Access,
    origin: Origin,
    /// What of it is being read is not pruned.
    pins: Arc<std::sync::Mutex<Vec<Pinned>>>,
}

impl StoreSource {
    /// The image called `reference`, whose layers are read on behalf of `access`. With `towards` it is known where the
    /// image goes: where it was seen in that very repository, it is read as if from there, so that nothing in it moves.
    ///
    /// # Errors
    /// [`Error::NotFound`](lazyblob_remote::Error::NotFound) for a name that is not in the store.
    pub async fn new(
        manager: &Manager,
        reference: &Reference,
        access: &Access,
        towards: Option<&Origin>,
    ) -> Result<Self> {
        let manager = manager.clone();
        let root = manager.named(reference).await.map_err(outwards)?;
        let seen = manager.seen_at(&root).await.map_err(outwards)?;
        let there = towards.and_then(|towards| {
            seen.iter()
                .find(|place| *place == towards)
                .or_else(|| seen.iter().find(|place| place.host == towards.host))
        });
        let origin = there.cloned().unwrap_or_else(|| Source::origin(manager.store().layout()));
        Ok(Self {
            manager,
            reference: reference.clone(),
            access: access.clone(),
            origin,
            pins: Arc::default(),
        })
    }

    /// The image as one that is here and nowhere else: every blob is looked for at the target.
    #[must_use]
    pub fn from_here(mut self) -> Self {
        self.origin = Source::origin(self.manager.store().layout());
        self
    }

    fn pin(&self, digest: &Digest) -> Result<()> {
        let pin = self.manager.root().live().pin(&[Pin::Blob(digest.clone())]).map_err(outwards)?;
        self.pins.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(pin);
        Ok(())
    }

    /// Brings a manifest here from where it was seen.
    async fn fetch_manifest(&self, digest: &Digest, missing: lazyblob_remote::Error) -> Result<Manifest> {
        let mut error = missing;
        for place in self.places(digest).await? {
            let Some(source) = self.manager.0.remotes.source(&place, &self.access) else { continue };
            match source.manifest(&Name::Digest(digest.clone())).await {
                Ok(manifest) => {
                    self.pin(digest)?;
                    let layout = self.manager.store().layout();
                    layout.put_manifest(&manifest, &Name::Digest(digest.clone())).await?;
                    self.manager.saw(vec![digest.clone()], place).await.map_err(outwards)?;
                    return Ok(manifest);
                }
                Err(refused) => error = refused,
            }
        }
        Err(error)
    }

    /// Repositories that may have `digest`: where it was seen, then where the image was.
    async fn places(&self, digest: &Digest) -> Result<Vec<Origin>> {
        let mut places = self.manager.seen_at(digest).await.map_err(outwards)?;
        let root = self.manager.named(&self.reference).await.map_err(outwards)?;
        for place in self.manager.seen_at(&root).await.map_err(outwards)? {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(places)
    }
}

#[async_trait]
impl Source for StoreSource {
    async fn manifest(&self, name: &Name) -> Result<Manifest> {
        let layout = self.manager.store().layout();
        let digest = match name {
            Name::Digest(digest) => digest.clone(),
            // However it is called elsewhere, here it is one image.
            _ => self.manager.named(&self.reference).await.map_err(outwards)?,
        };
        self.pin(&digest)?;
        match Source::manifest(layout, &Name::Digest(digest.clone())).await {
            Err(error) if error.is_not_found() => self.fetch_manifest(&digest, error).await,
            found => found,
        }
    }

    async fn resolve(&self, name: &Name) -> Result<Digest> {
        self.manifest(name).await.map(|manifest| manifest.digest().clone())
    }

    fn blobs(&self) -> Arc<dyn Provider> {
        Arc::new(ImageBlobs(self.clone()))
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        Source::referrers(self.manager.store().layout(), subject).await
    }

    fn origin(&self) -> Origin {
        self.origin.clone()
    }
}

/// All blobs of an image: layers, configs, and whatever else its manifests name.
#[derive(Debug)]
struct ImageBlobs(StoreSource);

#[async_trait]
impl Provider for ImageBlobs {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        let StoreSource { manager, access, .. } = &self.0;
        let layout = manager.store().layout();
        self.0.pin(blob.digest())?;
        if manager.store().holds(blob).await.map_err(outwards)? {
            return layout.open(blob, range).await;
        }
        let mut sources = manager.remembered_sources(blob.digest(), access).await.map_err(outwards)?;
        for place in self.0.places(blob.digest()).await? {
            if let Some(provider) = manager.0.remotes.provider(&place, access)
                && !sources.iter().any(|known| known.origin() == place)
            {
                sources.push(provider);
            }
        }
        if sources.is_empty() {
            let object = format!("{} of {}", blob.digest(), self.0.reference);
            let reason = "it is not in the store, and nothing is known of where it was";
            return Err(lazyblob_remote::Error::not_found("read blob", object, reason));
        }
        match manager.bring(blob, sources, 0, access).await.map_err(outwards)?.held {
            Some(held) => held.open(blob, range).await,
            None => layout.open(blob, range).await,
        }
    }

    async fn info(&self, blob: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: Some(blob.size()) })
    }

    fn origin(&self) -> Origin {
        self.0.origin()
    }

    fn fetches(&self) -> bool {
        true
    }

    fn seen_at(&self, _: &Descriptor) -> Vec<Origin> {
        let here = Source::origin(self.0.manager.store().layout());
        Some(self.0.origin()).filter(|origin| *origin != here).into_iter().collect()
    }
}

impl Manager {
    /// Repositories that a blob was seen in, by whatever is known of it.
    pub(crate) async fn seen_at(&self, digest: &Digest) -> crate::Result<Vec<Origin>> {
        let digest = digest.clone();
        self.read(move |rows| {
            let mut places: Vec<Origin> = Vec::new();
            let mut sources: Vec<record::Source> = Origins::of(rows, &digest)?;
            for id in Rows::of_blob(rows, digest.as_ref())? {
                sources.extend(Rows::get(rows, &id)?.into_iter().flat_map(|record| record.sources));
            }
            for place in sources.into_iter().map(Origin::from) {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            Ok(places)
        })
        .await
    }

    /// Remembers that blobs that are no layers were seen at `origin`.
    pub(crate) async fn saw(&self, digests: Vec<Digest>, origin: Origin) -> crate::Result<()> {
        self.write(move |rows| digests.iter().try_for_each(|digest| Origins::add(rows, digest, &origin)))
            .await
    }

    /// Providers of the places where a blob was seen.
    pub(crate) async fn remembered_sources(
        &self,
        digest: &Digest,
        access: &Access,
    ) -> crate::Result<Vec<Arc<dyn Provider>>> {
        let places = self.seen_at(digest).await?;
        Ok(places.iter().filter_map(|place| self.0.remotes.provider(place, access)).collect())
    }
}

impl fmt::Debug for StoreSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSource").field("reference", &self.reference.to_string()).finish_non_exhaustive()
    }
}
