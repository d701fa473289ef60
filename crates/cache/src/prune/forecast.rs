//! What a prune would remove, by the rules of the one that does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lazyblob_remote::layout::Partial;
use oci_spec::image::Digest;

use super::options::PruneOptions;
use super::run::Pruned;
use super::select::Selection;
use super::survey::Survey;
use crate::blocking::blocking;
use crate::error::{Result, What};
use crate::manager::Manager;
use crate::record::{Record, RecordId, Rows};
use crate::root::Pin;
use crate::snapshot::{SnapshotKey, measure_any};

/// So many are looked at in one turn.
const TURN: usize = 256;

/// What would go.
#[derive(Default)]
pub(super) struct Forecast {
    /// Records that would become lazy.
    pub(super) lightened: Vec<RecordId>,
    /// The counts, without records.
    pub(super) pruned: Pruned,
}

/// Says what would go with `selection`, and of what nobody refers to.
pub(super) async fn forecast(
    manager: &Manager,
    survey: &Survey,
    selection: &Selection,
    options: &PruneOptions,
) -> Result<Forecast> {
    let after = After { survey, deleted: selection.delete.iter().collect() };
    let mut forecast = Forecast::default();
    let (mut blobs, mut trees) = (HashSet::new(), HashSet::new());
    for id in &selection.lighten {
        let Some(record) = survey.records.get(id) else { continue };
        let blob = record.blob.as_ref().map(|blob| blob.descriptor.digest());
        let blob = blob.filter(|digest| after.spares_blob(digest)).cloned();
        let tree = record.snapshot.clone().filter(|key| after.spares_tree(key));
        let new_blob = blob.is_some_and(|digest| blobs.insert(digest));
        let new_tree = tree.is_some_and(|key| trees.insert(key));
        if new_blob || new_tree {
            forecast.lightened.push(id.clone());
        }
    }
    let orphans: Vec<Digest> =
        survey.blobs.keys().filter(|digest| after.is_orphan(digest)).cloned().collect();
    let deleted: Arc<HashSet<RecordId>> = Arc::new(selection.delete.iter().cloned().collect());
    // Rows that cannot be read refer to something as well.
    blobs.extend(
        unowned(manager, orphans, &deleted, |view, digest| Rows::of_blob(view, digest.as_ref())).await?,
    );
    let left: Vec<SnapshotKey> = survey.snapshots.keys().filter(|key| after.is_left(key)).cloned().collect();
    trees.extend(unowned(manager, left, &deleted, |view, key| Rows::of_snapshot(view, key.as_str())).await?);
    let actives = survey.actives.keys().filter(|key| after.is_abandoned(key));
    let actives: Vec<SnapshotKey> = actives.cloned().collect();
    let mut abandoned = Vec::new();
    for key in actives {
        let Ok(id) = RecordId::parse(key.as_str()) else { continue };
        let is_deleted = deleted.contains(&id);
        if is_deleted || !manager.read(move |view| Rows::has(view, &id)).await? {
            abandoned.push(key);
        }
    }
    let pruned = &mut forecast.pruned;
    pruned.blobs = count(blobs.len());
    pruned.snapshots = count(trees.len() + abandoned.len());
    pruned.bytes = blobs.iter().filter_map(|digest| survey.blobs.get(digest)).sum::<u64>();
    let of_trees = trees.iter().filter_map(|key| survey.snapshots.get(key));
    let of_actives = abandoned.iter().filter_map(|key| survey.actives.get(key));
    pruned.bytes += of_trees.chain(of_actives).map(|usage| usage.bytes).sum::<u64>();
    pruned.trash = survey.trash;
    if options.filters.is_empty() {
        let partials = survey.partials.iter().filter(|partial| is_free(partial, options.older_than));
        for partial in partials {
            pruned.partials += 1;
            pruned.bytes += partial.offset;
        }
        let locks = manager.root().staging_locks().clone();
        let what = || What::new("look at staging", manager.root().path().display());
        let left = blocking(what, move || {
            let left = locks.left()?;
            Ok((left.len(), left.iter().map(|path| measure_any(path)).sum::<u64>()))
        });
        let (trees, bytes) = left.await?;
        pruned.snapshots += count(trees);
        pruned.bytes += bytes;
    }
    Ok(forecast)
}

/// Whether nobody works on an unfinished blob, and it is old enough.
pub(super) fn is_free(partial: &Partial, older_than: Option<Duration>) -> bool {
    let age = SystemTime::now().duration_since(partial.updated).unwrap_or_default();
    !partial.in_use && older_than.is_none_or(|limit| age >= limit)
}

/// Those of `all` that no row but of what is deleted refers to.
async fn unowned<T: Clone + Send + 'static>(
    manager: &Manager,
    all: Vec<T>,
    deleted: &Arc<HashSet<RecordId>>,
    owners: fn(&dyn crate::metadata::Read, &T) -> Result<Vec<RecordId>>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    let mut all = all.into_iter().peekable();
    while all.peek().is_some() {
        let (part, deleted): (Vec<T>, _) = (all.by_ref().take(TURN).collect(), Arc::clone(deleted));
        let unowned = manager.read(move |view| {
            let mut unowned = Vec::new();
            for each in part {
                if owners(view, &each)?.iter().all(|owner| deleted.contains(owner)) {
                    unowned.push(each);
                }
            }
            Ok(unowned)
        });
        found.extend(unowned.await?);
    }
    Ok(found)
}

/// What there is when the selected records are gone.
struct After<'a> {
    survey: &'a Survey,
    deleted: HashSet<&'a RecordId>,
}

impl After<'_> {
    fn is_pinned(&self, record: &Record) -> bool {
        self.survey.pins.contains(&Pin::Record(record.id.as_str().into()))
    }

    fn remaining(&self) -> impl Iterator<Item = &Record> {
        self.survey.records.values().filter(|record| !self.deleted.contains(&record.id))
    }

    fn spares<'r>(&self, mut owners: impl Iterator<Item = &'r Record>) -> bool {
        owners.all(|owner| !self.is_pinned(owner) && !owner.sources.is_empty())
    }

    /// Whether what stays can do without a blob that is here.
    fn spares_blob(&self, digest: &Digest) -> bool {
        let has =
            |record: &&Record| record.blob.as_ref().is_some_and(|blob| blob.descriptor.digest() == digest);
        self.survey.blobs.contains_key(digest)
            && !self.survey.pins.contains(&Pin::Blob(digest.clone()))
            && self.spares(self.remaining().filter(has))
    }

    /// The same of a tree.
    fn spares_tree(&self, key: &SnapshotKey) -> bool {
        self.survey.snapshots.contains_key(key)
            && !self.survey.mounted.contains(key)
            && self.spares(self.remaining().filter(|record| record.snapshot.as_ref() == Some(key)))
    }

    fn is_orphan(&self, digest: &Digest) -> bool {
        let named = &self.survey.named;
        !named.blobs.contains(digest)
            && !named.layers.contains(digest)
            && !self.survey.pins.contains(&Pin::Blob(digest.clone()))
    }

    fn is_left(&self, key: &SnapshotKey) -> bool {
        let is_pinned = key.as_chain().is_some_and(|chain| self.survey.pins.contains(&Pin::Chain(chain)));
        !is_pinned && !self.survey.mounted.contains(key)
    }

    fn is_abandoned(&self, key: &SnapshotKey) -> bool {
        let is_pinned = self.survey.pins.contains(&Pin::Record(key.as_str().into()));
        !is_pinned && !self.survey.mounted.contains(key)
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
