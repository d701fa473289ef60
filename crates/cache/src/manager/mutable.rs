//! Refs whose trees may still change, and how they become ones that do not.
//!
//! A commit costs nothing: the new record's tree is the mutable one's until somebody needs it to be a snapshot, which is
//! when it is finalized. Until then the two are twins, and whoever has the mutable one can have it back.

use std::sync::Arc;

use lazyblob_remote::Access;
use lazyblob_remote::progress::Silent;
use tokio_util::sync::CancellationToken;

use super::get_by_blob::describe;
use super::live::{Live, Table};
use super::{GetOptions, Inner, Manager};
use crate::blocking::blocking;
use crate::error::{Error, Result, What};
use crate::handler::DescHandlers;
use crate::metadata::Batches;
use crate::record::{Kind, Record, RecordId, Rows};
use crate::refs::{ImmutableRef, MutableRef, stack};
use crate::root::{Pin, Root};
use crate::snapshot::SnapshotKey;

/// What is done with the snapshots of a stack, where nothing else is said.
pub(crate) const STACK: &str = "stack snapshots";

impl Manager {
    /// Makes a tree that may be changed, on top of `parent` or empty. What is lazy in the parent is fetched, on behalf of
    /// `access`, and unpacked.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::extract`]; [`Error::Io`].
    pub async fn new_mutable(
        &self,
        parent: Option<&ImmutableRef>,
        access: &Access,
        options: GetOptions,
    ) -> Result<MutableRef> {
        if let Some(parent) = parent {
            parent.extract_soon(access).await?;
        }
        let handlers = match parent {
            Some(parent) => options.handlers.union(parent.handlers()),
            None => options.handlers.clone(),
        };
        let mut record = Record::new(Kind::Layer { parent: parent.map(ImmutableRef::id) });
        record.mutable = true;
        let key = SnapshotKey::record(record.id.as_str())?;
        record.snapshot = Some(key.clone());
        describe(&mut record, &options);
        let (manager, parent) = (self.clone(), parent.cloned());
        self.see_through(|cancel| async move {
            let below =
                parent.as_ref().map(|parent| keys(parent.live(), STACK)).transpose()?.unwrap_or_default();
            // The tree before the row that speaks of it. Until then nobody else has an eye on either.
            let _pin = manager.root().live().pin(&[Pin::Record(record.id.as_str().into())])?;
            manager.prepare(key.clone(), below, cancel).await?;
            let parents = parent.iter().map(|parent| Arc::clone(parent.live())).collect();
            match manager.write_new(record, parents).await {
                // If nobody waits for it any more it goes the way of any other handle.
                Ok(live) => MutableRef::open(&manager, live, handlers),
                Err(error) => {
                    let snapshots = Arc::clone(manager.snapshots());
                    let what = What::new("remove snapshot", &key);
                    blocking(|| what, move || snapshots.remove_active(&key)).await?;
                    Err(error)
                }
            }
        })
        .await
    }

    /// Makes the tree of a mutable ref, which holds what those `below` do.
    async fn prepare(
        &self,
        key: SnapshotKey,
        below: Vec<SnapshotKey>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let snapshots = Arc::clone(self.snapshots());
        // It is made in staging, where whoever sweeps takes what nobody claims.
        let claim = self.root().staging_locks().claim(&key.file_name(), &Silent, &cancel).await?;
        let what = What::new("prepare snapshot", &key);
        let prepare = move || {
            let _claim = claim;
            snapshots.prepare_soon(&key, &below, &cancel).map(drop)
        };
        blocking(|| what, prepare).await
    }

    /// Takes up a mutable ref again. Its immutable twin is removed, if it has one that nobody has a handle on.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a ref that is not mutable; [`Error::Locked`] where somebody, in whichever
    /// process, has a handle on it or on its twin.
    pub async fn get_mutable(&self, id: &RecordId, options: GetOptions) -> Result<MutableRef> {
        let live = self.live(id).await?;
        let record = live.record();
        if !record.mutable {
            return Err(Error::invalid("get mutable", id, "it is not mutable"));
        }
        let opened = MutableRef::open(self, Arc::clone(&live), options.handlers)?;
        if let Some(twin) = record.twin.clone() {
            self.not_finalized(id, &twin).await?;
            self.take_back(&live, twin).await?;
        }
        Ok(opened)
    }

