//! Where an image is read from.

use std::path::PathBuf;
use std::sync::Arc;

use lazyblob_cache::image::{Resolve, Resolved, StoreSource};
use lazyblob_cache::{DescHandler, DescHandlers};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::provider::Origin;
use lazyblob_remote::registry::RegistrySource;
use lazyblob_remote::{Access, Reference, Scopes, Source};
use lazyblob_solver::LoadCx;

use super::{ImageOp, platforms};
use crate::error::{Error, Result};
use crate::llb::{ImageSource, ResolveMode};

/// Where an image is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// At a registry.
    Registry,
    /// In a layout of a session's, by the name it has there.
    Layout(String),
}

/// An image that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) image: Arc<Resolved>,
    /// The layout it is in, if that is where it is.
    pub(super) layout: Option<Layout>,
}

impl Place {
    /// The layout that an image of a layout is in: as the client says, or as the image is called.
    pub(crate) fn of_layout(identifier: &str, image: &ImageSource) -> Self {
        let called = identifier.split_once("://").map_or(identifier, |(_, name)| name);
        let called = called.split_once('@').map_or(called, |(name, _)| name);
        Self::Layout(image.store.clone().unwrap_or_else(|| called.to_owned()))
    }
}

impl ImageOp {
    /// The image, found out now or known to this build already.
    pub(super) async fn find(&self, cx: &LoadCx) -> Result<Found> {
        let access = self.worker.access(cx);
        if let Place::Layout(store) = &self.place {
            let layout = Layout::open(self.directory(cx, store).await?).await?;
            let image = self.resolve(Arc::new(layout.clone()), self.name(), &access).await?;
            return Ok(Found { image, layout: Some(layout) });
        }
        Ok(Found { image: self.find_named(cx, &access).await?, layout: None })
    }

    async fn find_named(&self, cx: &LoadCx, access: &Access) -> Result<Arc<Resolved>> {
        if self.image.resolve_mode == ResolveMode::Local
            && let Some(image) = self.named_here(access).await?
        {
            return Ok(image);
        }
        let reference = &self.image.reference;
        let repository = reference.repository();
        let repository = self.worker.registry().repository(repository, Scopes::pull(repository), access)?;
        let source = Arc::new(RegistrySource::new(repository));
        match self.resolve(source, self.name(), access).await {
            Err(error) if self.image.resolve_mode == ResolveMode::Default && is_unreachable(&error) => {
                let Some(image) = self.named_here(access).await? else { return Err(error) };
                cx.warn(format!("{error}; going on with the image of this name that is here"));
                Ok(image)
            }
            resolved => resolved,
        }
    }

    /// The image that has this very name in the store.
    async fn named_here(&self, access: &Access) -> Result<Option<Arc<Resolved>>> {
        let (manager, reference) = (self.worker.manager(), &self.image.reference);
        match manager.named(reference).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let source = StoreSource::new(manager, reference, access, None).await?;
        self.resolve(Arc::new(source), Name::Only, access).await.map(Some)
    }

    async fn resolve(&self, source: Arc<dyn Source>, name: Name, access: &Access) -> Result<Arc<Resolved>> {
        let reference = self.image.reference.clone();
        let platforms = platforms::that_do(&self.platform);
        let ask = Resolve { reference, source, name, platforms };
        let image = self.resolutions.resolve(self.worker.manager(), ask, access).await?;
        match &self.image.checksum {
            Some(wanted) if wanted != image.root.digest() => {
                let found = image.root.digest();
                let reason = format!("it is {found}, which does not match the expected checksum {wanted}");
                Err(Error::failed("resolve", &self.image.reference, reason))
            }
            _ => Ok(image),
        }
    }

    /// What it is asked for by: the digest decides where there is one.
    fn name(&self) -> Name {
        let reference = &self.image.reference;
        match reference.digest() {
            Some(digest) => Name::Digest(digest.clone()),
            None => Name::Tag(reference.identifier()),
        }
    }

    /// The layout's directory, of the first session that has one of this name.
    async fn directory(&self, cx: &LoadCx, store: &str) -> Result<PathBuf> {
        let sessions = self.worker.sessions().of(&cx.sessions()).await;
        let found = sessions.iter().find_map(|session| session.layouts.get(store).cloned());
        found.ok_or_else(|| {
            let reason = "no session has a layout of this name";
            Error::failed("open layout", store, reason)
        })
    }

    /// What brings its layers, for whoever asks then. They keep manifests and config from being pruned.
    pub(super) fn handlers(&self, Found { image, layout }: &Found) -> DescHandlers {
        let inner = match layout {
            // Where it was found may be the store, which does not have the layers: they are where its name says.
            None => self.worker.manager().handler_at(origin_of(&self.image.reference)),
            Some(layout) => DescHandler::of(Arc::new(layout.clone())),
        };
        let kept = Arc::clone(image);
        let origin = inner.origin.clone();
        let mut handler = DescHandler::new(move |access| {
            let _kept = &kept;
            inner.provider(access)
        });
        handler.origin = origin;
        let handler = Arc::new(handler);
        let layers = image.layers.iter().take(self.image.layer_limit.unwrap_or(usize::MAX));
        layers.map(|layer| (layer.descriptor.digest().clone(), Arc::clone(&handler))).collect()
    }
}

/// The repository that a name is in.
fn origin_of(reference: &Reference) -> Origin {
    let repository = reference.repository();
    Origin { host: repository.host().to_owned(), repository: repository.path().to_owned() }
}

/// Whether an image could not be asked for: nobody said that there is none, or that it is nobody's business.
fn is_unreachable(error: &Error) -> bool {
    let Error::Cache(error) = error else { return false };
    let lazyblob_cache::Error::Remote(error) = error.root() else { return false };
    matches!(
        error.root(),
        lazyblob_remote::Error::Unavailable { .. } | lazyblob_remote::Error::RateLimited { .. }
    )
}
