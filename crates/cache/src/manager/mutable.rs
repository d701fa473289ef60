//! Refs whose trees may still change, and how they become ones that do not.
//!
//! A commit costs nothing: the new record's tree is the mutable one's until somebody needs it to be a snapshot, which is
//! when it is finalized. Until then the two are twins, and whoever has the mutable one can have it back.

use std::sync::Arc;

use lazyblob_remote::Access;
use lazyblob_remote::progress::Silent;
use tokio_util::sync::CancellationToken;

use super::get::load;
use super::get_by_blob::describe;
use super::live::Live;
use super::{GetOptions, Manager};
use crate::error::{Error, Result, What};
use crate::handler::DescHandlers;
use crate::record::{Kind, Record, RecordId, Rows};
use crate::refs::{ImmutableRef, MutableRef, stack};
use crate::root::Pin;
use crate::snapshot::SnapshotKey;
use crate::unlazy::blocking;

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
            parent.extract(access).await?;
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
        // The tree before the row that speaks of it. Until then nobody else has an eye on either.
        let pin = self.root().live().pin(&[Pin::Record(record.id.as_str().into())])?;
        self.prepare(&record.id, key.clone(), parent).await?;
        match self.write_new(record).await {
            Ok(live) => {
                drop(pin);
                MutableRef::open(self, live, handlers)
            }
            Err(error) => {
                let snapshots = Arc::clone(self.snapshots());
                let what = What::new("remove snapshot", &key);
                blocking(|| what, move || snapshots.remove_active(&key)).await?;
                Err(error)
            }
        }
    }

    /// Makes the tree of a mutable ref, which holds what `parent` does.
    async fn prepare(&self, id: &RecordId, key: SnapshotKey, parent: Option<&ImmutableRef>) -> Result<()> {
        let below = parent.map(|parent| keys(parent.live())).transpose()?.unwrap_or_default();
        let (snapshots, token) = (Arc::clone(self.snapshots()), CancellationToken::new());
        let guard = token.clone().drop_guard();
        // It is made in staging, where whoever sweeps takes what nobody claims.
        let claim = self.root().staging_locks().claim(&key.file_name(), &Silent, &token).await?;
        let prepare = move || {
            let prepared = snapshots.prepare(&key, &below, &token).map(drop);
            // Not before, even if nobody waits for it any more.
            drop(claim);
            prepared
        };
        blocking(|| What::new("prepare snapshot", id), prepare).await?;
        guard.disarm();
        Ok(())
    }

    /// Takes up a mutable ref again. Its immutable twin is removed, if it has one that nobody has a handle on.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a ref that is not mutable; [`Error::Locked`] where somebody has a
    /// handle on it or on its twin.
    pub async fn get_mutable(&self, id: &RecordId, options: GetOptions) -> Result<MutableRef> {
        let live = self.live(id).await?;
        let record = live.record();
        if !record.mutable {
            return Err(Error::invalid("get mutable", id, "it is not mutable"));
        }
        let opened = MutableRef::open(self, Arc::clone(&live), options.handlers)?;
        if let Some(twin) = record.twin.clone() {
            self.not_finalized(id, &twin).await?;
            if self.0.table.get(&twin).is_some_and(|twin| twin.handles() > 0) {
                return Err(locked(id, "somebody has what was committed of it"));
            }
            let id = id.clone();
            self.write(move |rows| {
                if let Some(immutable) = Rows::get(rows, &twin)? {
                    if !Rows::children(rows, &twin)?.is_empty() {
                        return Err(locked(&id, "something stands on what was committed of it"));
                    }
                    Rows::delete(rows, &immutable);
                }
                Ok(())
            })
            .await?;
            self.change(&live, |record| record.twin.take().is_some()).await?;
        }
        Ok(opened)
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
        let twin = match self.live(twin).await {
            Err(error) if error.is_not_found() => return Ok(()),
            twin => twin?,
        };
        if !self.has_snapshot(&twin.record()).await? {
            return Ok(());
        }
        ImmutableRef::open(self, twin, DescHandlers::none(), false).finalize().await?;
        Err(Error::not_found("get mutable", id, "it was finalized"))
    }

    /// Writes a record that is not there yet, and pins it in the same turn.
    pub(crate) async fn write_new(&self, record: Record) -> Result<Arc<Live>> {
        let (id, root) = (record.id.clone(), self.root().clone());
        let wanted = id.clone();
        let loaded = self
            .write(move |rows| {
                Rows::put(rows, &record)?;
                load(rows, &wanted, |pin: Pin| root.live().pin(&[pin]))
            })
            .await?;
        let loaded =
            loaded.ok_or_else(|| Error::not_found("make record", &id, "what it stands on is gone"))?;
        self.enter(loaded, &id)
    }
}

