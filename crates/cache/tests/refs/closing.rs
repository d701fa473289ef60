//! What nobody waits for any more is still joined by whoever closes the manager.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use lazyblob_cache::layer::{Algorithm, Applied, Compression, Family, Form, LayerType};
use lazyblob_cache::manager::{Components, Settings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::record::Retention;
use lazyblob_cache::refs::BlobOptions;
use lazyblob_cache::root::{Root, RootSettings};
use lazyblob_cache::snapshot::{
    self, About, Active, Assembled, Keep, Mounts, Places, SnapshotInfo, SnapshotKey, Snapshotter, Staged,
    Synced,
};
use lazyblob_cache::{Error, GetOptions, Manager, Result};
use lazyblob_remote::{Access, What};
use tokio_util::sync::CancellationToken;

use crate::support::{Wanted, World, task, until};

const GZIP: LayerType = LayerType { family: Family::Oci, algorithm: Algorithm::Gzip, foreign: false };

/// Snapshots whose makers are held up.
#[derive(Debug)]
pub(crate) struct Held {
    inner: Arc<dyn Snapshotter>,
    /// Who comes by is to stop.
    shut: AtomicBool,
    /// Nothing can be synced.
    pub(crate) full: AtomicBool,
    /// Whose directories were asked for.
    pub(crate) packed: Mutex<Vec<SnapshotKey>>,
    at: Mutex<At>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct At {
    inside: usize,
    open: bool,
    left: usize,
}

/// Somebody who has been held up, until he is done.
struct Inside<'a>(&'a Held);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.at.lock().unwrap().left += 1;
    }
}

impl Held {
    fn pass(&self) -> Option<Inside<'_>> {
        if !self.shut.load(Ordering::SeqCst) {
            return None;
        }
        let mut at = self.at.lock().unwrap();
        at.inside += 1;
        drop(self.changed.wait_while(at, |at| !at.open).unwrap());
        Some(Inside(self))
    }

    fn open(&self) {
        self.at.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    fn inside(&self) -> usize {
        self.at.lock().unwrap().inside
    }

    fn left(&self) -> usize {
        self.at.lock().unwrap().left
    }
}

