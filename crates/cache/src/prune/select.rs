//! What goes, and in which order: a pure function of what there is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use oci_spec::image::Digest;

use super::options::PruneOptions;
use super::survey::Survey;
use super::usage::Entry;
use crate::record::{RecordId, RecordType};
use crate::snapshot::SnapshotKey;

/// What is to go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Records, those that stand on others before them.
    pub(super) delete: Vec<RecordId>,
    /// Records that stay, and whose bytes can be had again.
    pub(super) lighten: Vec<RecordId>,
    /// What all of it takes, in bytes.
    pub(super) bytes: u64,
}

/// The running totals of one pass.
struct Pass<'a> {
    survey: &'a Survey,
    entries: HashMap<&'a RecordId, &'a Entry>,
    /// Records that stand on each, and have not gone.
    children: HashMap<&'a RecordId, usize>,
    blobs: HashMap<Digest, usize>,
    snapshots: HashMap<SnapshotKey, usize>,
    /// The one used longest ago first; of those of one time the largest, so that few have to go.
    queue: BinaryHeap<Reverse<(u64, Reverse<u64>, &'a RecordId)>>,
    selection: Selection,
}

/// Selects the records used longest ago, until no more than `keep` bytes are left, or all that `options` allow. `now` is
/// in milliseconds since 1970.
pub(super) fn select(
    survey: &Survey,
    entries: &[Entry],
    options: &PruneOptions,
    keep: Option<u64>,
    now: u64,
) -> Selection {
    let total = survey.total();
    let (blobs, snapshots) = survey.owners();
    let mut children: HashMap<&RecordId, usize> = HashMap::new();
    for entry in entries {
        for below in below(entry) {
            *children.entry(below).or_default() += 1;
        }
    }
    let mut pass = Pass {
        survey,
        entries: entries.iter().map(|entry| (&entry.record.id, entry)).collect(),
        children,
        blobs,
        snapshots,
        queue: BinaryHeap::new(),
        selection: Selection::default(),
    };
    for entry in entries {
        if entry.named || pass.children.get(&entry.record.id).is_none_or(|children| *children == 0) {
            pass.queue.push(Reverse((entry.last_use.at, Reverse(entry.size), &entry.record.id)));
        }
    }
    while let Some(Reverse((_, _, id))) = pass.queue.pop() {
        if keep.is_some_and(|keep| total.saturating_sub(pass.selection.bytes) <= keep) {
            break;
        }
        let Some(entry) = pass.entries.get(id).copied().filter(|entry| may_go(entry, options, now)) else {
            continue;
        };
        if entry.named { pass.lighten(entry) } else { pass.delete(entry) }
    }
    pass.selection
}

/// What a record keeps from going before it.
fn below(entry: &Entry) -> impl Iterator<Item = &RecordId> {
    // What was committed of a mutable tree has it for its own until it is finalized.
    let twin = entry.record.twin.as_ref().filter(|_| !entry.record.mutable);
    entry.record.kind.parents().chain(twin)
}

fn may_go(entry: &Entry, options: &PruneOptions, now: u64) -> bool {
    let of_the_engine = matches!(entry.record.record_type, RecordType::Internal | RecordType::Frontend);
    let age = |limit: std::time::Duration| {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(entry.last_use.at) >= limit
    };
    !entry.in_use
        && (options.all || !(entry.named || of_the_engine))
        // What was made here and has a name cannot be had again.
        && (!entry.named || !entry.record.sources.is_empty())
        && options.older_than.is_none_or(age)
        && options.filters.iter().all(|filter| filter.admits(entry))
}

impl<'a> Pass<'a> {
    fn delete(&mut self, entry: &'a Entry) {
        self.give_up(entry);
        self.selection.delete.push(entry.record.id.clone());
        for id in below(entry) {
            let Some(children) = self.children.get_mut(id) else { continue };
            *children -= 1;
            if *children == 0
                && let Some(parent) = self.entries.get(id)
                && !parent.named
            {
                self.queue.push(Reverse((parent.last_use.at, Reverse(parent.size), id)));
            }
        }
    }

    fn lighten(&mut self, entry: &'a Entry) {
        if self.give_up(entry) > 0 || entry.size > 0 {
            self.selection.lighten.push(entry.record.id.clone());
        }
    }

    /// Counts what goes with the last record that has it.
    fn give_up(&mut self, entry: &Entry) -> u64 {
        let mut freed = 0;
        if let Some(blob) = &entry.record.blob {
            let digest = blob.descriptor.digest();
            if last(&mut self.blobs, digest) {
                freed += self.survey.blobs.get(digest).copied().unwrap_or_default();
            }
        }
        if let Some(key) = &entry.record.snapshot
            && last(&mut self.snapshots, key)
        {
            freed += self.survey.tree(key);
        }
        self.selection.bytes += freed;
        freed
    }
}

