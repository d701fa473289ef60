//! The cache manager: records, and handles on them.
//!
//! ```text
//!  get(id) ───────────┐ rows and pins in one transaction: prune sees either the row gone or the pin
//!  get_by_blob(…) ────┼──▶ Live ── one for each record in use, with those it stands on ──▶ handles, their handlers
//!  import([…]) ───────┘     │
//!                           ├─ unlazy ─▶ Transfers::bring, one flight for each blob ─▶ store/
//!                           └─ extract ▶ one flight for each snapshot: receive ▸ inflate ▸ apply, then in order ─▶ snapshots/
//! ```
//!
//! **What is where.** A record says what a ref is; the store says whether its blob is here, the snapshotter whether its
//! tree is. Nothing of it is written twice, so nothing has to be kept in step: a blob that is pruned makes a ref lazy, and
//! one that arrives makes it local.
//!
//! **Locking.** Rows are read and written by the database's one committer, in turn. In memory there is a lock for each
//! record, held for a handful of instructions. Nothing is read, written or fetched under a lock that two records share.
//!
//! **Other processes** see pins: lines in this process's file under `live/`, written in the same turn in which the rows were
//! read. Prune runs in such turns, too.

mod get;
mod get_by_blob;
mod hints;
mod keeper;
pub(crate) mod live;
mod merge;
pub(crate) mod mutable;
mod options;
mod soon;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use lazyblob_flightcontrol::Group;
use lazyblob_remote::Registry;
use lazyblob_remote::transfer::Transfers;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use get_by_blob::NewLayer;
pub use options::{GetOptions, LayerAbout, Settings};

use self::keeper::Keeper;
use self::live::Table;
use self::soon::Soon;
use crate::blocking::blocking;
use crate::content::Store;
use crate::error::{Error, Result, What};
use crate::metadata::{self, Barrier, Database, Engine, Read, Sled, Transaction};
use crate::mount::Mounter;
use crate::record::{LayerBlob, RecordId, Rows, now};
use crate::remotes::Remotes;
use crate::root::{Dir, Root};
use crate::snapshot::{self, Places, SnapshotKey, Snapshotter, Wanted};
use crate::tree::{Sizes, Trees};
use crate::unlazy::{Cores, Step, Syncs, Unpacked};

/// What a manager stands on.
#[derive(Clone, Debug)]
pub struct Components {
    /// The engine that everything that moves goes through.
    pub transfers: Transfers,
    /// Where blobs may be had again, of hints.
    pub remotes: Arc<dyn Remotes>,
    /// What keeps rows.
    pub engine: Arc<dyn Engine>,
    /// What keeps unpacked layers.
    pub snapshots: Arc<dyn Snapshotter>,
}

impl Components {
    /// What is usual: the client's own engine, hints that lead to its registries, sled, and the snapshots that `root` has
    /// or that work best there.
    ///
    /// # Errors
    /// Those of [`snapshot::open`].
    pub async fn usual(root: &Root, registry: &Registry) -> Result<Self> {
        let places = Places::below(root.path());
        let what = || What::new("open snapshots", root.path().display());
        let snapshots = blocking(what, move || snapshot::open(places, Wanted::Auto)).await?;
        let (transfers, remotes) = (registry.transfers().clone(), Arc::new(registry.clone()));
        Ok(Self { transfers, remotes, engine: Arc::new(Sled), snapshots })
    }
}

/// The cache of one root. Cheap to clone; clones are the same one. An embedder has one for each root, and closes it.
#[derive(Clone)]
pub struct Manager(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) root: Root,
    pub(crate) store: Store,
    pub(crate) db: Database,
    pub(crate) transfers: Transfers,
    pub(crate) remotes: Arc<dyn Remotes>,
    pub(crate) snapshots: Arc<dyn Snapshotter>,
    mounter: Arc<Mounter>,
    /// Where this process shows trees.
    trees: Arc<Trees>,
    pub(crate) sizes: Arc<Sizes>,
    pub(crate) settings: Settings,
    pub(crate) table: Arc<Table>,
    /// Snapshots being made.
    pub(crate) unpacks: Group<Step, Arc<Unpacked>, Error>,
    /// Blobs being made of trees, by record.
    pub(crate) packs: Group<RecordId, LayerBlob, Error>,
    pub(crate) syncs: Syncs,
    /// Layers that are inflated and applied at once.
    pub(crate) cores: Cores,
    keeper: Arc<Keeper>,
    pub(crate) tasks: TaskTracker,
    closing: CancellationToken,
}

