//! Refs made of other refs: several on top of each other, and what makes one of another.

use std::collections::HashSet;
use std::sync::Arc;

use super::get::{enter, load};
use super::get_by_blob::describe;
use super::live::Live;
use super::{GetOptions, Manager};
use crate::chain::Chains;
use crate::error::{Error, Result};
use crate::handler::DescHandlers;
use crate::metadata::Read;
use crate::record::{Kind, Record, RecordId, Rows};
use crate::refs::{ImmutableRef, stack};
use crate::root::Pin;
use crate::snapshot::SnapshotKey;

impl Manager {
    /// The refs on top of each other, the first one at the bottom; nothing of nothing, and of one that one. Nothing is
    /// pulled or copied: the layers of all are the layers of the merge, and their blobs stay what they are.
    ///
    /// # Errors
    /// [`Error::Metadata`], [`Error::Io`].
    pub async fn merge(&self, refs: &[ImmutableRef], options: GetOptions) -> Result<Option<ImmutableRef>> {
        let mut handlers = options.handlers.clone();
        let mut parents: Vec<RecordId> = Vec::new();
        for each in refs {
            each.finalize_soon().await?;
            handlers = handlers.union(each.handlers());
            // A merge of merges is one of what those are made of.
            match &each.record().kind {
                Kind::Merge { parents: inner } => parents.extend(inner.iter().cloned()),
                _ => parents.push(each.id()),
            }
        }
        let [_, _, ..] = refs else { return Ok(refs.first().cloned()) };
        let layers: Vec<Arc<Live>> = refs.iter().flat_map(|each| stack(each.live())).collect();
        let record = self.stacked(Kind::Merge { parents }, &layers, &options);
        self.find_or_write(record, handlers, &options).await.map(Some)
    }

    /// What makes `upper` of `lower`. Where `upper` stands on `lower`, that is the layers in between, and their blobs stay
    /// what they are.
    ///
    /// # Errors
    /// [`Error::Metadata`], [`Error::Io`].
    pub async fn diff(
        &self,
        lower: Option<&ImmutableRef>,
        upper: Option<&ImmutableRef>,
        options: GetOptions,
    ) -> Result<ImmutableRef> {
        let mut handlers = options.handlers.clone();
        for each in [upper, lower].into_iter().flatten() {
            each.finalize_soon().await?;
            handlers = handlers.union(each.handlers());
        }
        let above = between(lower.map(ImmutableRef::live), upper.map(ImmutableRef::live));
        if let Some([_, _, ..]) = above.as_deref() {
            let single = above.into_iter().flatten();
            let mut diffs = Vec::new();
            for layer in single {
                let below = layer.parents().first().map(|parent| parent.record().id.clone());
                let kind = Kind::Diff { lower: below, upper: Some(layer.record().id.clone()) };
                let record = self.stacked(kind, &[layer], &GetOptions::default());
                diffs.push(self.find_or_write(record, handlers.clone(), &GetOptions::default()).await?);
            }
            let merged = self.merge(&diffs, GetOptions { handlers, ..options }).await?;
            return merged.ok_or_else(|| Error::not_found("diff", "layers", "there are none"));
        }
        let kind = Kind::Diff { lower: lower.map(ImmutableRef::id), upper: upper.map(ImmutableRef::id) };
        let is_nothing = lower.map(ImmutableRef::id) == upper.map(ImmutableRef::id);
        let mut record = self.stacked(kind, above.as_deref().unwrap_or_default(), &options);
        if !is_nothing && above.is_none_or(|layers| layers.is_empty()) {
            record.snapshot = Some(SnapshotKey::record(record.id.as_str())?);
        }
        self.find_or_write(record, handlers, &options).await
    }

    /// A record of `kind` whose identity is that of `layers`, and of nothing they stand on elsewhere.
    fn stacked(&self, kind: Kind, layers: &[Arc<Live>], options: &GetOptions) -> Record {
        let mut record = Record::new(kind);
        let blobs: Option<Vec<_>> = layers.iter().map(|layer| layer.record().blob.clone()).collect();
        let chains = blobs.iter().flatten().fold(None, |below: Option<Chains>, blob| {
            Some(Chains::on(below.as_ref(), blob.descriptor.digest(), &blob.diff_id))
        });
        (record.chain, record.blob_chain) = chains.map(|chains| (chains.chain, chains.blobs)).unzip();
        describe(&mut record, options);
        record
    }

    /// The record of the same kind on the same parents, which is told where it is seen now; or this one. Both in one turn:
    /// of several who ask at once one writes it.
    async fn find_or_write(
        &self,
        record: Record,
        handlers: DescHandlers,
        options: &GetOptions,
    ) -> Result<ImmutableRef> {
        let (root, store, table) = (self.root().clone(), self.0.store.clone(), Arc::clone(&self.0.table));
        let soon = Arc::clone(self.0.db.batches());
        let (image_ref, sources) = (options.image_ref.clone(), options.sources.clone());
        let live = self
            .write_soon(move |rows| {
                let mut record = sibling(rows, &record.kind)?.unwrap_or(record);
                let id = record.id.clone();
                let mut is_written = false;
                if record.seen(image_ref.as_deref(), &sources) || Rows::get(rows, &id)?.is_none() {
                    Rows::put(rows, &record)?;
                    is_written = true;
                    // In this turn, so that changes are seen in the order in which they are written.
                    if let Some(live) = table.get(&id) {
                        live.update(record);
                    }
                }
                let loaded = load(rows, &id, |pin: Pin| root.live().pin(&[pin]))?;
                let loaded = loaded
                    .ok_or_else(|| Error::not_found("make record", &id, "what it stands on is gone"))?;
                let live = enter(&table, &store, loaded, &id)?;
                if is_written {
                    live.is_of_batch(soon.gathered());
                }
                Ok(live)
            })
            .await?;
        Ok(ImmutableRef::open(self, live, handlers, !options.unused))
    }
}

/// A record that is of this kind on the same parents.
fn sibling(rows: &dyn Read, kind: &Kind) -> Result<Option<Record>> {
    let Some(parent) = kind.parents().next() else { return Ok(None) };
    for id in Rows::children(rows, parent)? {
        let found = Rows::get(rows, &id)?;
        if found.as_ref().is_some_and(|sibling| sibling.kind == *kind && !sibling.mutable) {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The layers that `upper` has on top of `lower`, where it stands on it.
fn between(lower: Option<&Arc<Live>>, upper: Option<&Arc<Live>>) -> Option<Vec<Arc<Live>>> {
    let upper = upper?;
    let goal = lower.map(|lower| lower.record().id.clone());
    let mut above = Vec::new();
    let mut seen: HashSet<RecordId> = HashSet::new();
    let mut at = Some(Arc::clone(upper));
    while let Some(live) = at {
        let record = live.record();
        if Some(&record.id) == goal.as_ref() {
            above.reverse();
            return Some(above);
        }
        let Kind::Layer { .. } = record.kind else { return None };
        if !seen.insert(record.id.clone()) {
            return None;
        }
        at = live.parents().first().cloned();
        above.push(live);
    }
    // Down to the bottom: what makes it of nothing is all of it.
    goal.is_none().then(|| {
        above.reverse();
        above
    })
}
