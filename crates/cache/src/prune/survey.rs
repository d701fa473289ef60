//! Everything that is kept, looked at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lazyblob_remote::Manifest;
use lazyblob_remote::endpoint::{Name, Source};
use lazyblob_remote::layout::Partial;
use oci_spec::image::Digest;

use crate::blocking::blocking;
use crate::chain::{BlobChainId, Chains};
use crate::error::{Result, What};
use crate::image::Config;
use crate::layer;
use crate::manager::Manager;
use crate::metadata::{Entry, Read};
use crate::record::{LastUse, Record, RecordId, Rows};
use crate::root::{Dir, Pin};
use crate::snapshot::{SnapshotKey, measure_changing, measure_in};

/// What there is, at one moment. Others may change it meanwhile: what is removed because of it is looked at again.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) records: HashMap<RecordId, Record>,
    /// Records that others stand on which cannot be read.
    pub(super) held: HashSet<RecordId>,
    pub(super) uses: HashMap<RecordId, LastUse>,
    /// Blobs on disk, in bytes.
    pub(super) blobs: HashMap<Digest, u64>,
    pub(super) snapshots: HashMap<SnapshotKey, layer::Usage>,
    /// Trees that may be changed.
    pub(super) actives: HashMap<SnapshotKey, layer::Usage>,
    pub(super) partials: Vec<Partial>,
    /// What copies that are mounted take, in bytes, and what waits to be deleted.
    pub(super) mounts: u64,
    pub(super) trash: u64,
    pub(super) pins: HashSet<Pin>,
    pub(super) mounted: HashSet<SnapshotKey>,
    pub(super) named: Names,
}

/// What the names in the store stand for.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Manifests, configs, and blobs that are no layers of files.
    pub(super) blobs: HashSet<Digest>,
    /// Layers of files.
    pub(super) layers: HashSet<Digest>,
    /// The stacks of them.
    pub(super) chains: HashSet<BlobChainId>,
}

impl Survey {
    pub(super) async fn of(manager: &Manager) -> Result<Self> {
        // Pins before names: what is pinned until it has a name is seen as one of the two.
        let pins = manager.pins().await?;
        let mounted = manager.mounted().await?;
        let named = Names::of(manager).await?;
        // What handles have left to be written is part of it.
        manager.write(|_| Ok(())).await?;
        let (records, unreadable) = all(manager, Rows::page, Rows::parse).await?;
        let records: HashMap<RecordId, Record> =
            records.into_iter().map(|record| (record.id.clone(), record)).collect();
        let held = held(manager, &records, &unreadable).await?;
        let uses = all(manager, Rows::page_of_uses, Rows::parse_use).await?.0.into_iter().collect();
        let (store, snapshots) = (manager.store().clone(), Arc::clone(manager.snapshots()));
        let what = || What::new("list what is stored", manager.root().path().display());
        let (mounts, trash) = (manager.root().mounts(), manager.root().dir(Dir::Trash));
        let (blobs, snapshots, actives, mounts, trash) = blocking(what, move || {
            let mut actives = HashMap::new();
            for key in snapshots.actives()? {
                if let Some(active) = snapshots.active(&key)? {
                    actives.insert(key, measure_changing(&active.directory()));
                }
            }
            let (mounts, trash) = (measure_in(&mounts), measure_in(&trash));
            let blobs = store.list()?.into_iter().map(|blob| (blob.digest, blob.size)).collect();
            let snapshots = snapshots.list()?.into_iter().map(|info| (info.key, info.usage)).collect();
            Ok((blobs, snapshots, actives, mounts, trash))
        })
        .await?;
        let partials = manager.store().ingests().list().await?;
        Ok(Self {
            records,
            held,
            uses,
            blobs,
            snapshots,
            actives,
            partials,
            mounts,
            trash,
            pins,
            mounted,
            named,
        })
    }

    /// Records that are in use, with all that they stand on. What stands on one and cannot be read may be in use.
    pub(super) fn in_use(&self) -> HashSet<RecordId> {
        let pinned = self.pins.iter().filter_map(|pin| match pin {
            Pin::Record(id) => RecordId::parse(id).ok(),
            _ => None,
        });
        let mounted = self
            .records
            .values()
            .filter(|record| record.snapshot.as_ref().is_some_and(|key| self.mounted.contains(key)));
        let mounted = mounted.map(|record| record.id.clone());
        let mut waiting: Vec<RecordId> = pinned.chain(mounted).chain(self.held.iter().cloned()).collect();
        let mut in_use = HashSet::new();
        while let Some(id) = waiting.pop() {
            let Some(record) = self.records.get(&id) else { continue };
            if in_use.insert(id) {
                waiting.extend(record.kind.parents().cloned());
                waiting.extend(record.twin.clone());
            }
        }
        in_use
    }

    /// Records of layers that some name stands for.
    pub(super) fn is_named(&self, record: &Record) -> bool {
        record.blob_chain.as_ref().is_some_and(|chain| self.named.chains.contains(chain))
    }

    /// What blobs and trees take, in bytes: what a limit is about.
    pub(super) fn total(&self) -> u64 {
        let trees = self.snapshots.values().chain(self.actives.values());
        self.blobs.values().sum::<u64>() + trees.map(|usage| usage.bytes).sum::<u64>()
    }

