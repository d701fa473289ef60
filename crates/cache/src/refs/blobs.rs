//! Blobs made of trees, and of other blobs.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::sync::Arc;

use bytes::Bytes;
use lazyblob_flightcontrol as flightcontrol;
use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

use super::{ImmutableRef, Layer, stack};
use crate::blocking::blocking;
use crate::chain::Chains;
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer::{self, Compressed, Compression, Compressor, LayerType};
use crate::manager::live::Live;
use crate::manager::{GetOptions, Manager, NewLayer};
use crate::record::{Kind, LayerBlob, RecordId};
use crate::root::{Pin, Pinned};

/// How blobs are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobOptions {
    /// Whose media types they get.
    pub layer: LayerType,
    /// How they are compressed.
    pub compression: Compression,
    /// Cores that compress one of them.
    pub threads: u32,
}

/// So much is read at a time on the way to the store.
const CHUNK: usize = 1 << 20;

impl ImmutableRef {
    /// Makes a blob of each layer that has none: of its tree, to the same bytes whoever does it. Those that have one keep
    /// it, lazy ones too. Afterwards every layer has a descriptor, and the ref a chain.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::extract`] for a tree that is not here, [`Error::Io`], [`Error::Metadata`].
    pub async fn make_blobs(&self, options: &BlobOptions, access: &Access) -> Result<()> {
        self.finalize().await?;
        if self.layers().iter().all(|layer| layer.blob().is_some()) && self.blob_chain().is_some() {
            return Ok(());
        }
        let mut pins = Vec::new();
        for layer in self.layers() {
            if layer.blob().is_none() {
                // Its own tree is enough: what it stands on, or beside, may stay lazy.
                if !self.manager().has_snapshot(&layer.record()).await? {
                    let (live, handlers) = (Arc::clone(layer.live()), layer.handlers().clone());
                    let own = Self::open(self.manager(), live, handlers, false);
                    Box::pin(own.extract(access)).await?;
                }
                pins.push(self.manager().make_blob(&layer, options).await?);
            }
        }
        drop(pins);
        self.manager().name_chains(self.live()).await
    }

    /// The same tree in blobs compressed as `options` say: those that are so already stay what they are, lazy ones too;
    /// the others are fetched and compressed anew, and uncompress to the same. Snapshots are shared.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::unlazy`]; [`Error::Integrity`] for a blob that is not what its config says.
    pub async fn converted(&self, options: &BlobOptions, access: &Access) -> Result<Self> {
        self.make_blobs(options, access).await?;
        let wanted = options.compression.algorithm();
        let (mut layers, mut pins) = (Vec::new(), Vec::new());
        for (height, layer) in self.layers().into_iter().enumerate() {
            let record = layer.record();
            let Some(blob) = record.blob.clone() else { continue };
            let media_type = blob.descriptor.media_type().to_string();
            let kept = LayerType::parse(&media_type).is_some_and(|kind| kind.algorithm == wanted);
            let blob = if kept {
                blob
            } else {
                self.manager().unlazy_layer(&blob.descriptor, &layer, height, access).await?;
                let (blob, pin) = self.manager().convert(blob, options).await?;
                pins.push(pin);
                blob
            };
            layers.push(NewLayer { sources: if kept { record.sources.clone() } else { Vec::new() }, blob });
        }
        let options = GetOptions { handlers: self.handlers().clone(), ..GetOptions::default() };
        self.manager().import(layers, None, options).await
    }
}

impl Manager {
    /// Makes the blob of a layer's tree and says so in its record. Many may ask for it at once: it is made once, as the first
    /// of them says, for as long as anybody waits.
    async fn make_blob(&self, layer: &Layer, options: &BlobOptions) -> Result<Pinned> {
        let (manager, layer, options) = (self.clone(), layer.clone(), *options);
        let id = layer.record().id.clone();
        let run = move |context: flightcontrol::Context<()>| async move {
            Ok(manager.make_blob_once(&layer, options, context.token().clone()).await?)
        };
        let blob = self.0.packs.run(id.clone(), run).await.map_err(|error| told(error, &id))?;
        // Each has a pin of its own; the record, which is in use, has one as well.
        self.root().live().pin(&[Pin::Blob(blob.descriptor.digest().clone())])
    }