impl Manager {
    /// Opens the cache at `root`. Nothing is read before it is asked for, but the rows that say the database is whole.
    ///
    /// # Errors
    /// [`Error::Refused`] for a database of a newer schema, [`Error::Metadata`], [`Error::Io`].
    pub async fn open(root: Root, components: Components, settings: Settings) -> Result<Self> {
        let Components { transfers, remotes, engine, snapshots } = components;
        let barrier: Arc<dyn Barrier> = Arc::new(Soon(Arc::clone(&snapshots)));
        let rows = metadata::Settings::new(root.path(), engine);
        let db = Database::new(metadata::Settings { barrier: Some(barrier), ..rows });
        let (mounts, trash, trees) = (root.mounts(), root.dir(Dir::Trash), Arc::clone(&snapshots));
        let what = || What::new("open mounts", root.path().display());
        let mounter = Arc::new(blocking(what, move || Mounter::open(mounts, trash, trees)).await?);
        let inner = Inner {
            store: Store::new(&root),
            db,
            transfers,
            remotes,
            snapshots,
            mounter,
            sizes: Arc::default(),
            trees: Arc::new(Trees::new(root.mounts(), root.dir(Dir::Trash))),
            table: Arc::default(),
            unpacks: Group::new(),
            packs: Group::new(),
            syncs: Syncs::default(),
            cores: Cores::new(settings.cpus.max(1)),
            keeper: Arc::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            settings,
            root,
        };
        let manager = Self(Arc::new(inner));
        match manager.write(|_| Ok(())).await {
            // What was put away is what can be given up at once: without it nothing could be pruned any more.
            Err(error) if is_full(&error) => {
                let emptied = manager.0.root.trash().empty(None, &manager.0.closing).await?;
                tracing::info!(bytes = emptied.bytes, "the disk is full; the trash is emptied");
                manager.write(|_| Ok(())).await?;
            }
            written => written?,
        }
        manager.clear().await?;
        Ok(manager)
    }

    /// Puts away what dead makers have left, and begins to delete, slowly, what was put away.
    async fn clear(&self) -> Result<()> {
        let (locks, trash) = (self.0.root.staging_locks().clone(), self.0.root.trash().clone());
        let (mounter, trees) = (Arc::clone(&self.0.mounter), Arc::clone(&self.0.trees));
        let what = || What::new("clear staging", self.0.root.path().display());
        let is_empty = blocking(what, {
            let trash = trash.clone();
            move || {
                locks.sweep(&trash)?;
                mounter.recover()?;
                trees.recover()?;
                trash.is_empty()
            }
        })
        .await?;
        if !is_empty {
            let closing = self.0.closing.clone();
            self.0.tasks.spawn(async move {
                if let Err(error) = trash.sweep(&closing).await {
                    tracing::warn!(%error, "the trash could not be emptied");
                }
            });
        }
        Ok(())
    }