    /// What the tree of a key takes here, in bytes, be it committed or one that may be changed.
    pub(super) fn tree(&self, key: &SnapshotKey) -> u64 {
        let bytes = |usage: Option<&layer::Usage>| usage.map_or(0, |usage| usage.bytes);
        bytes(self.snapshots.get(key)) + bytes(self.actives.get(key))
    }

    /// What a record's own blob and snapshot take here, in bytes.
    pub(super) fn size_of(&self, record: &Record) -> (u64, u64) {
        let blob = record.blob.as_ref().and_then(|blob| self.blobs.get(blob.descriptor.digest()));
        let tree = record.snapshot.as_ref().map_or(0, |key| self.tree(key));
        (blob.copied().unwrap_or_default(), tree)
    }
}

/// Shows `each` all rows of a kind, in pages: others are served in between, and nobody waits while they are parsed.
pub(crate) async fn pages(
    manager: &Manager,
    page: impl Fn(&dyn Read, Option<&[u8]>) -> Result<Vec<Entry>> + Copy + Send + 'static,
    mut each: impl FnMut(Entry),
) -> Result<()> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let last = after.clone();
        let rows = manager.read(move |view| page(view, last.as_deref())).await?;
        let Some((key, _)) = rows.last() else { return Ok(()) };
        after = Some(key.clone());
        rows.into_iter().for_each(&mut each);
    }
}

/// All rows of a kind that can be read, and the keys of those that cannot. Of one of these nobody knows what it is: it is
/// left alone, and so is all that is found by it.
async fn all<T>(
    manager: &Manager,
    page: impl Fn(&dyn Read, Option<&str>) -> Result<Vec<Entry>> + Copy + Send + 'static,
    parse: fn(&Entry) -> Result<T>,
) -> Result<(Vec<T>, HashSet<String>)> {
    let (mut all, mut unreadable) = (Vec::new(), HashSet::new());
    let page = move |view: &dyn Read, after: Option<&[u8]>| {
        page(view, after.map(String::from_utf8_lossy).as_deref())
    };
    pages(manager, page, |row| match parse(&row) {
        Ok(parsed) => all.push(parsed),
        Err(error) => {
            tracing::warn!(%error, "left alone, for it cannot be read: `verify` says what can be done");
            unreadable.insert(String::from_utf8_lossy(&row.0).into_owned());
        }
    })
    .await?;
    Ok((all, unreadable))
}

/// Records that something unreadable stands on.
async fn held(
    manager: &Manager,
    records: &HashMap<RecordId, Record>,
    unreadable: &HashSet<String>,
) -> Result<HashSet<RecordId>> {
    let mut held = HashSet::new();
    if unreadable.is_empty() {
        return Ok(held);
    }
    let ids: Vec<RecordId> = records.keys().cloned().collect();
    for part in ids.chunks(256) {
        let (part, unreadable) = (part.to_vec(), unreadable.clone());
        let found = manager.read(move |view| {
            let mut found = Vec::new();
            for id in part {
                let children = Rows::children(view, &id)?;
                if children.iter().any(|child| unreadable.contains(child.as_str())) {
                    found.push(id);
                }
            }
            Ok(found)
        });
        held.extend(found.await?);
    }
    Ok(held)
}

impl Names {
    /// Goes through all names. What cannot be read is worth a line, and keeps what it is called by at least.
    async fn of(manager: &Manager) -> Result<Self> {
        let layout = manager.store().layout();
        let mut names = Self::default();
        let mut waiting: Vec<Digest> =
            layout.roots().await?.into_iter().map(|(_, root)| root.digest().clone()).collect();
        while let Some(digest) = waiting.pop() {
            if !names.blobs.insert(digest.clone()) {
                continue;
            }
            match Source::manifest(layout, &Name::Digest(digest.clone())).await {
                Ok(manifest) => {
                    waiting
                        .extend(manifest.child_manifests().into_iter().map(|child| child.digest().clone()));
                    names.add(manager, &manifest).await;
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => tracing::warn!(%error, %digest, "what a name stands for cannot be read"),
            }
        }
        Ok(names)
    }

    async fn add(&mut self, manager: &Manager, manifest: &Manifest) {
        let config = manifest.config().filter(|_| Config::belongs_to(manifest));
        let layers = match config {
            Some(config) => manager.read_config(config).await.and_then(|config| config.layers(manifest)).ok(),
            None => None,
        };
        let Some(layers) = layers else {
            self.blobs.extend(manifest.child_blobs().into_iter().map(|blob| blob.digest().clone()));
            return;
        };
        self.blobs.extend(config.map(|config| config.digest().clone()));
        let mut below: Option<Chains> = None;
        for layer in layers {
            let chains = Chains::on(below.as_ref(), layer.descriptor.digest(), &layer.diff_id);
            self.layers.insert(layer.descriptor.digest().clone());
            self.chains.insert(chains.blobs.clone());
            below = Some(chains);
        }
    }
}

impl Manager {
    /// What living processes need.
    pub(crate) async fn pins(&self) -> Result<HashSet<Pin>> {
        let live = Arc::clone(self.root().live());
        let what = || What::new("read pins", self.root().path().display());
        blocking(what, move || live.pinned()).await
    }
}
