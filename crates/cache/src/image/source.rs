//! An image of the store as one end of a copy: what is not here comes from where it was seen.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

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

/// Repositories that one blob is tried to be mounted from: each refusal is a request.
const MOUNTS: usize = 4;

/// An image in the store, read by whoever copies it. Manifests and blobs that are not here are fetched when they are read,
/// with the credentials of the access it was made with.
#[derive(Clone)]
pub struct StoreSource {
    manager: Manager,
    reference: Reference,
    access: Access,
    origin: Origin,
    /// The host that the image goes to.
    towards: Option<String>,
    /// Repositories of that host that blobs of the manifests read were seen in.
    seen: Arc<Mutex<HashMap<Digest, Vec<Origin>>>>,
    /// What of it is being read is not pruned.
    pins: Arc<Mutex<Vec<Pinned>>>,
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
            towards: towards.map(|towards| towards.host.clone()),
            seen: Arc::default(),
            pins: Arc::default(),
        })
    }

    /// The image as one that is here and nowhere else: every blob is looked for at the target.
    #[must_use]
    pub fn from_here(mut self) -> Self {
        self.origin = Source::origin(self.manager.store().layout());
        self.towards = None;
        self.seen = Arc::default();
        self
    }

    /// Brings `blob` here, where it is not. Returns what keeps it readable, if it was brought just now.
    ///
    /// # Errors
    /// [`Error::NotFound`](lazyblob_remote::Error::NotFound) where nothing is known of where it was; those of the
    /// transfer.
    pub async fn bring(&self, blob: &Descriptor) -> Result<Option<Arc<dyn Provider>>> {
        let Self { manager, access, .. } = self;
        self.pin(blob.digest())?;
        if manager.store().holds(blob).await.map_err(outwards)? {
            return Ok(None);
        }
        let mut sources = manager.remembered_sources(blob.digest(), access).await.map_err(outwards)?;
        for place in self.places(blob.digest()).await? {
            if let Some(provider) = manager.0.remotes.provider(&place, access)
                && !sources.iter().any(|known| known.origin() == place)
            {
                sources.push(provider);
            }
        }
        if sources.is_empty() {
            let object = format!("{} of {}", blob.digest(), self.reference);
            let reason = "it is not in the store, and nothing is known of where it was";
            return Err(lazyblob_remote::Error::not_found("read blob", object, reason));
        }
        Ok(manager.bring(blob, sources, 0, access).await.map_err(outwards)?.held)
    }

    /// Finds out where the blobs of `manifest` may be mounted from.
    async fn look_around(&self, manifest: &Manifest) -> Result<()> {
        let Some(host) = &self.towards else { return Ok(()) };
        for blob in manifest.child_blobs() {
            let mut places = self.manager.seen_at(blob.digest()).await.map_err(outwards)?;
            places.retain(|place| place.host == *host);
            places.truncate(MOUNTS);
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest().clone(), places);
        }
        Ok(())
    }

    fn pin(&self, digest: &Digest) -> Result<()> {
        let pin = self.manager.root().live().pin(&[Pin::Blob(digest.clone())]).map_err(outwards)?;
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).push(pin);
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
        let digest = Source::resolve(self, name).await?;
        self.pin(&digest)?;
        let manifest = match Source::manifest(layout, &Name::Digest(digest.clone())).await {
            Err(error) if error.is_not_found() => self.fetch_manifest(&digest, error).await?,
            found => found?,
        };
        self.look_around(&manifest).await?;
        Ok(manifest)
    }

    async fn resolve(&self, name: &Name) -> Result<Digest> {
        match name {
            Name::Digest(digest) => Ok(digest.clone()),
            // Another name in its repository: that of a signature, say.
            Name::Tag(tag) => {
                let reference = self.reference.with_tag(tag)?;
                self.manager.named(&reference).await.map_err(outwards)
            }
            Name::Only => self.manager.named(&self.reference).await.map_err(outwards),
        }
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
        match self.0.bring(blob).await? {
            Some(held) => held.open(blob, range).await,
            None => self.0.manager.store().layout().open(blob, range).await,
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

    /// Where the image was, then where the blob was seen in others.
    fn seen_at(&self, blob: &Descriptor) -> Vec<Origin> {
        let here = Source::origin(self.0.manager.store().layout());
        let mut places: Vec<Origin> =
            Some(self.0.origin()).filter(|origin| *origin != here).into_iter().collect();
        let seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for place in seen.get(blob.digest()).into_iter().flatten() {
            if !places.contains(place) {
                places.push(place.clone());
            }
        }
        places
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