    /// The root it is in.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.0.root
    }

    /// What everything that moves goes through.
    #[must_use]
    pub fn transfers(&self) -> &Transfers {
        &self.0.transfers
    }

    /// The blobs.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What keeps unpacked layers.
    #[must_use]
    pub fn snapshots(&self) -> &Arc<dyn Snapshotter> {
        &self.0.snapshots
    }

    /// What is mounted, and mounts.
    #[must_use]
    pub fn mounter(&self) -> &Arc<Mounter> {
        &self.0.mounter
    }

    /// Where this process shows trees.
    pub(crate) fn trees(&self) -> &Arc<Trees> {
        &self.0.trees
    }

    /// Runs `work` to its end on `runtime`; [`close`](Self::close) waits for it.
    pub(crate) fn spawn_on(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
        runtime: &tokio::runtime::Handle,
    ) {
        self.0.tasks.spawn_on(work, runtime);
    }

    /// Snapshots that are mounted somewhere.
    pub(crate) async fn mounted(&self) -> Result<HashSet<SnapshotKey>> {
        let mounter = Arc::clone(&self.0.mounter);
        blocking(
            || What::new("list mounts", self.0.root.path().display()),
            move || Ok(mounter.pinned()?.into_iter().collect()),
        )
        .await
    }

    /// The database, for what embedders keep in spaces of their own.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.0.db
    }

    /// The values it was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Waits for snapshots being made and for trees being unmounted, writes what dropped handles have left to write, and lets the database go. Handles
    /// that are dropped later leave nothing that the next process would miss but the time of their use.
    ///
    /// # Errors
    /// [`Error::Metadata`], [`Error::Io`].
    pub async fn close(&self) -> Result<()> {
        self.0.unpacks.close().await;
        self.0.packs.close().await;
        self.0.closing.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        let trees = Arc::clone(&self.0.trees);
        let close = move || {
            trees.close();
            Ok(())
        };
        blocking(|| What::new("close", self.0.root.path().display()), close).await?;
        let written = self.write(|_| Ok(())).await.and(self.settle().await);
        self.0.db.close().await;
        written
    }

    /// A record was used until now.
    pub(crate) fn was_used(&self, id: &RecordId) {
        if self.0.keeper.used(id, now()) {
            self.write_later();
        }
    }

    /// The handle on a mutable record has gone.
    pub(crate) fn is_idle(&self, id: &RecordId) {
        if self.0.keeper.idle(id) {
            self.write_later();
        }
    }

    /// Writes what handles have left, unless somebody else writes before.
    fn write_later(&self) {
        // Without a runtime nothing can be written; the next one who writes takes it along.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.0.closing.is_cancelled() {
            return;
        }
        let (inner, closing) = (Arc::downgrade(&self.0), self.0.closing.clone());
        let linger = self.0.settings.linger;
        self.0.tasks.spawn_on(
            async move {
                closing.run_until_cancelled(tokio::time::sleep(linger)).await;
                let Some(inner) = inner.upgrade() else { return };
                if let Err(error) = Self(inner).write_soon(|_| Ok(())).await {
                    tracing::warn!(%error, "when refs were used last could not be written down");
                }
            },
            &runtime,
        );
    }

    /// Runs `work` to its end, whether somebody still waits for it or not; [`close`](Self::close) waits for it as well.
    /// The token is cancelled when nobody else does any more.
    pub(crate) async fn see_through<T, F>(&self, work: impl FnOnce(CancellationToken) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let token = self.0.closing.child_token();
        let _withdrawn = token.clone().drop_guard();
        match self.0.tasks.spawn(work(token)).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_shut_down) => {
                    Err(Error::Cancelled { what: What::new("work in", self.0.root.path().display()) })
                }
            },
        }
    }

    /// Reads rows.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Read) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.db.read(work).await
    }

    /// Reads and writes rows in a turn of its own, and with them what handles have left to write.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_when(true, work).await
    }

    /// The same, but it is [durable soon](Self::settle).
    pub(crate) async fn write_soon<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_when(false, work).await
    }

    async fn write_when<T: Send + 'static>(
        &self,
        is_durable: bool,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (keeper, table, live) =
            (Arc::clone(&self.0.keeper), Arc::clone(&self.0.table), Arc::clone(self.0.root.live()));
        // What was written in the turn, until it is committed.
        let slot = Arc::new(Mutex::new(None));
        let uncommitted = Arc::clone(&slot);
        let turn = move |rows: &mut Transaction<'_>| {
            Rows::complete(rows)?;
            // Not before its turn: one that nobody waits for any more never has it.
            let taken = keeper.take();
            let is_left = taken.write(rows, &table, &live)?;
            let value = work(rows)?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken.written());
            Ok((value, is_left))
        };
        let db = &self.0.db;
        let written = if is_durable { db.write(turn).await } else { db.write_soon(turn).await };
        match written {
            Ok((value, is_left)) => {
                if is_left {
                    self.write_later();
                }
                Ok(value)
            }
            Err(error) => {
                let kept = uncommitted.lock().unwrap_or_else(PoisonError::into_inner).take();
                self.0.keeper.give_back(kept.unwrap_or_default());
                Err(error)
            }
        }
    }
}

/// Whether the disk has no room left, or its owner none for this user.
fn is_full(error: &Error) -> bool {
    let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded];
    matches!(error.root(), Error::Io { source, .. } if full.contains(&source.kind()))
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("root", &self.0.root).finish_non_exhaustive()
    }
}
