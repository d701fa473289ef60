//! Finding a record, and opening a handle on it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lazyblob_remote::provider::Origin;
use oci_spec::image::Digest;

use super::live::{Live, Table};
use super::mutable::locked;
use super::{GetOptions, Manager};
use crate::blocking::blocking;
use crate::content::Store;
use crate::error::{Error, Missing, Result, What};
use crate::handler::DescHandlers;
use crate::metadata::{Read, Transaction};
use crate::record::{LayerBlob, Record, RecordId, Rows};
use crate::refs::ImmutableRef;
use crate::root::{Pin, Pinned};

/// A record and its pin, as they leave a turn.
pub(crate) type Loaded = (Record, Pinned);

impl Manager {
    /// Opens a handle on the record called `id`. A mutable one is committed first, if nobody has it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NeedsRemoteProviders`] with all blobs, over all ancestors, that are not here, whose
    /// trees are not either, and that `options` have no handler for; [`Error::Locked`] for a mutable one in use.
    pub async fn get(&self, id: &RecordId, options: GetOptions) -> Result<ImmutableRef> {
        let live = self.live(id).await?;
        let record = live.record();
        if record.mutable {
            return self.get_of_mutable(live, options).await;
        }
        let missing = self.missing(&live, &options.handlers).await?;
        if !missing.is_empty() {
            return Err(Error::NeedsRemoteProviders { missing });
        }
        let live = self.seen(live, &options).await?;
        let opened = ImmutableRef::open(self, live, options.handlers, !options.unused);
        if let Some(access) = &options.unlazy {
            opened.unlazy(access).await?;
        }
        Ok(opened)
    }

    /// Records that unpack to the same tree.
    ///
    /// # Errors
    /// [`Error::Metadata`].
    pub async fn find_by_chain(&self, chain: &crate::ChainId) -> Result<Vec<RecordId>> {
        let chain = chain.to_string();
        self.read(move |rows| Rows::of_chain(rows, &chain)).await
    }

    /// The same for several chains, in their order.
    ///
    /// # Errors
    /// [`Error::Metadata`].
    pub async fn find_by_chains(&self, chains: Vec<crate::ChainId>) -> Result<Vec<Vec<RecordId>>> {
        self.read(move |rows| chains.iter().map(|chain| Rows::of_chain(rows, &chain.to_string())).collect())
            .await
    }

    /// The record of these blobs all the way down.
    ///
    /// # Errors
    /// [`Error::Metadata`].
    pub async fn find_by_blob_chain(&self, chain: &crate::BlobChainId) -> Result<Vec<RecordId>> {
        let chain = chain.to_string();
        self.read(move |rows| Rows::of_blob_chain(rows, &chain)).await
    }

    /// What is known of a record; nothing where there is none.
    ///
    /// # Errors
    /// [`Error::Metadata`].
    pub async fn record(&self, id: &RecordId) -> Result<Option<Record>> {
        if let Some(live) = self.0.table.get(id) {
            return Ok(Some((*live.record()).clone()));
        }
        let id = id.clone();
        self.read(move |rows| Rows::get(rows, &id)).await
    }

