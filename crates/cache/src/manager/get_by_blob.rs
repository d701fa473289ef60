//! Refs by their blobs: shared where the blobs are the same all the way down, made where they are not.

use std::collections::HashMap;
use std::sync::Arc;

use oci_spec::image::Digest;

use super::get::{Loaded, load};
use super::live::Table;
use super::{GetOptions, Manager};
use crate::chain::Chains;
use crate::error::{Error, Missing, Result};
use crate::handler::DescHandlers;
use crate::metadata::Transaction;
use crate::record::{Kind, LayerBlob, Record, RecordId, Rows, Source};
use crate::refs::ImmutableRef;
use crate::root::{Pin, Root};
use crate::snapshot::SnapshotKey;

/// One layer of a chain to be known.
#[derive(Clone, Debug)]
pub struct NewLayer {
    /// Its blob.
    pub blob: LayerBlob,
    /// Repositories that have it.
    pub sources: Vec<Source>,
}

/// A chain of layers to be known, the bottom one first.
struct Chain {
    layers: Vec<NewLayer>,
    parent: Option<Record>,
    options: GetOptions,
}

impl Manager {
    /// Opens a handle on the layer of `blob` on top of `parent`. The record is the one that is there for the same blobs
    /// all the way down, or else a new one; its snapshot is shared with whatever unpacks to the same. Nothing is pulled,
    /// and nothing has to be here: `options` tell how it can be had.
    ///
    /// # Errors
    /// [`Error::NeedsRemoteProviders`] where the blob is not here and `options` have no handler for it;
    /// [`Error::Invalid`] for a parent that no chain names: one without a blob.
    pub async fn get_by_blob(
        &self,
        blob: LayerBlob,
        parent: Option<&ImmutableRef>,
        options: GetOptions,
    ) -> Result<ImmutableRef> {
        let layer = NewLayer { blob, sources: options.sources.clone() };
        self.import(vec![layer], parent, options).await
    }

    /// Opens a handle on the top of a stack of layers, the bottom one first, on top of `parent`: all in one turn, written
    /// once. As [`Manager::get_by_blob`] for each of them.
    ///
    /// # Errors
    /// Those of [`Manager::get_by_blob`], with all blobs that are missing; [`Error::Invalid`] for no layers.
    pub async fn import(
        &self,
        layers: Vec<NewLayer>,
        parent: Option<&ImmutableRef>,
        options: GetOptions,
    ) -> Result<ImmutableRef> {
        // What the parent's handle knows of the way to blobs is good for its children.
        let handlers = match parent {
            Some(parent) => options.handlers.union(parent.handlers()),
            None => options.handlers.clone(),
        };
        self.all_can_be_had(&layers, &handlers).await?;
        let below = match parent {
            Some(parent) => {
                parent.finalize().await?;
                Some((*parent.record()).clone())
            }
            None => None,
        };
        let (counts, unlazy) = (!options.unused, options.unlazy.clone());
        let chain = Chain { layers, parent: below, options };
        let (root, table) = (self.0.root.clone(), Arc::clone(&self.0.table));
        let (top, loaded) = self.write(move |rows| chain.write(rows, &root, &table)).await?;
        let live = self.enter(loaded, &top)?;
        let opened = ImmutableRef::open(self, live, handlers, counts);
        if let Some(access) = &unlazy {
            opened.unlazy(access).await?;
        }
        Ok(opened)
    }