impl Snapshotter for Held {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn form(&self) -> Form {
        self.inner.form()
    }
    fn info(&self, key: &SnapshotKey) -> Result<Option<SnapshotInfo>> {
        self.inner.info(key)
    }
    fn directory(&self, key: &SnapshotKey) -> Result<PathBuf> {
        let _inside = self.pass();
        self.packed.lock().unwrap().push(key.clone());
        self.inner.directory(key)
    }
    fn list(&self) -> Result<Vec<SnapshotInfo>> {
        self.inner.list()
    }
    fn stage(&self, key: &SnapshotKey) -> Result<Staged> {
        self.inner.stage(key)
    }
    fn settle(
        &self,
        staged: &mut Staged,
        applied: &Applied,
        below: &[PathBuf],
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.inner.settle(staged, applied, below, cancel)
    }
    fn sync(&self, staged: Vec<Staged>) -> Result<Vec<Synced>> {
        self.inner.sync(staged)
    }
    fn publish(&self, synced: Synced, about: About) -> Result<SnapshotInfo> {
        self.inner.publish(synced, about)
    }
    fn remove(&self, key: &SnapshotKey) -> Result<()> {
        self.inner.remove(key)
    }
    fn clear_staging(&self, key: &SnapshotKey) -> Result<()> {
        self.inner.clear_staging(key)
    }
    fn prepare(
        &self,
        key: &SnapshotKey,
        stack: &[SnapshotKey],
        cancel: &CancellationToken,
    ) -> Result<Active> {
        let _inside = self.pass();
        self.inner.prepare(key, stack, cancel)
    }
    fn active(&self, key: &SnapshotKey) -> Result<Option<Active>> {
        self.inner.active(key)
    }
    fn actives(&self) -> Result<Vec<SnapshotKey>> {
        self.inner.actives()
    }
    fn remove_active(&self, key: &SnapshotKey) -> Result<()> {
        self.inner.remove_active(key)
    }
    fn commit(&self, active: &Active, key: &SnapshotKey, cancel: &CancellationToken) -> Result<SnapshotInfo> {
        let _inside = self.pass();
        self.inner.commit(active, key, cancel)
    }
    fn prepare_soon(
        &self,
        key: &SnapshotKey,
        stack: &[SnapshotKey],
        cancel: &CancellationToken,
    ) -> Result<Active> {
        let _inside = self.pass();
        self.inner.prepare_soon(key, stack, cancel)
    }
    fn commit_soon(
        &self,
        active: &Active,
        key: &SnapshotKey,
        cancel: &CancellationToken,
    ) -> Result<SnapshotInfo> {
        let _inside = self.pass();
        self.inner.commit_soon(active, key, cancel)
    }
    fn sync_all(&self) -> Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(Error::Io {
                what: What::new("sync", "snapshots"),
                path: PathBuf::new(),
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.inner.sync_all()
    }
    fn mounts(&self, stack: &[SnapshotKey], upper: Option<&Active>) -> Result<Mounts> {
        self.inner.mounts(stack, upper)
    }
    fn assemble(
        &self,
        stack: &[SnapshotKey],
        to: &Path,
        keep: Keep,
        cancel: &CancellationToken,
    ) -> Result<Assembled> {
        self.inner.assemble(stack, to, keep, cancel)
    }
}

pub(crate) async fn held(world: &World) -> (Manager, Arc<Held>) {
    let root = Root::open(world.root(), RootSettings::default()).await.unwrap();
    let inner = snapshot::open(Places::below(root.path()), Wanted::Plain).unwrap();
    let held = Held {
        inner,
        shut: AtomicBool::default(),
        full: AtomicBool::default(),
        packed: Mutex::default(),
        at: Mutex::default(),
        changed: Condvar::new(),
    };
    let held = Arc::new(held);
    let components = Components {
        transfers: world.client.transfers().clone(),
        remotes: Arc::new(world.client.clone()),
        engine: Arc::new(Sled),
        snapshots: Arc::clone(&held) as Arc<dyn Snapshotter>,
    };
    (Manager::open(root, components, Settings::default()).await.unwrap(), held)
}

fn retained() -> GetOptions {
    GetOptions { retention: Retention::Retain, ..GetOptions::default() }
}

/// A tree that is made, finalized or packed for a caller who has gone is still worked on in some thread: the manager is
/// not closed before that has ended, and what is left is a record with its tree or none at all.
#[tokio::test]
async fn work_that_was_given_up_is_joined_by_close() {
    for what in ["new mutable", "finalize", "make blobs"] {
        let world = World::new().await;
        let (manager, held) = held(&world).await;
        let options = BlobOptions { layer: GZIP, compression: Compression::GZIP, threads: 1 };
        let access = Access::anonymous();
        let committed = match what {
            "new mutable" => None,
            _ => Some(manager.new_mutable(None, &access, retained()).await.unwrap().commit().await.unwrap()),
        };
        if what == "make blobs" {
            committed.as_ref().unwrap().finalize().await.unwrap();
        }
        held.shut.store(true, Ordering::SeqCst);
        let work = task({
            let (manager, committed, held) = (manager.clone(), committed.clone(), Arc::clone(&held));
            async move {
                let work = async {
                    match (what, &committed) {
                        ("finalize", Some(committed)) => committed.finalize().await.map(drop),
                        (_, Some(committed)) => committed.make_blobs(&options, &access).await,
                        (_, None) => manager.new_mutable(None, &access, retained()).await.map(drop),
                    }
                };
                tokio::select! {
                    done = work => panic!("{what}: it was to be held up: {done:?}"),
                    () = until(what, || held.inside() > 0) => {}
                }
            }
        });
        work.await.unwrap();
        drop(committed);
        let closing = manager.clone();
        let mut closed = task(async move { closing.close().await });
        let early = tokio::time::timeout(Duration::from_millis(200), &mut closed).await;
        let left = held.left();
        // Before anything may fail: nobody would ever end.
        held.open();
        assert!(early.is_err(), "{what}: closed while somebody is at work");
        assert_eq!(left, 0);
        closed.await.unwrap().unwrap();
        assert_eq!(held.left(), held.inside(), "{what}: all have ended");
        drop(manager);
        // A record has its tree.
        let manager = world.process().await;
        for entry in manager.usage(&[]).await.unwrap().entries {
            let id = entry.record.id;
            if entry.record.mutable {
                let key = SnapshotKey::record(id.as_str()).unwrap();
                let has_tree = manager.snapshots().active(&key).unwrap().is_some();
                let is_finalized = entry.record.twin.is_some();
                assert!(has_tree || is_finalized, "{what}: {id} has no tree");
            } else {
                manager.get(&id, GetOptions::default()).await.unwrap().finalize().await.unwrap();
            }
        }
        manager.close().await.unwrap();
    }
}

/// Who is to be finalized while another one has its key, and does not let go of it, does not keep the manager open.
#[tokio::test]
async fn a_finalization_that_waits_is_ended_by_close() {
    let world = World::new().await;
    let manager = world.manager().await;
    let active = manager.new_mutable(None, &Access::anonymous(), retained()).await.unwrap();
    let committed = active.commit().await.unwrap();
    let id = committed.id();
    let key = committed.record().snapshot.clone().unwrap().file_name();
    let other = Root::open(world.root(), RootSettings::default()).await.unwrap();
    let token = CancellationToken::new();
    let claim = other.staging_locks().claim(&key, &lazyblob_remote::progress::Silent, &token).await.unwrap();
    let finalized = task(async move { committed.finalize().await });
    tokio::task::yield_now().await;
    manager.close().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), finalized).await;
    let error = ended.expect("it waits for ever").unwrap().unwrap_err();
    assert!(matches!(error.root(), Error::Cancelled { .. }), "{error}");
    drop((claim, manager));
    let manager = world.process().await;
    manager.get(&id, GetOptions::default()).await.unwrap().finalize().await.unwrap();
    manager.close().await.unwrap();
}