    async fn make_blob_once(
        &self,
        layer: &Layer,
        options: BlobOptions,
        cancel: CancellationToken,
    ) -> Result<LayerBlob> {
        let record = layer.record();
        // Whoever asked before may have made it since it was looked for.
        if let Some(blob) = record.blob.clone() {
            return Ok(blob);
        }
        let key = record.snapshot.clone();
        let key =
            key.ok_or_else(|| Error::invalid("make blob", &record.id, "it has no snapshot of its own"))?;
        let (snapshots, scratch) = (Arc::clone(self.snapshots()), self.root().staging());
        let what = What::new("make blob", &record.id);
        let make = move || {
            let file = scratch_file(&scratch)?;
            let mut out = Compressor::new(file, options.layer, options.compression, options.threads)?;
            layer::tar_of(&snapshots.directory(&key)?, snapshots.form(), &mut out, &cancel)?;
            out.finish()
        };
        let made = blocking(|| what, make).await?;
        let (blob, _pin) = self.store_made(made).await?;
        let own = blob.clone();
        self.change(layer.live(), move |record| {
            let news = record.blob.is_none();
            record.blob.get_or_insert(own);
            news
        })
        .await?;
        Ok(layer.blob().unwrap_or(blob))
    }

    /// Compresses a blob that is here anew.
    async fn convert(&self, blob: LayerBlob, options: &BlobOptions) -> Result<(LayerBlob, Pinned)> {
        let (store, options, scratch) = (self.store().clone(), *options, self.root().staging());
        let what = What::new("convert", blob.descriptor.digest());
        let convert = move |cancel: CancellationToken| {
            blocking(
                || what,
                move || {
                    let file = scratch_file(&scratch)?;
                    let out = Compressor::new(file, options.layer, options.compression, options.threads)?;
                    layer::convert(store.open_file(&blob.descriptor)?, &blob.diff_id, out, &cancel)
                },
            )
        };
        let made = self.see_through(convert).await?;
        self.store_made(made).await
    }

    /// Takes what was made into the store. It is pinned before it is there.
    pub(super) async fn store_made(&self, made: (Compressed, File)) -> Result<(LayerBlob, Pinned)> {
        let (Compressed { descriptor, diff_id, .. }, mut file) = made;
        let pin = self.root().live().pin(&[Pin::Blob(descriptor.digest().clone())])?;
        let ingests = self.store().ingests();
        if let Some(mut ingest) = ingests.begin(&descriptor, &lazyblob_remote::progress::Silent).await? {
            ingest.restart().await?;
            file.rewind().during("store blob", descriptor.digest(), ingests.dir())?;
            loop {
                let (read, place, digest) =
                    (file.try_clone(), ingests.dir().to_owned(), descriptor.digest().clone());
                let chunk = blocking(
                    || What::new("store blob", descriptor.digest()),
                    move || {
                        let mut chunk = vec![0; CHUNK];
                        let length = read.and_then(|mut file| file.read(&mut chunk)).during(
                            "store blob",
                            digest,
                            &place,
                        )?;
                        chunk.truncate(length);
                        Ok(Bytes::from(chunk))
                    },
                )
                .await?;
                if chunk.is_empty() {
                    break;
                }
                ingest.write(chunk).await?;
            }
            ingest.commit().await?;
        }
        self.store().stored(&descriptor);
        Ok((LayerBlob { descriptor, diff_id }, pin))
    }

    /// Gives records whose layers all have blobs by now the chains that these make: what each is of its own layers, from
    /// the bottom up.
    async fn name_chains(&self, top: &Arc<Live>) -> Result<()> {
        let mut waiting = vec![Arc::clone(top)];
        let mut unnamed = Vec::new();
        while let Some(live) = waiting.pop() {
            let record = live.record();
            if record.blob_chain.is_none() {
                if !matches!(record.kind, Kind::Diff { .. }) {
                    waiting.extend(live.parents().iter().cloned());
                }
                unnamed.push(live);
            }
        }
        for live in unnamed.into_iter().rev() {
            let mut names: Option<Chains> = None;
            for layer in stack(&live) {
                let record = layer.record();
                let Some(blob) = &record.blob else { return Ok(()) };
                names = Some(Chains::on(names.as_ref(), blob.descriptor.digest(), &blob.diff_id));
            }
            let Some(Chains { chain, blobs }) = names else { continue };
            self.change(&live, move |record| {
                (record.chain, record.blob_chain) = (Some(chain), Some(blobs));
                true
            })
            .await?;
        }
        Ok(())
    }
}

/// What a waiter hears.
fn told(error: flightcontrol::Error<Error>, id: &RecordId) -> Error {
    let what = What::new("make blob", id);
    match error {
        flightcontrol::Error::Failed(error) => Error::Shared(error),
        flightcontrol::Error::Personal(error) => error,
        flightcontrol::Error::Panicked(message) => {
            Error::Lost { what, reason: format!("the work panicked: {message}") }
        }
        _ => Error::Cancelled { what },
    }
}

/// A file without a name: it is gone when nobody has it any more.
pub(super) fn scratch_file(directory: &std::path::Path) -> Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR);
    opened.map(File::from).map_err(Into::into).during("make blob", "a scratch file", directory)
}
