//! What everything takes.

use std::collections::HashMap;

use oci_spec::image::Digest;

use super::options::Filter;
use super::survey::Survey;
use crate::error::Result;
use crate::manager::Manager;
use crate::record::{LastUse, Record};
use crate::snapshot::SnapshotKey;

/// What one record takes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// When and how often it was used.
    pub last_use: LastUse,
    /// Somebody has a handle on it or on something that stands on it, or has it mounted, in whichever process.
    pub in_use: bool,
    /// Some name stands for it.
    pub named: bool,
    /// Bytes of its own blob and snapshot that are here.
    pub size: u64,
    /// So many of those belong to other records as well.
    pub shared_size: u64,
    /// Bytes of its own blob that are not here.
    pub lazy_size: u64,
}

/// What everything takes, each byte counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blobs in the store, manifests and configs among them.
    pub blobs: u64,
    /// Unpacked layers.
    pub snapshots: u64,
    /// Trees that may be changed.
    pub mutable: u64,
    /// Copies that are mounted, where snapshots cannot be shown as they are.
    pub mounts: u64,
    /// What was removed and waits to be deleted.
    pub trash: u64,
    /// Unfinished blobs.
    pub partials: u64,
    /// What of blobs, snapshots and trees that may be changed belongs to no name and is not in use.
    pub reclaimable: u64,
    /// Layers that are not here.
    pub lazy: u64,
}

/// What there is, and what it takes.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Records, the one used last in the first place.
    pub entries: Vec<Entry>,
    /// All of it, whatever the filters.
    pub totals: Totals,
}

impl Manager {
    /// What everything takes, with the records that all of `filters` are true of.
    ///
    /// # Errors
    /// [`Error::Metadata`](crate::Error::Metadata), [`Error::Io`](crate::Error::Io).
    pub async fn usage(&self, filters: &[Filter]) -> Result<Usage> {
        let survey = Survey::of(self).await?;
        let totals = survey.totals();
        let mut entries = survey.entries();
        entries.retain(|entry| filters.iter().all(|filter| filter.admits(entry)));
        entries.sort_by(|one, other| {
            other.last_use.at.cmp(&one.last_use.at).then_with(|| one.record.id.cmp(&other.record.id))
        });
        Ok(Usage { entries, totals })
    }
}

impl Survey {
    pub(super) fn entries(&self) -> Vec<Entry> {
        let in_use = self.in_use();
        let (blobs, snapshots) = self.owners();
        let entries = self.records.values().map(|record| {
            let (blob, snapshot) = self.size_of(record);
            let digest = record.blob.as_ref().map(|blob| blob.descriptor.digest());
            let shares_blob =
                digest.is_some_and(|digest| blobs.get(digest).is_some_and(|owners| *owners > 1));
            let key = record.snapshot.as_ref();
            let shares_snapshot = key.is_some_and(|key| snapshots.get(key).is_some_and(|owners| *owners > 1));
            let lazy = record.blob.as_ref().filter(|_| blob == 0).map_or(0, |blob| blob.descriptor.size());
            Entry {
                last_use: self
                    .uses
                    .get(&record.id)
                    .copied()
                    .unwrap_or(LastUse { at: record.created, count: 0 }),
                in_use: in_use.contains(&record.id),
                named: self.is_named(record),
                size: blob + snapshot,
                shared_size: if shares_blob { blob } else { 0 } + if shares_snapshot { snapshot } else { 0 },
                lazy_size: lazy,
                record: record.clone(),
            }
        });
        entries.collect()
    }

    /// How many records each blob and each snapshot belongs to.
    pub(super) fn owners(&self) -> (HashMap<Digest, usize>, HashMap<SnapshotKey, usize>) {
        let (mut blobs, mut snapshots) = (HashMap::new(), HashMap::new());
        for record in self.records.values() {
            if let Some(blob) = &record.blob {
                *blobs.entry(blob.descriptor.digest().clone()).or_default() += 1;
            }
            if let Some(key) = &record.snapshot {
                *snapshots.entry(key.clone()).or_default() += 1;
            }
        }
        (blobs, snapshots)
    }

    fn totals(&self) -> Totals {
        let in_use = self.in_use();
        let mut totals = Totals {
            blobs: self.blobs.values().sum(),
            snapshots: self.snapshots.values().map(|usage| usage.bytes).sum(),
            mutable: self.actives.values().map(|usage| usage.bytes).sum(),
            mounts: self.mounts,
            trash: self.trash,
            partials: self.partials.iter().map(|partial| partial.offset).sum(),
            ..Totals::default()
        };
        let (mut kept, mut kept_snapshots) = (0, 0);
        let mut seen: HashMap<&Digest, bool> = HashMap::new();
        let mut seen_snapshots: HashMap<&SnapshotKey, bool> = HashMap::new();
        for record in self.records.values() {
            let needed = in_use.contains(&record.id) || self.is_named(record);
            if let Some(blob) = &record.blob {
                let digest = blob.descriptor.digest();
                // Once, however many records have it.
                if !seen.contains_key(digest) && !self.blobs.contains_key(digest) {
                    totals.lazy = totals.lazy.saturating_add(blob.descriptor.size());
                }
                *seen.entry(digest).or_default() |= needed;
            }
            if let Some(key) = &record.snapshot {
                *seen_snapshots.entry(key).or_default() |= needed;
            }
        }
        for (digest, size) in &self.blobs {
            let of_layer = seen.get(digest).copied();
            let named = || self.named.blobs.contains(digest) || self.named.layers.contains(digest);
            if of_layer.unwrap_or_else(named) {
                kept += size;
            }
        }
        for (key, usage) in self.snapshots.iter().chain(&self.actives) {
            if seen_snapshots.get(key).copied().unwrap_or_default() {
                kept_snapshots += usage.bytes;
            }
        }
        totals.reclaimable = self.total().saturating_sub(kept + kept_snapshots);
        totals
    }
}
