//! What is where, read once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use oci_spec::image::Digest;

use crate::content::Stored;
use crate::error::{Result, What};
use crate::manager::Manager;
use crate::record::{Audit, Record, RecordId, Rows};
use crate::root::Pin;
use crate::snapshot::{SnapshotInfo, SnapshotKey};
use crate::unlazy::blocking;

/// What is where.
pub(super) struct Facts {
    pub(super) records: HashMap<RecordId, Record>,
    /// Rows that cannot be read, and why.
    pub(super) broken: Vec<(String, String)>,
    /// Rows too many, and rows too few.
    pub(super) wrong_rows: (usize, usize),
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
        let Audit { records, broken, stray, lacking } = manager.read(Rows::audit).await?;
        let (store, snapshots) = (manager.store().clone(), Arc::clone(manager.snapshots()));
        let what = || What::new("verify", manager.root().path().display());
        // After the rows: what comes meanwhile has rows that were not read, and is passed over.
        let (stored, snapshots) = blocking(what, move || Ok((store.list()?, snapshots.list()?))).await?;
        Ok(Self {
            records: records.into_iter().map(|record| (record.id.clone(), record)).collect(),
            broken,
            wrong_rows: (stray, lacking),
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