    /// The record called `id` in use, with all that it stands on. [`Error::Locked`] for a mutable one that another process
    /// has in use.
    pub(crate) async fn live(&self, id: &RecordId) -> Result<Arc<Live>> {
        if let Some(live) = self.0.table.get(id) {
            return Ok(live);
        }
        let (wanted, root) = (id.clone(), self.0.root.clone());
        let load = move |rows: &mut Transaction<'_>| {
            let loaded = load(rows, &wanted, |pin| root.live().pin(&[pin]))?;
            let is_mutable = loaded.iter().flatten().last().is_some_and(|(record, _)| record.mutable);
            let pin = Pin::Record(wanted.as_str().into());
            // A tree that may change is one process's, and in that one handle's: who pins it has it.
            if is_mutable && root.live().pinned_by_others()?.contains(&pin) {
                return Err(locked(&wanted, "another process has it"));
            }
            Ok(loaded)
        };
        let loaded = self.write(load).await?;
        let loaded = loaded.ok_or_else(|| Error::not_found("find record", id, "there is none"))?;
        self.enter(loaded, id)
    }

    /// Enters records that stand in the order of what stands on what. The one called `id` is among them.
    pub(crate) fn enter(&self, loaded: Vec<Loaded>, id: &RecordId) -> Result<Arc<Live>> {
        enter(&self.0.table, &self.0.store, loaded, id)
    }

    /// Blobs below `live` that are needed, are not here, and nobody in `handlers` brings.
    async fn missing(&self, live: &Arc<Live>, handlers: &DescHandlers) -> Result<Vec<Missing>> {
        let mut wanted: Vec<(Record, LayerBlob)> = Vec::new();
        let mut seen: HashSet<Digest> = HashSet::new();
        for ancestor in with_ancestors(live) {
            let record = (*ancestor.record()).clone();
            let Some(blob) = record.blob.clone() else { continue };
            let digest = blob.descriptor.digest();
            if !handlers.has(digest) && seen.insert(digest.clone()) {
                wanted.push((record, blob));
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (store, snapshots) = (self.0.store.clone(), Arc::clone(&self.0.snapshots));
        let what = || What::new("find blobs", &live.record().id);
        blocking(what, move || {
            let mut missing = Vec::new();
            for (record, LayerBlob { descriptor, .. }) in wanted {
                let unpacked = match &record.snapshot {
                    Some(key) if !store.look(&descriptor)? => snapshots.info(key)?.is_some(),
                    Some(_) => true,
                    None => store.look(&descriptor)?,
                };
                if !unpacked {
                    let hints = record.sources.into_iter().map(Origin::from).collect();
                    missing.push(Missing { descriptor, hints });
                }
            }
            Ok(missing)
        })
        .await
    }

    /// Adds what `options` say of where it is seen.
    async fn seen(&self, live: Arc<Live>, options: &GetOptions) -> Result<Arc<Live>> {
        let mut record = (*live.record()).clone();
        if !record.seen(options.image_ref.as_deref(), &options.sources) {
            return Ok(live);
        }
        self.change(&live, {
            let (image_ref, sources) = (options.image_ref.clone(), options.sources.clone());
            move |record| record.seen(image_ref.as_deref(), &sources)
        })
        .await?;
        Ok(live)
    }

    /// Changes a record in use, where it is written and in memory. `change` says whether it did.
    pub(crate) async fn change(
        &self,
        live: &Arc<Live>,
        change: impl FnOnce(&mut Record) -> bool + Send + 'static,
    ) -> Result<()> {
        let (id, changed) = (live.record().id.clone(), Arc::clone(live));
        self.write(move |rows| {
            let mut record =
                Rows::get(rows, &id)?.ok_or_else(|| Error::not_found("change record", &id, "it is gone"))?;
            if change(&mut record) {
                Rows::put(rows, &record)?;
            }
            // In this turn, so that changes are seen in the order in which they are written.
            changed.update(record);
            Ok(())
        })
        .await
    }
}

/// As [`Manager::enter`], for who does it in the turn in which they were read: those who change them in later turns find
/// them in use.
pub(super) fn enter(
    table: &Arc<Table>,
    store: &Store,
    loaded: Vec<Loaded>,
    id: &RecordId,
) -> Result<Arc<Live>> {
    let mut entered: HashMap<RecordId, Arc<Live>> = HashMap::with_capacity(loaded.len());
    for (record, pin) in loaded {
        let parents = record.kind.parents().filter_map(|parent| entered.get(parent).cloned()).collect();
        let id = record.id.clone();
        if let Some(blob) = &record.blob
            && table.get(&id).is_none()
        {
            // Until it was pinned another process may have removed it.
            store.lost(blob.descriptor.digest());
        }
        entered.insert(id, table.enter(record, parents, pin));
    }
    entered.remove(id).ok_or_else(|| Error::not_found("find record", id, "it was not read"))
}

/// `id` and all that it stands on, what is stood on first, each once; nothing where one of them is missing. A chain of
/// any length takes no stack.
pub(crate) fn load(
    rows: &dyn Read,
    id: &RecordId,
    pin: impl Fn(Pin) -> Result<Pinned>,
) -> Result<Option<Vec<Loaded>>> {
    let mut loaded = Vec::new();
    let mut done: HashSet<RecordId> = HashSet::new();
    let mut waiting: Vec<(RecordId, Option<Record>)> = vec![(id.clone(), None)];
    while let Some((id, read)) = waiting.pop() {
        if let Some(record) = read {
            if done.insert(id.clone()) {
                let pin = pin(Pin::Record(id.as_str().into()))?;
                loaded.push((record, pin));
            }
            continue;
        }
        if done.contains(&id) {
            continue;
        }
        let Some(record) = Rows::get(rows, &id)? else { return Ok(None) };
        let parents: Vec<RecordId> = record.kind.parents().cloned().collect();
        waiting.push((id, Some(record)));
        waiting.extend(parents.into_iter().map(|parent| (parent, None)));
    }
    Ok(Some(loaded))
}

/// `live` and all that it stands on, each once.
pub(crate) fn with_ancestors(live: &Arc<Live>) -> Vec<Arc<Live>> {
    let mut seen: HashSet<RecordId> = HashSet::new();
    let mut all = Vec::new();
    let mut waiting = vec![Arc::clone(live)];
    while let Some(live) = waiting.pop() {
        if seen.insert(live.record().id.clone()) {
            waiting.extend(live.parents().iter().cloned());
            all.push(live);
        }
    }
    all
}