    /// Removes what was committed of a mutable record, if nobody needs it.
    async fn take_back(&self, live: &Arc<Live>, twin: RecordId) -> Result<()> {
        let (id, live, pins) = (live.record().id.clone(), Arc::clone(live), Arc::clone(self.root().live()));
        self.write(move |rows| {
            let mut mutable =
                Rows::get(rows, &id)?.ok_or_else(|| Error::not_found("get mutable", &id, "it is gone"))?;
            if let Some(immutable) = Rows::get(rows, &twin)? {
                // Whoever opens it pins it in a turn, so that it is pinned now or not found later.
                let pin = Pin::Record(twin.as_str().into());
                if pins.is_pinned_here(&pin) {
                    return Err(locked(&id, "somebody has what was committed of it"));
                }
                if pins.pinned_by_others()?.contains(&pin) {
                    return Err(locked(&id, "another process has what was committed of it"));
                }
                if !Rows::children(rows, &twin)?.is_empty() {
                    return Err(locked(&id, "something stands on what was committed of it"));
                }
                Rows::delete(rows, &immutable);
            }
            mutable.twin = None;
            Rows::put(rows, &mutable)?;
            live.update(mutable);
            Ok(())
        })
        .await
    }

    /// A handle on a mutable record that somebody asked for as if it were none.
    pub(super) async fn get_of_mutable(&self, live: Arc<Live>, options: GetOptions) -> Result<ImmutableRef> {
        let record = live.record();
        if let Some(twin) = &record.twin {
            match self.live(twin).await {
                Ok(twin) => return Ok(ImmutableRef::open(self, twin, options.handlers, !options.unused)),
                // What was committed of it was pruned: its tree is still this one.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        MutableRef::open(self, live, options.handlers)?.commit().await
    }

    /// Ends what a crash has left of a finalization: where the snapshot of `twin` has its name, the tree of the mutable ref
    /// called `id` is that snapshot, and is not taken back.
    async fn not_finalized(&self, id: &RecordId, twin: &RecordId) -> Result<()> {
        let Some(record) = self.record(twin).await? else { return Ok(()) };
        if !self.has_snapshot(&record).await? {
            return Ok(());
        }
        let twin = self.live(twin).await?;
        ImmutableRef::open(self, twin, DescHandlers::none(), false).finalize().await?;
        Err(Error::not_found("get mutable", id, "it was finalized"))
    }

    /// Writes a record that is not there yet, durable [soon](Self::settle), and pins it in the same turn.
    async fn write_new(&self, record: Record, parents: Vec<Arc<Live>>) -> Result<Arc<Live>> {
        let (root, table) = (self.root().clone(), Arc::clone(&self.0.table));
        let soon = Arc::clone(self.0.db.batches());
        self.write_soon(move |rows| {
            Rows::put(rows, &record)?;
            new_live(record, parents, &root, &table, &soon)
        })
        .await
    }
}

/// Enters a record that is written in the turn that is at hand, on what is in use and so is here.
fn new_live(
    record: Record,
    parents: Vec<Arc<Live>>,
    root: &Root,
    table: &Arc<Table>,
    soon: &Batches,
) -> Result<Arc<Live>> {
    let pin = root.live().pin(&[Pin::Record(record.id.as_str().into())])?;
    let live = table.enter(record, parents, pin);
    live.is_of_batch(soon.gathered());
    Ok(live)
}

impl MutableRef {
    /// Makes a ref of the tree as it is. Nothing is copied, and this may be had back with [`Manager::get_mutable`] until
    /// the ref is finalized.
    ///
    /// All of it, the record and what was written into the tree, is durable when this process says so of anything it did
    /// later: with [`Manager::settle`], [`ImmutableRef::finalize`] or [`Manager::close`], or when another process sees it.
    ///
    /// # Errors
    /// [`Error::Locked`] where somebody has its [tree](Self::tree) open: this handle is gone then, and with it what was
    /// not to be retained. [`Error::Metadata`], [`Error::Io`].
    pub async fn commit(self) -> Result<ImmutableRef> {
        let (manager, live, handlers) =
            (self.manager().clone(), Arc::clone(self.live()), self.handlers().clone());
        let mutable = live.record();
        live.slot().close(&mutable.id, manager.trees()).await?;
        let mut record = Record::new(mutable.kind.clone());
        record.snapshot = Some(SnapshotKey::record(record.id.as_str())?);
        record.twin = Some(mutable.id.clone());
        record.description.clone_from(&mutable.description);
        record.record_type = mutable.record_type;
        record.labels.clone_from(&mutable.labels);
        let (id, twin) = (mutable.id.clone(), record.id.clone());
        let committed = manager
            .write_soon({
                let (id, live, own) = (id.clone(), Arc::clone(&live), manager.clone());
                move |rows| {
                    let mut mutable =
                        Rows::get(rows, &id)?.ok_or_else(|| Error::not_found("commit", &id, "it is gone"))?;
                    mutable.twin = Some(twin);
                    // Both in one turn: the tree is never that of two refs that do not know of each other.
                    Rows::put(rows, &record)?;
                    Rows::put(rows, &mutable)?;
                    live.update(mutable);
                    let Inner { root, table, db, .. } = &*own.0;
                    new_live(record, live.parents().to_vec(), root, table, db.batches())
                }
            })
            .await?;
        tracing::debug!(mutable = %id, immutable = %committed.record().id, "committed");
        let opened = ImmutableRef::open(&manager, committed, handlers, true);
        drop(self);
        Ok(opened)
    }
}

impl ImmutableRef {
    /// Makes a snapshot of a tree that was committed and may be had back as a mutable one until now, and waits until all of
    /// it is durable. For any other ref that is all there is to do.
    ///
    /// # Errors
    /// [`Error::Locked`] where somebody has it mounted; [`Error::Lost`] where its tree is gone, or its record;
    /// [`Error::Cancelled`] where the manager is closed meanwhile: it may be finalized later. Those of
    /// [`Manager::settle`].
    pub async fn finalize(&self) -> Result<()> {
        self.finalize_soon().await?;
        self.settled().await
    }

    /// The same, but it is durable [soon](Manager::settle).
    ///
    /// # Errors
    /// Those of [`finalize`](Self::finalize).
    pub async fn finalize_soon(&self) -> Result<()> {
        let record = self.record();
        let (Some(twin), Some(key)) = (record.twin.clone(), record.snapshot.clone()) else { return Ok(()) };
        let (manager, live) = (self.manager().clone(), Arc::clone(self.live()));
        let work = |cancel| async move { finalize(&manager, live, twin, key, cancel).await };
        self.manager().see_through(work).await
    }

    /// Waits until it is durable, with all that it stands on.
    pub(crate) async fn settled(&self) -> Result<()> {
        let db = &self.manager().0.db;
        let mut batches: Vec<u64> = stack(self.live()).iter().map(|live| live.batch()).collect();
        batches.push(self.live().batch());
        // One that is lost is so for good.
        if !db.batches().have_ended(batches.iter().copied())? {
            db.end_batches().await?;
            db.batches().have_ended(batches.into_iter())?;
        }
        Ok(())
    }
}

async fn finalize(
    manager: &Manager,
    live: Arc<Live>,
    twin: RecordId,
    key: SnapshotKey,
    cancel: CancellationToken,
) -> Result<()> {
    let id = live.record().id.clone();
    let active = SnapshotKey::record(twin.as_str())?;
    let claim = manager.root().staging_locks().claim(&key.file_name(), &Silent, &cancel).await?;
    let (what, snapshots) = (What::new("finalize", &id), Arc::clone(manager.snapshots()));
    let own = manager.clone();
    let lost = Error::Lost { what: what.clone(), reason: "its tree is gone".to_owned() };
    let commit = move || {
        let _claim = claim;
        // A crash between the snapshot and the row below leaves a twin whose tree is a snapshot already.
        if snapshots.info(&key)?.is_some() {
            return snapshots.remove_active(&active);
        }
        let active = snapshots.active(&active)?.ok_or(lost)?;
        let _unmounted = own.mounter().keep_unmounted(&active)?;
        snapshots.commit_soon(&active, &key, &cancel).map(drop)
    };
    blocking(|| what.clone(), commit).await?;
    live.saw_snapshot();
    let soon = Arc::clone(manager.0.db.batches());
    manager
        .write_soon(move |rows| {
            if let Some(mutable) = Rows::get(rows, &twin)? {
                Rows::delete(rows, &mutable);
            }
            let gone = || Error::Lost { what, reason: "its record could not be made durable".to_owned() };
            let mut record = Rows::get(rows, &id)?.ok_or_else(gone)?;
            record.twin = None;
            Rows::put(rows, &record)?;
            live.update(record);
            live.is_of_batch(soon.gathered());
            Ok(())
        })
        .await
}

/// What the snapshots of a ref's layers are called, the bottom one first. `operation` is named where one has none.
pub(crate) fn keys(live: &Arc<Live>, operation: &'static str) -> Result<Vec<SnapshotKey>> {
    keys_of(&stack(live), operation)
}

/// The same of layers.
pub(crate) fn keys_of(layers: &[Arc<Live>], operation: &'static str) -> Result<Vec<SnapshotKey>> {
    let layers = layers.iter().map(|layer| {
        let record = layer.record();
        let key = record.snapshot.clone();
        key.ok_or_else(|| Error::invalid(operation, &record.id, "it has no snapshot of its own"))
    });
    layers.collect()
}

pub(crate) fn locked(id: &RecordId, reason: &str) -> Error {
    Error::Locked { what: What::new("get mutable", id), reason: reason.to_owned() }
}