    async fn all_can_be_had(&self, layers: &[NewLayer], handlers: &DescHandlers) -> Result<()> {
        let mut missing: HashMap<&Digest, Missing> = HashMap::new();
        for layer in layers {
            let descriptor = &layer.blob.descriptor;
            if !handlers.has(descriptor.digest()) && !self.0.store.holds(descriptor).await? {
                let hints = layer.sources.iter().cloned().map(Into::into).collect();
                missing.insert(descriptor.digest(), Missing { descriptor: descriptor.clone(), hints });
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut missing: Vec<Missing> = missing.into_values().collect();
        missing
            .sort_by(|one, other| one.descriptor.digest().as_ref().cmp(other.descriptor.digest().as_ref()));
        Err(Error::NeedsRemoteProviders { missing })
    }
}

impl Chain {
    /// Finds or makes the records. On return the top one and all below are pinned.
    fn write(
        self,
        rows: &mut Transaction<'_>,
        root: &Root,
        table: &Table,
    ) -> Result<(RecordId, Vec<Loaded>)> {
        let mut below = self.parent;
        for layer in self.layers {
            below = Some(find_or_make(rows, table, below.as_ref(), layer, &self.options)?);
        }
        let Some(top) = below else { return Err(Error::invalid("import layers", "a chain", "it has none")) };
        let loaded = load(rows, &top.id, |pin: Pin| root.live().pin(&[pin]))?;
        let loaded =
            loaded.ok_or_else(|| Error::not_found("import layers", &top.id, "what it stands on is gone"))?;
        Ok((top.id, loaded))
    }
}

fn find_or_make(
    rows: &mut Transaction<'_>,
    table: &Table,
    below: Option<&Record>,
    layer: NewLayer,
    options: &GetOptions,
) -> Result<Record> {
    let NewLayer { blob, sources } = layer;
    let about = options.layers.get(blob.descriptor.digest()).cloned().unwrap_or_default();
    let (digest, diff_id) = (blob.descriptor.digest(), &blob.diff_id);
    let stack = match below {
        None => None,
        Some(below) => {
            let (Some(chain), Some(blobs)) = (below.chain.clone(), below.blob_chain.clone()) else {
                let reason = format!("it stands on {}, which has no blob", below.id);
                return Err(Error::invalid("get by blob", digest, reason));
            };
            Some(Chains { chain, blobs })
        }
    };
    let Chains { chain, blobs: blob_chain } = Chains::on(stack.as_ref(), digest, diff_id);
    let kind = Kind::Layer { parent: below.map(|below| below.id.clone()) };
    for id in Rows::of_blob_chain(rows, blob_chain.digest().as_ref())? {
        let Some(mut record) = Rows::get(rows, &id)? else { continue };
        // A merge of the same blobs has another tree: its layers were settled where they came from.
        if record.mutable || record.kind != kind {
            continue;
        }
        if record.seen(options.image_ref.as_deref(), &sources) {
            Rows::put(rows, &record)?;
            // In this turn, so that changes are seen in the order in which they are written.
            if let Some(live) = table.get(&id) {
                live.update(record.clone());
            }
        }
        return Ok(record);
    }
    let mut record = Record::new(kind);
    record.snapshot = Some(match below {
        // What a layer leaves to those below is settled with the parent's tree, which another stack of this chain may not
        // have.
        Some(below) if !is_plain(below) => SnapshotKey::record(record.id.as_str())?,
        _ => SnapshotKey::chain(&chain),
    });
    (record.chain, record.blob_chain, record.blob) = (Some(chain), Some(blob_chain), Some(blob));
    record.seen(options.image_ref.as_deref(), &sources);
    describe(&mut record, options);
    if let Some(description) = about.description {
        record.description = description;
    }
    record.created = about.created.unwrap_or(record.created);
    Rows::put(rows, &record)?;
    Ok(record)
}

/// Whether the tree of a record is what its chain unpacks to wherever it is unpacked: not so that of a merge or a diff, nor
/// of what stands on one.
fn is_plain(record: &Record) -> bool {
    let key = record.chain.as_ref().map(SnapshotKey::chain);
    matches!(record.kind, Kind::Layer { .. }) && key.is_some() && record.snapshot == key
}

/// What `options` say of a new record.
pub(super) fn describe(record: &mut Record, options: &GetOptions) {
    let pulled = options.image_ref.as_ref().map(|name| format!("pulled from {name}"));
    record.description = options.description.clone().or(pulled).unwrap_or_default();
    record.record_type = options.record_type;
    record.retention = options.retention;
    if let Some(created) = options.created {
        record.created = created;
    }
}
