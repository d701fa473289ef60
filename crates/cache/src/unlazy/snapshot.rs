//! Snapshots of a ref's layers: made side by side, settled from the bottom up, and made visible together.
//!
//! Between processes the top layer's lock is taken first, then that of the one below: two processes that want one image
//! meet at its top, and one of them makes all of it. Who holds a lock waits only for those of what it stands on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, try_join_all};
use lazyblob_flightcontrol as flightcontrol;
use lazyblob_flightcontrol::Failure;
use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

use super::apply::{Applying, Made};
use super::difference::Comparing;
use super::unpacked::{State, Tree, Unpacked, Unpublished};
use crate::blocking::blocking;
use crate::error::{Error, Missing, Result, What};
use crate::manager::Manager;
use crate::manager::live::Live;
use crate::manager::mutable::{STACK, keys, keys_of};
use crate::record::{Kind, Record, RecordId};
use crate::refs::{ImmutableRef, Layer, stack};
use crate::snapshot::{About, SnapshotKey};

/// What a flight is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The layer is applied, and what it leaves to those below is settled.
    Settled(SnapshotKey),
    /// Its snapshot is visible and durable, and so are those below.
    Kept(SnapshotKey),
}

/// What a layer is settled on.
enum Below {
    Nothing,
    /// A layer of the same chain.
    Layer(Arc<Live>),
    /// A merge or a diff, whose layers come from several chains.
    Stack(Arc<Live>),
}

/// On whose behalf a snapshot is made.
#[derive(Clone)]
struct Asker {
    manager: Manager,
    layer: Layer,
    access: Access,
}

impl ImmutableRef {
    /// Makes the snapshots of all its layers that are not there, fetching what is not here: all at once, each blob once
    /// whoever asks. On return they are durable.
    ///
    /// # Errors
    /// [`Error::NeedsRemoteProviders`]; [`Error::Integrity`] for a layer that is not what its config says;
    /// [`Error::Lost`] for one that has neither blob nor snapshot; those of transfers; [`Error::Io`].
    pub async fn extract(&self, access: &Access) -> Result<()> {
        self.extract_soon(access).await?;
        self.settled().await
    }

    /// The same, but trees that were committed are durable [soon](Manager::settle): for who goes on with them and waits once,
    /// at the end.
    ///
    /// # Errors
    /// Those of [`extract`](Self::extract).
    pub async fn extract_soon(&self, access: &Access) -> Result<()> {
        // A tree that was committed and may be had back is no snapshot yet.
        self.finalize_soon().await?;
        if self.is_extracted().await? {
            return Ok(());
        }
        self.all_reachable(access).await?;
        let asker = |layer| Asker { manager: self.manager().clone(), layer, access: access.clone() };
        let tops = tops(self.live(), self.handlers());
        try_join_all(tops.into_iter().map(|layer| asker(layer).kept())).await?;
        Ok(())
    }

    /// Whether `layer`, which is one of its own and has no blob, has no tree either: then nothing is left of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn lacks_tree(&self, layer: &Layer) -> Result<bool> {
        let record = layer.record();
        // What was committed and may be had back is no snapshot yet.
        Ok(record.twin.is_none() && !self.manager().has_snapshot(&record).await?)
    }

    /// Whether all its snapshots are there.
    async fn is_extracted(&self) -> Result<bool> {
        let mut unseen = stack(self.live());
        // One that has a blob is made of it again if somebody has removed it.
        unseen.retain(|live| !live.has_snapshot() || live.record().blob.is_some());
        if unseen.is_empty() {
            return Ok(true);
        }
        let snapshots = Arc::clone(self.manager().snapshots());
        let what = || What::new("find snapshots", self.id());
        blocking(what, move || {
            for live in unseen {
                for key in keys_of(std::slice::from_ref(&live), STACK)? {
                    if snapshots.info(&key)?.is_none() {
                        return Ok(false);
                    }
                }
                live.saw_snapshot();
            }
            Ok(true)
        })
        .await
    }

    /// Says at once, and of all, which blobs nobody knows a way to.
    async fn all_reachable(&self, access: &Access) -> Result<()> {
        let mut missing = Vec::new();
        for layer in self.layers() {
            let record = layer.record();
            let Some(blob) = &record.blob else { continue };
            let told =
                missing.iter().any(|known: &Missing| known.descriptor.digest() == blob.descriptor.digest());
            if told || self.manager().has_snapshot(&record).await? {
                continue;
            }
            let asker = Asker { manager: self.manager().clone(), layer, access: access.clone() };
            if !asker.is_reachable().await? {
                missing.push(super::blob::unreachable(&blob.descriptor, &record));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::NeedsRemoteProviders { missing }) }
    }
}

