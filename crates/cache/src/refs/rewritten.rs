//! The same tree with other times.

use std::path::Path;

use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

use super::blobs::{BlobOptions, scratch_file};
use super::{ImmutableRef, Layer};
use crate::blocking::blocking;
use crate::error::{Result, What};
use crate::layer::{self, Compressor, LayerType};
use crate::manager::{GetOptions, Manager, NewLayer};
use crate::record::LayerBlob;
use crate::root::Pinned;

impl ImmutableRef {
    /// The same layers, but with no time later than `latest`, seconds since 1970, in those above the lowest `keep`: these
    /// stay what they are, lazy ones too. The others are fetched; those that change get new blobs, compressed as they
    /// were, and stay what they are if nothing in them was later.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::make_blobs`] and [`ImmutableRef::unlazy`]; [`Error::Invalid`](crate::Error::Invalid) for a
    /// blob that is no tar, [`Error::Integrity`](crate::Error::Integrity) for one that is not what its config says.
    pub async fn rewritten(
        &self,
        keep: usize,
        latest: u64,
        options: &BlobOptions,
        access: &Access,
    ) -> Result<Self> {
        self.make_blobs(options, access).await?;
        let (mut layers, mut pins, mut news) = (Vec::new(), Vec::new(), false);
        for (height, layer) in self.layers().into_iter().enumerate() {
            let record = layer.record();
            let Some(mut blob) = record.blob.clone() else { continue };
            let mut sources = record.sources.clone();
            if height >= keep {
                self.manager().unlazy_layer(&blob.descriptor, &layer, height, access).await?;
                let (rewritten, pin) = self.manager().retime(&layer, &blob, latest, options).await?;
                pins.extend(pin);
                if rewritten != blob {
                    (blob, sources, news) = (rewritten, Vec::new(), true);
                }
            }
            layers.push((NewLayer { blob, sources }, record));
        }
        if !news {
            return Ok(self.clone());
        }
        let mut below: Option<Self> = None;
        let mut waiting = Vec::new();
        // One by one from the first that differs: each says what the layer it was made of said.
        for (height, (layer, record)) in layers.into_iter().enumerate() {
            waiting.push(layer);
            if height + 1 < keep {
                continue;
            }
            let options = GetOptions {
                handlers: self.handlers().clone(),
                description: Some(record.description.clone()),
                created: Some(record.created),
                ..GetOptions::default()
            };
            below = Some(self.manager().import(std::mem::take(&mut waiting), below.as_ref(), options).await?);
        }
        drop(pins);
        Ok(below.unwrap_or_else(|| self.clone()))
    }
}

impl Manager {
    /// Clamps the times of a blob that is here.
    async fn retime(
        &self,
        layer: &Layer,
        blob: &LayerBlob,
        latest: u64,
        options: &BlobOptions,
    ) -> Result<(LayerBlob, Option<Pinned>)> {
        let (store, scratch, of) = (self.store().clone(), self.root().staging(), blob.clone());
        let what = What::new("clamp times of", layer.record().id.clone());
        let kind = LayerType::parse(of.descriptor.media_type().as_ref());
        // Compressed as it was, unless that is how others are to be.
        let (kind, threads) = (kind.unwrap_or(options.layer), options.threads);
        let compression = match kind.algorithm {
            algorithm if algorithm == options.compression.algorithm() => options.compression,
            layer::Algorithm::None => layer::Compression::None,
            layer::Algorithm::Gzip => layer::Compression::GZIP,
            layer::Algorithm::Zstd => layer::Compression::ZSTD,
        };
        let work = move |cancel: CancellationToken| {
            blocking(
                || what,
                move || {
                    let out =
                        Compressor::new(scratch_file(Path::new(&scratch))?, kind, compression, threads)?;
                    layer::retimed(store.open_file(&of.descriptor)?, &of.diff_id, latest, out, &cancel)
                },
            )
        };
        let made = self.see_through(work).await?;
        if made.0.diff_id == blob.diff_id {
            return Ok((blob.clone(), None));
        }
        let (blob, pin) = self.store_made(made).await?;
        Ok((blob, Some(pin)))
    }
}
