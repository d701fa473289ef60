//! A blob brought here, once, whoever asks.

use std::collections::HashSet;
use std::sync::Arc;

use lazyblob_remote::transfer::{Action, Brought, Wanted};
use lazyblob_remote::{Access, Provider, Target};
use oci_spec::image::Descriptor;

use crate::error::{Error, Missing, Result};
use crate::manager::Manager;
use crate::record::Record;
use crate::refs::{ImmutableRef, Layer};

/// What came of wanting a blob here.
#[derive(Clone, Debug)]
pub(crate) struct Unlazied {
    /// Whether its bytes were fetched just now, by this asker or by another that it joined.
    pub(crate) fetched: bool,
    /// Keeps it readable, whatever is pruned.
    pub(crate) held: Option<Arc<dyn Provider>>,
}

impl ImmutableRef {
    /// Brings all blobs of this ref here, as many at a time as the limits allow, on behalf of `access`. What is here
    /// stays as it is. Returns how many were fetched.
    ///
    /// # Errors
    /// [`Error::NeedsRemoteProviders`] with all blobs that nobody knows a way to, before any is fetched; those of the
    /// transfers.
    pub async fn unlazy(&self, access: &Access) -> Result<usize> {
        let layers = self.layers();
        let mut wanted = Vec::new();
        let mut missing = Vec::new();
        let mut seen = HashSet::new();
        for (height, layer) in layers.iter().enumerate() {
            let Some(blob) = layer.blob() else { continue };
            // A layer may occur twice.
            if !seen.insert(blob.descriptor.digest().clone()) {
                continue;
            }
            if self.manager().store().holds(&blob.descriptor).await? {
                continue;
            }
            match self.manager().sources(&blob.descriptor, layer, access).await? {
                sources if sources.is_empty() => missing.push(unreachable(&blob.descriptor, &layer.record())),
                sources => wanted.push((blob.descriptor, sources, height)),
            }
        }
        if !missing.is_empty() {
            return Err(Error::NeedsRemoteProviders { missing });
        }
        let bringing = wanted.into_iter().map(|(blob, sources, height)| async move {
            self.manager().bring(&blob, sources, height, access).await
        });
        let brought = futures::future::try_join_all(bringing).await?;
        Ok(brought.iter().filter(|unlazied| unlazied.fetched).count())
    }

    /// Whether some blob of it is not here.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn is_lazy(&self) -> Result<bool> {
        for layer in self.layers() {
            if let Some(blob) = layer.blob()
                && !self.manager().store().holds(&blob.descriptor).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Manager {
    /// Brings the blob of `layer` here.
    pub(crate) async fn unlazy_layer(
        &self,
        blob: &Descriptor,
        layer: &Layer,
        height: usize,
        access: &Access,
    ) -> Result<Unlazied> {
        if self.store().holds(blob).await? {
            return Ok(Unlazied { fetched: false, held: None });
        }
        let sources = self.sources(blob, layer, access).await?;
        if sources.is_empty() {
            let missing = vec![unreachable(blob, &layer.record())];
            return Err(Error::NeedsRemoteProviders { missing });
        }
        self.bring(blob, sources, height, access).await
    }

    /// Brings a blob here from one of `sources`.
    pub(crate) async fn bring(
        &self,
        blob: &Descriptor,
        sources: Vec<Arc<dyn Provider>>,
        height: usize,
        access: &Access,
    ) -> Result<Unlazied> {
        let wanted = Wanted {
            blob: blob.clone(),
            sources,
            target: Arc::new(self.store().layout().clone()) as Arc<dyn Target>,
            height: u32::try_from(height).unwrap_or(u32::MAX),
            shared: 1,
            access: access.clone(),
        };
        let span = tracing::debug_span!("unlazy", digest = %blob.digest(), size = blob.size());
        let brought = tracing::Instrument::instrument(self.transfers().bring(wanted), span).await;
        let Brought { action, held } = brought?;
        self.store().stored(blob);
        Ok(Unlazied { fetched: action == Action::Transfer, held })
    }

    /// Where the blob of `layer` may be had, for `access`: by the asker's own handler, then by those of other handles on
    /// the same record, then where it was seen before. The transfer tries them in this order and goes on with the next at
    /// the same offset.
    pub(crate) async fn sources(
        &self,
        blob: &Descriptor,
        layer: &Layer,
        access: &Access,
    ) -> Result<Vec<Arc<dyn Provider>>> {
        let digest = blob.digest();
        let mut sources: Vec<Arc<dyn Provider>> = Vec::new();
        let mut add = |provider: Arc<dyn Provider>| {
            if !sources.iter().any(|known| known.origin() == provider.origin()) {
                sources.push(provider);
            }
        };
        if let Some(handler) = layer.handlers().get(digest) {
            add(handler.provider(access));
        }
        for handlers in layer.live().handlers() {
            if let Some(handler) = handlers.get(digest) {
                add(handler.provider(access));
            }
        }
        let remembered = self.remembered(std::slice::from_ref(digest)).await?;
        for place in remembered.into_values().flatten() {
            if let Some(provider) = self.0.remotes.provider(&place, access) {
                add(provider);
            }
        }
        Ok(sources)
    }
}

pub(super) fn unreachable(blob: &Descriptor, record: &Record) -> Missing {
    let hints = record.sources.iter().cloned().map(Into::into).collect();
    Missing { descriptor: blob.clone(), hints }
}