impl Manager {
    /// Whether the tree of a record's own diff is here.
    pub(crate) async fn has_snapshot(&self, record: &Record) -> Result<bool> {
        let Some(key) = record.snapshot.clone() else { return Ok(false) };
        let (snapshots, name) = (Arc::clone(self.snapshots()), key.clone());
        let what = move || What::new("find snapshot", name);
        blocking(what, move || snapshots.info(&key).map(|info| info.is_some())).await
    }
}

impl Asker {
    /// Joins or begins the flight that makes this layer's snapshot visible.
    fn kept(self) -> BoxFuture<'static, Result<Arc<Unpacked>>> {
        async move {
            let (group, key) = (self.manager.clone(), self.key()?);
            let run = move |context: flightcontrol::Context<()>| async move {
                self.keep(context.token()).await.map_err(failure)
            };
            group.0.unpacks.run(Step::Kept(key), run).await.map_err(told)
        }
        .boxed()
    }

    /// Joins or begins the flight that settles it.
    fn settled(self) -> BoxFuture<'static, Result<Arc<Unpacked>>> {
        async move {
            let (group, key) = (self.manager.clone(), self.key()?);
            let run = move |context: flightcontrol::Context<()>| async move {
                self.settle(context.token()).await.map_err(failure)
            };
            group.0.unpacks.run(Step::Settled(key), run).await.map_err(told)
        }
        .boxed()
    }

    /// Settles this layer and all below, and makes visible what is not.
    async fn keep(&self, cancel: &CancellationToken) -> Result<Arc<Unpacked>> {
        loop {
            let settled = self.clone().settled();
            let top = cancel.run_until_cancelled(settled).await.ok_or_else(|| self.cancelled())??;
            // From here on it goes to its end: it is short, and others count on it.
            if self.manager.publish(&top).await? {
                return Ok(top);
            }
            tracing::debug!(layer = %self.layer.record().id, "a layer that others made is made again");
        }
    }

    async fn settle(&self, cancel: &CancellationToken) -> Result<Arc<Unpacked>> {
        let key = self.key()?;
        if let Some(tree) = self.published(&key).await? {
            return self.with_below(key, tree, State::Published, cancel).await;
        }
        let name = key.file_name();
        let claim = self.manager.root().staging_locks().claim(&name, &*self.access.progress, cancel).await?;
        // Whoever had it may have made it.
        if let Some(tree) = self.published(&key).await? {
            drop(claim);
            return self.with_below(key, tree, State::Published, cancel).await;
        }
        let record = self.layer.record();
        let height = self.height();
        let apply = async {
            if let Kind::Diff { lower, upper } = &record.kind
                && record.blob.is_none()
            {
                return self.compare(lower.as_ref(), upper.as_ref(), cancel).await;
            }
            let mut last = None;
            // The same tree may be had of other blobs, too: one that is here goes first.
            for layer in self.equals().await? {
                let Some(blob) = layer.blob() else { continue };
                let applying = Applying {
                    manager: &self.manager,
                    layer: &layer,
                    blob,
                    key: key.clone(),
                    height,
                    access: &self.access,
                    cancel,
                };
                match applying.run().await {
                    Err(error) if may_be_had_elsewhere(&error) => last = last.or(Some(error)),
                    made => return made,
                }
            }
            let reason = "its tree is gone, and no blob was made of it".to_owned();
            Err(last.unwrap_or(Error::Lost { what: What::new("unpack", &record.id), reason }))
        };
        // Blocking work is waited for even if what lies below fails.
        let (made, below) = futures::join!(apply, self.all_below(cancel));
        let ((mut staged, applied), below) = (made?, below?);
        let snapshots = Arc::clone(self.manager.snapshots());
        let what = || What::new("settle layer", &key);
        let about = About::applied(&applied, below.last().map(|below| below.key.clone()));
        let (below, staged, tree) = blocking(what, {
            let (key, token) = (key.clone(), cancel.clone());
            move || {
                let paths: Vec<PathBuf> = below.iter().map(|below| below.tree.path()).collect();
                snapshots.settle(&mut staged, &applied, &paths, &token)?;
                let tree = Tree::open(staged.directory(), &key)?;
                Ok((below, staged, tree))
            }
        })
        .await?;
        let state = State::Waiting(Box::new(Unpublished { staged, about, claim }));
        Ok(Arc::new(Unpacked { below, key, tree, state: state.into() }))
    }

    /// Makes the tree of a diff by comparing those of its two parents, which are made first.
    async fn compare(
        &self,
        lower: Option<&RecordId>,
        upper: Option<&RecordId>,
        cancel: &CancellationToken,
    ) -> Result<Made> {
        let mut stacks = Vec::new();
        for side in [lower, upper] {
            let parent = side.and_then(|id| self.layer.live().parent(id));
            let tops = parent.map(|parent| tops(parent, self.layer.handlers())).unwrap_or_default();
            let kept = try_join_all(tops.into_iter().map(|top| self.of(Arc::clone(top.live())).kept()));
            cancel.run_until_cancelled(kept).await.ok_or_else(|| self.cancelled())??;
            stacks.push(parent.map(|parent| keys(parent, STACK)).transpose()?.unwrap_or_default());
        }
        let (manager, key) = (self.manager.clone(), self.key()?);
        let (upper, lower) = (stacks.pop().unwrap_or_default(), stacks.pop().unwrap_or_default());
        Comparing { manager, key, lower, upper }.run(cancel).await
    }

    /// This layer and those of other blobs that unpack to the same, those whose blob is here before the others.
    async fn equals(&self) -> Result<Vec<Layer>> {
        let record = self.layer.record();
        let mut equals = vec![self.layer.clone()];
        if let Some(blob) = &record.blob
            && self.manager.store().holds(&blob.descriptor).await?
        {
            return Ok(equals);
        }
        let Some(chain) = &record.chain else { return Ok(equals) };
        for id in self.manager.find_by_chain(chain).await? {
            if id == record.id {
                continue;
            }
            // It may be pruned at this moment.
            let Ok(live) = self.manager.live(&id).await else { continue };
            let other = Layer::of(live, self.layer.handlers().clone());
            let Some(blob) = other.blob().filter(|_| other.record().snapshot == record.snapshot) else {
                continue;
            };
            let is_here = self.manager.store().holds(&blob.descriptor).await?;
            equals.insert(if is_here { 0 } else { equals.len() }, other);
        }
        Ok(equals)
    }

    /// Whether a blob is here, or a way to one is known, that this layer can be made of.
    async fn is_reachable(&self) -> Result<bool> {
        for layer in self.equals().await? {
            let Some(blob) = layer.blob() else { continue };
            if self.manager.store().holds(&blob.descriptor).await?
                || !self.manager.sources(&blob.descriptor, &layer, &self.access).await?.is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn with_below(
        &self,
        key: SnapshotKey,
        tree: Tree,
        state: State,
        cancel: &CancellationToken,
    ) -> Result<Arc<Unpacked>> {
        let below = self.all_below(cancel).await?;
        Ok(Arc::new(Unpacked { below, key, tree, state: state.into() }))
    }

    /// All layers below, the bottom one first, once they are settled.
    async fn all_below(&self, cancel: &CancellationToken) -> Result<Vec<Arc<Unpacked>>> {
        let settled = async {
            match self.below() {
                Below::Nothing => Ok(Vec::new()),
                Below::Layer(parent) => {
                    let parent = self.of(parent).settled().await?;
                    Ok(parent.below.iter().chain([&parent]).cloned().collect())
                }
                Below::Stack(parent) => self.stacked(&parent).await,
            }
        };
        cancel.run_until_cancelled(settled).await.ok_or_else(|| self.cancelled())?
    }

    /// The layers of a merge or a diff. Each of its tops is made visible by itself, so that no lock of one is held while
    /// another is waited for: only what stands on something may wait for it with its own lock held.
    async fn stacked(&self, parent: &Arc<Live>) -> Result<Vec<Arc<Unpacked>>> {
        let tops = tops(parent, self.layer.handlers());
        let kept = try_join_all(tops.into_iter().map(|top| self.of(Arc::clone(top.live())).kept())).await?;
        let made = kept.iter().flat_map(|top| top.below.iter().chain([top]));
        let made: HashMap<&SnapshotKey, &Arc<Unpacked>> = made.map(|layer| (&layer.key, layer)).collect();
        let lost = |key: &SnapshotKey| Error::not_found(STACK, key, "it was not made");
        keys(parent, STACK)?
            .iter()
            .map(|key| made.get(key).map(|layer| Arc::clone(layer)).ok_or_else(|| lost(key)))
            .collect()
    }

    async fn published(&self, key: &SnapshotKey) -> Result<Option<Tree>> {
        let (snapshots, key) = (Arc::clone(self.manager.snapshots()), key.clone());
        let name = key.clone();
        blocking(
            move || What::new("find snapshot", name),
            move || {
                let Some(_) = snapshots.info(&key)? else { return Ok(None) };
                Tree::open(&snapshots.directory(&key)?, &key).map(Some)
            },
        )
        .await
    }

    fn below(&self) -> Below {
        let live = self.layer.live();
        match &live.record().kind {
            // Directories that it does not name are those of what it is compared with.
            Kind::Diff { lower, .. } => {
                let lower = lower.as_ref().and_then(|id| live.parent(id));
                lower.map_or(Below::Nothing, |lower| Below::Stack(Arc::clone(lower)))
            }
            Kind::Layer { .. } => match live.parents().first() {
                Some(parent) if matches!(parent.record().kind, Kind::Layer { .. }) => {
                    Below::Layer(Arc::clone(parent))
                }
                Some(parent) => Below::Stack(Arc::clone(parent)),
                None => Below::Nothing,
            },
            Kind::Merge { .. } => Below::Nothing,
        }
    }

    /// How many layers are below.
    fn height(&self) -> usize {
        stack(self.layer.live()).len().saturating_sub(1)
    }

    fn of(&self, live: Arc<Live>) -> Self {
        let layer = Layer::of(live, self.layer.handlers().clone());
        Self { manager: self.manager.clone(), layer, access: self.access.clone() }
    }

    fn key(&self) -> Result<SnapshotKey> {
        let record = self.layer.record();
        let key = record.snapshot.clone();
        key.ok_or_else(|| Error::invalid("unpack", &record.id, "it has no snapshot of its own"))
    }

    fn cancelled(&self) -> Error {
        Error::Cancelled { what: What::new("unpack", &self.layer.record().id) }
    }
}

/// The layers that no other layer of the ref stands on: the top one of a chain, all of a merge.
fn tops(live: &Arc<Live>, handlers: &crate::DescHandlers) -> Vec<Layer> {
    let tops = match live.record().kind {
        Kind::Layer { .. } => vec![Arc::clone(live)],
        _ => stack(live),
    };
    tops.into_iter().map(|live| Layer::of(live, handlers.clone())).collect()
}

/// Whether another blob may help: this one is nowhere to be had, or not what it should be.
fn may_be_had_elsewhere(error: &Error) -> bool {
    !matches!(error.root(), Error::Cancelled { .. } | Error::Io { .. })
}

/// What an asker lacks is no trouble of the layer's: the next one may have it.
fn failure(error: Error) -> Failure<Error> {
    let personal = match error.root() {
        Error::NeedsRemoteProviders { .. } => true,
        Error::Remote(error) => matches!(error.root(), lazyblob_remote::Error::Unauthorized { .. }),
        _ => false,
    };
    if personal { Failure::Personal(error) } else { Failure::Shared(error) }
}

/// What a waiter hears.
fn told(error: flightcontrol::Error<Error>) -> Error {
    match error {
        flightcontrol::Error::Failed(error) => Error::Shared(error),
        flightcontrol::Error::Personal(error) => error,
        flightcontrol::Error::Panicked(message) => Error::Lost {
            what: What::new("unpack", "layer"),
            reason: format!("the work panicked: {message}"),
        },
        _ => Error::Cancelled { what: What::new("unpack", "layer") },
    }
}
