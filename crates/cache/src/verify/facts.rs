//! What is where, read once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use oci_spec::image::Digest;

use crate::blocking::blocking;
use crate::content::Stored;
use crate::error::{Result, What};
use crate::manager::Manager;
use crate::prune::pages;
use crate::record::{Audit, Pointer, Record, RecordId, Rows, Wrong};
use crate::root::Pin;
use crate::snapshot::{SnapshotInfo, SnapshotKey};

/// So many rows are looked at again, or mended, in one turn.
pub(super) const TURN: usize = 256;

/// What is where.
pub(super) struct Facts {
    pub(super) records: HashMap<RecordId, Record>,
    /// Rows that cannot be read, and why.
    pub(super) broken: Vec<(String, String)>,
    /// Rows that find records which are not there, those that are not there, and those of records that cannot be read.
    pub(super) stray: Vec<Pointer>,
    pub(super) lacking: Vec<Pointer>,
    pub(super) of_broken: Vec<Pointer>,
    /// Blobs on disk.
    pub(super) stored: Vec<Stored>,
    /// Those that were read and are what their digest says, in bytes.
    pub(super) good: HashMap<Digest, u64>,
    /// Those that proved wrong and are still there.
    pub(super) bad: HashSet<Digest>,
    pub(super) snapshots: HashMap<SnapshotKey, SnapshotInfo>,
}

impl Facts {
    pub(super) async fn of(manager: &Manager) -> Result<Self> {
        let (audit, stray, lacking) = audited(manager).await?;
        let of_broken = audit.of_broken().to_vec();
        let Audit { records, broken, .. } = audit;
        let (store, snapshots) = (manager.store().clone(), Arc::clone(manager.snapshots()));
        let what = || What::new("verify", manager.root().path().display());
        // After the rows: what comes meanwhile has rows that were not read, and is passed over.
        let (stored, snapshots) = blocking(what, move || Ok((store.list()?, snapshots.list()?))).await?;
        Ok(Self {
            records: records.into_iter().map(|record| (record.id.clone(), record)).collect(),
            broken,
            stray,
            lacking,
            of_broken,
            stored,
            bad: HashSet::new(),
            good: HashMap::new(),
            snapshots: snapshots.into_iter().map(|info| (info.key.clone(), info)).collect(),
        })
    }

    /// Records whose own blob this is.
    pub(super) fn of_blob(&self, digest: &Digest) -> impl Iterator<Item = &Record> {
        self.records
            .values()
            .filter(move |record| record.blob.as_ref().is_some_and(|blob| blob.descriptor.digest() == digest))
    }

    /// Records whose own snapshot this is.
    pub(super) fn of_snapshot(&self, key: &SnapshotKey) -> impl Iterator<Item = &Record> {
        self.records.values().filter(move |record| record.snapshot.as_ref() == Some(key))
    }

    /// What of `digest`, as a blob of records or a blob alone, would be pinned if somebody used it.
    pub(super) fn pins_of_blob(&self, digest: &Digest) -> Vec<Pin> {
        let records = self.of_blob(digest).map(|record| Pin::Record(record.id.as_str().into()));
        records.chain([Pin::Blob(digest.clone())]).collect()
    }

    /// The same of a snapshot.
    pub(super) fn pins_of_snapshot(&self, key: &SnapshotKey) -> Vec<Pin> {
        let records = self.of_snapshot(key).map(|record| Pin::Record(record.id.as_str().into()));
        records.chain(key.as_chain().map(Pin::Chain)).collect()
    }
}

/// Reads all rows in pages, and looks once more at those that seem wrong: rows that are stray, and rows that are lacking.
async fn audited(manager: &Manager) -> Result<(Audit, Vec<Pointer>, Vec<Pointer>)> {
    let mut audit = Audit::default();
    pages(
        manager,
        |view, after| Rows::page(view, after.map(String::from_utf8_lossy).as_deref()),
        |row| audit.record(&row),
    )
    .await?;
    for space in 0..Audit::SPACES {
        pages(
            manager,
            move |view, after| Audit::page(view, space, after),
            |(key, _)| audit.pointer(space, key),
        )
        .await?;
    }
    let (mut stray, mut lacking) = (Vec::new(), Vec::new());
    for part in audit.suspects().chunks(TURN) {
        let part = part.to_vec();
        let looked = manager.read(move |view| {
            let look = |pointer: Pointer| Ok((Audit::look(view, &pointer)?, pointer));
            part.into_iter().map(look).collect::<Result<Vec<_>>>()
        });
        for (wrong, pointer) in looked.await? {
            match wrong {
                Some(Wrong::Stray) => stray.push(pointer),
                Some(Wrong::Lacking) => lacking.push(pointer),
                None => {}
            }
        }
    }
    Ok((audit, stray, lacking))
}