/// Whether this was the last owner.
fn last<K: std::hash::Hash + Eq>(owners: &mut HashMap<K, usize>, key: &K) -> bool {
    let Some(owners) = owners.get_mut(key) else { return false };
    *owners = owners.saturating_sub(1);
    *owners == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lazyblob_remote::digest;
    use oci_spec::image::Descriptor;

    use super::*;
    use crate::record::{Kind, LastUse, LayerBlob, Record, Source};

    /// A record with a blob of 10 bytes that is here, used at `at`.
    fn record(name: &str, parent: Option<&Entry>, at: u64) -> Entry {
        let mut record = Record::new(Kind::Layer { parent: parent.map(|parent| parent.record.id.clone()) });
        let digest = digest::sha256(name.as_bytes());
        let descriptor = Descriptor::new("layer".into(), 10, digest.clone());
        record.blob = Some(LayerBlob { descriptor, diff_id: digest });
        record.description = name.to_owned();
        record.sources = vec![Source { host: "a.test".into(), repository: "app".into() }];
        let last_use = LastUse { at, count: 1 };
        Entry { record, last_use, in_use: false, named: false, size: 10, shared_size: 0, lazy_size: 0 }
    }

    fn survey(entries: &[Entry]) -> Survey {
        let records = entries.iter().map(|entry| (entry.record.id.clone(), entry.record.clone())).collect();
        let blobs = entries.iter().filter_map(|entry| entry.record.blob.as_ref());
        let blobs = blobs.map(|blob| (blob.descriptor.digest().clone(), blob.descriptor.size())).collect();
        Survey { records, blobs, ..Survey::default() }
    }

    fn names(entries: &[Entry], ids: &[RecordId]) -> Vec<String> {
        let name = |id: &RecordId| {
            let entry = entries.iter().find(|entry| entry.record.id == *id).unwrap();
            entry.record.description.clone()
        };
        ids.iter().map(name).collect()
    }

    fn chosen(
        entries: &[Entry],
        options: &PruneOptions,
        keep: Option<u64>,
    ) -> (Vec<String>, Vec<String>, u64) {
        let selection = select(&survey(entries), entries, options, keep, 1000);
        (names(entries, &selection.delete), names(entries, &selection.lighten), selection.bytes)
    }

    #[test]
    fn the_oldest_goes_first_and_children_before_parents() {
        let base = record("base", None, 1);
        let old = record("old", Some(&base), 5);
        let young = record("young", Some(&base), 9);
        let entries = [base, old, young];
        let all = chosen(&entries, &PruneOptions::default(), None);
        assert_eq!(all, (vec!["old".into(), "young".into(), "base".into()], vec![], 30));
        let to_twenty = chosen(&entries, &PruneOptions::default(), Some(20));
        assert_eq!(to_twenty.0, ["old"], "no more than is needed");
        let to_thirty = chosen(&entries, &PruneOptions::default(), Some(30));
        assert_eq!(to_thirty, (vec![], vec![], 0), "what fits is left alone");
    }

    #[test]
    fn what_is_in_use_keeps_what_it_stands_on() {
        let base = record("base", None, 1);
        let mut child = record("child", Some(&base), 2);
        child.in_use = true;
        assert_eq!(chosen(&[base, child], &PruneOptions::default(), None).0, Vec::<String>::new());
    }

    #[test]
    fn a_named_layer_becomes_lazy_only_when_all_goes_and_it_can_be_had_again() {
        let mut named = record("named", None, 1);
        named.named = true;
        let mut made_here = record("made here", None, 1);
        (made_here.named, made_here.record.sources) = (true, Vec::new());
        let entries = [named, made_here];
        assert_eq!(chosen(&entries, &PruneOptions::default(), None), (vec![], vec![], 0));
        let all = PruneOptions { all: true, ..PruneOptions::default() };
        assert_eq!(chosen(&entries, &all, None), (vec![], vec!["named".into()], 10));
    }

    #[test]
    fn a_shared_blob_is_counted_with_its_last_owner() {
        let one = record("same", None, 1);
        let other = record("same", None, 2);
        let (_, _, bytes) = chosen(&[one, other], &PruneOptions::default(), None);
        assert_eq!(bytes, 10);
    }

    #[test]
    fn the_young_and_the_filtered_stay() {
        let entries = [record("old", None, 100), record("young", None, 999)];
        let older = PruneOptions { older_than: Some(Duration::from_millis(500)), ..PruneOptions::default() };
        assert_eq!(chosen(&entries, &older, None).0, ["old"]);
        let filters = vec![super::super::Filter::Description("young".into())];
        let filtered = PruneOptions { filters, ..PruneOptions::default() };
        assert_eq!(chosen(&entries, &filtered, None).0, ["young"]);
    }

    /// A long chain takes one pass, and no stack.
    #[test]
    fn a_chain_of_fifty_thousand_goes_in_one_pass() {
        let mut entries: Vec<Entry> = vec![record("0", None, 0)];
        for at in 1..50_000 {
            let next = record(&at.to_string(), entries.last(), at);
            entries.push(next);
        }
        let selection = select(&survey(&entries), &entries, &PruneOptions::default(), None, 100_000);
        assert_eq!(selection.delete.len(), 50_000);
        assert_eq!(selection.delete.last(), Some(&entries[0].record.id));
    }
}
