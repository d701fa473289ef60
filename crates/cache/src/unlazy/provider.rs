//! The blobs of a ref as a provider: reading one unlazies it, looking does not.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{Access, Provider, Source};
use oci_spec::image::{Descriptor, Digest};

use crate::error::{Error, Result};
use crate::refs::{ImmutableRef, Layer};

/// A ref's layers for somebody who pushes or exports it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The bottom one first.
    pub descriptors: Vec<Descriptor>,
    /// Reads them.
    pub provider: LazyProvider,
}

/// The blobs of a ref. Reading one that is not here fetches it, once whoever reads; size, digest and origin are told
/// without.
#[derive(Clone)]
pub struct LazyProvider {
    of: ImmutableRef,
    layers: HashMap<Digest, (Descriptor, Layer, usize)>,
    access: Access,
}

impl ImmutableRef {
    /// Its layers, to be read with the credentials of `access`. Fetches nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that no blob was made of yet.
    pub fn remote(&self, access: &Access) -> Result<Remote> {
        let mut descriptors = Vec::new();
        let mut layers = HashMap::new();
        for (height, layer) in self.layers().into_iter().enumerate() {
            let descriptor = layer.descriptor()?;
            descriptors.push(descriptor.clone());
            layers.insert(descriptor.digest().clone(), (descriptor, layer, height));
        }
        let provider = LazyProvider { of: self.clone(), layers, access: access.clone() };
        Ok(Remote { descriptors, provider })
    }
}

impl LazyProvider {
    /// Brings all that is not here, at once. Returns how many blobs were fetched.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::unlazy`].
    pub async fn unlazy(&self) -> Result<usize> {
        self.of.unlazy(&self.access).await
    }

    fn layer(&self, blob: &Descriptor) -> lazyblob_remote::Result<&(Descriptor, Layer, usize)> {
        self.layers.get(blob.digest()).ok_or_else(|| {
            lazyblob_remote::Error::not_found(
                "read blob",
                blob.digest(),
                format_args!("{} has no such layer", self.of.id()),
            )
        })
    }
}

#[async_trait]
impl Provider for LazyProvider {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> lazyblob_remote::Result<Unverified> {
        let (_, layer, height) = self.layer(blob)?;
        let manager = self.of.manager();
        loop {
            let unlazied =
                manager.unlazy_layer(blob, layer, *height, &self.access).await.map_err(outwards)?;
            let opened = match &unlazied.held {
                Some(held) => held.open(blob, range.clone()).await,
                None => Provider::open(manager.store().layout(), blob, range.clone()).await,
            };
            match opened {
                // It was here, and somebody has removed it since: it is fetched again.
                Err(error) if error.is_not_found() && !unlazied.fetched => {
                    if manager.store().knows(blob) {
                        manager.store().lost(blob.digest());
                        continue;
                    }
                    return Err(error);
                }
                opened => return opened,
            }
        }
    }

    async fn info(&self, blob: &Descriptor) -> lazyblob_remote::Result<BlobInfo> {
        self.layer(blob).map(|(descriptor, _, _)| BlobInfo { size: Some(descriptor.size()) })
    }

    fn origin(&self) -> Origin {
        Source::origin(self.of.manager().store().layout())
    }

    fn fetches(&self) -> bool {
        true
    }

    fn seen_at(&self, blob: &Descriptor) -> Vec<Origin> {
        let Some((_, layer, _)) = self.layers.get(blob.digest()) else { return Vec::new() };
        seen_at(layer, blob.digest())
    }
}

/// Registries' repositories that have the blob of `layer`, by the word of its handle and its record.
fn seen_at(layer: &Layer, digest: &Digest) -> Vec<Origin> {
    let mut places: Vec<Origin> = Vec::new();
    let handler = layer.handlers().get(digest).and_then(|handler| handler.origin.clone());
    let remembered = layer.record();
    for place in handler.into_iter().chain(remembered.sources.iter().cloned().map(Origin::from)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// An error of ours on the way through an interface of `remote`'s.
pub(crate) fn outwards(error: Error) -> lazyblob_remote::Error {
    match error {
        Error::Remote(error) => error,
        Error::NeedsRemoteProviders { .. } => {
            let missing = error.to_string();
            lazyblob_remote::Error::not_found("unlazy", missing, "")
        }
        Error::NotFound { what, reason } | Error::Lost { what, reason } => {
            lazyblob_remote::Error::NotFound { what, reason }
        }
        Error::Integrity { what, mismatch } => lazyblob_remote::Error::Integrity { what, mismatch },
        Error::Invalid { what, reason } => lazyblob_remote::Error::Invalid { what, reason },
        Error::Refused { what, reason } => lazyblob_remote::Error::Refused { what, reason },
        Error::Io { what, path, source } => lazyblob_remote::Error::Io { what, path, source },
        Error::Cancelled { what } => lazyblob_remote::Error::Cancelled { what },
        Error::Locked { what, reason } | Error::Metadata { what, reason } => {
            lazyblob_remote::Error::Unavailable { what, reason, retry_after: None, transient: false }
        }
        Error::Shared(error) => {
            let what = lazyblob_remote::What::new("unlazy", "blob");
            let reason = error.to_string();
            lazyblob_remote::Error::Unavailable { what, reason, retry_after: None, transient: false }
        }
    }
}

impl fmt::Debug for LazyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyProvider").field("of", &self.of).finish_non_exhaustive()
    }
}