impl MutableRef {
    /// Makes a ref of the tree as it is. Nothing is copied, and this may be had back with [`Manager::get_mutable`] until
    /// the ref is finalized.
    ///
    /// # Errors
    /// [`Error::Metadata`], [`Error::Io`].
    pub async fn commit(self) -> Result<ImmutableRef> {
        let (manager, live, handlers) =
            (self.manager().clone(), Arc::clone(self.live()), self.handlers().clone());
        let mutable = live.record();
        let mut record = Record::new(mutable.kind.clone());
        record.snapshot = Some(SnapshotKey::record(record.id.as_str())?);
        record.twin = Some(mutable.id.clone());
        record.description.clone_from(&mutable.description);
        record.record_type = mutable.record_type;
        record.labels.clone_from(&mutable.labels);
        let (id, twin) = (mutable.id.clone(), record.id.clone());
        let loaded = manager
            .write({
                let (id, twin, root, live) =
                    (id.clone(), twin.clone(), manager.root().clone(), Arc::clone(&live));
                move |rows| {
                    let mut mutable =
                        Rows::get(rows, &id)?.ok_or_else(|| Error::not_found("commit", &id, "it is gone"))?;
                    mutable.twin = Some(twin.clone());
                    // Both in one turn: the tree is never that of two refs that do not know of each other.
                    Rows::put(rows, &record)?;
                    Rows::put(rows, &mutable)?;
                    live.update(mutable);
                    load(rows, &twin, |pin: Pin| root.live().pin(&[pin]))
                }
            })
            .await?;
        let loaded = loaded.ok_or_else(|| Error::not_found("commit", &id, "what it stands on is gone"))?;
        let committed = manager.enter(loaded, &twin)?;
        tracing::debug!(mutable = %id, immutable = %committed.record().id, "committed");
        let opened = ImmutableRef::open(&manager, committed, handlers, true);
        drop(self);
        Ok(opened)
    }
}

impl ImmutableRef {
    /// Makes a snapshot of a tree that was committed and may be had back as a mutable one until now. Nothing is to do for
    /// any other ref.
    ///
    /// # Errors
    /// [`Error::Locked`] where somebody has it mounted; [`Error::Lost`] where its tree is gone.
    pub async fn finalize(&self) -> Result<()> {
        let record = self.record();
        let (Some(twin), Some(key)) = (record.twin.clone(), record.snapshot.clone()) else { return Ok(()) };
        let manager = self.manager();
        let own = manager.clone();
        let (active, id) = (SnapshotKey::record(twin.as_str())?, record.id.clone());
        let claim = manager
            .root()
            .staging_locks()
            .claim(&key.file_name(), &Silent, &CancellationToken::new())
            .await?;
        let what = || What::new("finalize", &record.id);
        blocking(what, move || {
            let snapshots = own.snapshots();
            // A crash between the snapshot and the row below leaves a twin whose tree is a snapshot already.
            if snapshots.info(&key)?.is_some() {
                return snapshots.remove_active(&active);
            }
            let Some(active) = snapshots.active(&active)? else {
                let reason = "its tree is gone".to_owned();
                return Err(Error::Lost { what: What::new("finalize", &id), reason });
            };
            let unmounted = own.mounter().keep_unmounted(&active)?;
            let committed = snapshots.commit(&active, &key, &CancellationToken::new()).map(drop);
            // Not before, even if nobody waits for it any more.
            drop((unmounted, claim));
            committed
        })
        .await?;
        let id = record.id.clone();
        let removed = manager
            .write(move |rows| {
                if let Some(mutable) = Rows::get(rows, &twin)? {
                    Rows::delete(rows, &mutable);
                }
                let Some(mut record) = Rows::get(rows, &id)? else { return Ok(None) };
                record.twin = None;
                Rows::put(rows, &record)?;
                Ok(Some(record))
            })
            .await?;
        if let Some(record) = removed {
            self.live().update(record);
        }
        Ok(())
    }
}

/// What the snapshots of a ref's layers are called, the bottom one first.
pub(crate) fn keys(live: &Arc<Live>) -> Result<Vec<SnapshotKey>> {
    let layers = stack(live).into_iter().map(|layer| {
        let record = layer.record();
        let key = record.snapshot.clone();
        key.ok_or_else(|| Error::invalid("stack snapshots", &record.id, "it has no snapshot of its own"))
    });
    layers.collect()
}

pub(crate) fn locked(id: &RecordId, reason: &str) -> Error {
    Error::Locked { what: What::new("get mutable", id), reason: reason.to_owned() }
}
