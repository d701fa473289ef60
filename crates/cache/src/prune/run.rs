//! Removing what was selected, and what nobody refers to.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use oci_spec::image::Digest;
use tokio_util::sync::CancellationToken;

use super::forecast::{forecast, is_free};
use super::options::PruneOptions;
use super::select::{Selection, select};
use super::survey::Survey;
use super::usage::Entry;
use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result, What};
use crate::image::Origins;
use crate::manager::Manager;
use crate::metadata::Transaction;
use crate::record::{Record, RecordId, Rows, now};
use crate::root::Pin;
use crate::snapshot::{SnapshotKey, measure_any};

/// So much is done in one turn of the database: others come in between.
const TURN: usize = 256;
/// Names that change again and again while it is looked at what they stand for: somebody is busy, and the next prune will
/// find what this one leaves.
const LOOKS: usize = 5;

/// What has gone.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// Records that are gone, with what they took.
    pub records: Vec<Entry>,
    /// Records that have become lazy.
    pub lightened: Vec<Entry>,
    /// Blobs removed.
    pub blobs: u64,
    /// Snapshots removed, and trees of dead makers.
    pub snapshots: u64,
    /// Unfinished blobs removed.
    pub partials: u64,
    /// Bytes of all that, each counted once.
    pub bytes: u64,
    /// Bytes of what had been removed before, by whomever, and waited to be deleted: they are freed as well.
    pub trash: u64,
}

impl Manager {
    /// Removes what `options` say, and whatever nobody refers to: blobs, snapshots, unfinished blobs and trees that nobody
    /// works on. Nothing that a living process, a name or a mount needs is removed.
    ///
    /// # Errors
    /// [`Error::Metadata`], [`Error::Io`]; [`Error::Cancelled`] between two
    /// turns: what is gone is gone.
    pub async fn prune(&self, options: &PruneOptions, cancel: &CancellationToken) -> Result<Pruned> {
        let survey = Survey::of(self).await?;
        let entries = survey.entries();
        let keep = options.space.keep(survey.total(), self.free().await?);
        let selection = select(&survey, &entries, options, keep, now());
        let by_id: HashMap<&RecordId, &Entry> =
            entries.iter().map(|entry| (&entry.record.id, entry)).collect();
        let entry_of = |id: &RecordId| by_id.get(id).map(|entry| (*entry).clone());
        if options.dry_run {
            let forecast = forecast(self, &survey, &selection, options).await?;
            let records = selection.delete.iter().filter_map(entry_of).collect();
            let lightened = forecast.lightened.iter().filter_map(entry_of).collect();
            return Ok(Pruned { records, lightened, ..forecast.pruned });
        }
        // First of all, so that what others have removed is not taken for what is removed now.
        let before = self.root().trash().empty(None, cancel).await?;
        let run = Run { manager: self, cancel };
        let Selection { delete, lighten, .. } = selection;
        let deleted = run.delete(delete).await?;
        let lightened = run.lighten(lighten).await?;
        let mut pruned = Pruned {
            records: deleted.iter().filter_map(entry_of).collect(),
            lightened: lightened.ids.iter().filter_map(entry_of).collect(),
            trash: before.bytes,
            ..lightened.pruned
        };
        run.sweep(&mut pruned).await?;
        if options.filters.is_empty() {
            run.partials(options.older_than, &mut pruned).await?;
            run.staging(&mut pruned).await?;
        }
        let swept = self.root().trash().empty(None, cancel).await?;
        for left in swept.left {
            tracing::warn!(path = %left.path.display(), error = %left.cause, "this could not be deleted");
        }
        Ok(pruned)
    }

    /// Bytes that are free on the root's disk.
    async fn free(&self) -> Result<u64> {
        let path = self.root().path().to_owned();
        blocking(|| What::new("look at disk", path.display()), {
            let path = path.clone();
            move || {
                let disk = rustix::fs::statvfs(&path).map_err(Into::into).during(
                    "look at disk",
                    path.display(),
                    &path,
                )?;
                Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
            }
        })
        .await
    }
}

/// What is not to be touched at this moment.
struct Needed {
    /// By living processes.
    pins: HashSet<Pin>,
    /// By mounts.
    mounted: BTreeSet<SnapshotKey>,
}

impl Needed {
    fn has_record(&self, id: &RecordId) -> bool {
        self.pins.contains(&Pin::Record(id.as_str().into()))
    }

    fn has_blob(&self, digest: &Digest) -> bool {
        self.pins.contains(&Pin::Blob(digest.clone()))
    }

    /// Whether none of these records is in use, and all of them know where to get their blob again.
    fn spares(&self, rows: &Transaction<'_>, owners: Vec<RecordId>) -> Result<bool> {
        for id in owners {
            let record: Option<Record> = match Rows::get(rows, &id) {
                // Nobody knows whether it can be had again.
                Err(Error::Metadata { .. }) if Rows::has(rows, &id)? => return Ok(false),
                record => record?,
            };
            if self.has_record(&id) || record.is_some_and(|record| record.sources.is_empty()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

struct Run<'a> {
    manager: &'a Manager,
    cancel: &'a CancellationToken,
}

#[derive(Default)]
struct Lightened {
    ids: Vec<RecordId>,
    pruned: Pruned,
}

impl Run<'_> {
    /// Runs `turn` on parts of `all`, with what is needed at that moment.
    async fn turns<T, R>(
        &self,
        all: Vec<T>,
        turn: impl Fn(&mut Transaction<'_>, &Needed, T) -> Result<Option<R>> + Clone + Send + 'static,
    ) -> Result<Vec<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let mut done = Vec::new();
        let mut all = all.into_iter().peekable();
        while all.peek().is_some() {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled {
                    what: What::new("prune", self.manager.root().path().display()),
                });
            }
            let part: Vec<T> = all.by_ref().take(TURN).collect();
            let (live, turn) = (Arc::clone(self.manager.root().live()), turn.clone());
            let mounter = Arc::clone(self.manager.mounter());
            let work = move |rows: &mut Transaction<'_>| {
                // Pins first: what is pinned until it is mounted is seen as one of the two.
                let pins = live.pinned()?;
                let needed = Needed { pins, mounted: mounter.pinned()? };
                let mut done = Vec::new();
                for each in part {
                    done.extend(turn(rows, &needed, each)?);
                }
                Ok(done)
            };
            done.extend(self.manager.write(work).await?);
        }
        Ok(done)
    }

    async fn delete(&self, ids: Vec<RecordId>) -> Result<Vec<RecordId>> {
        let table = Arc::clone(&self.manager.0.table);
        self.turns(ids, move |rows, needed, id| {
            let taken = needed.has_record(&id) || table.get(&id).is_some();
            // Whoever stands on it came after it was looked at.
            if taken || !Rows::children(rows, &id)?.is_empty() {
                return Ok(None);
            }
            let Some(record) = Rows::get(rows, &id)? else { return Ok(None) };
            if record.snapshot.as_ref().is_some_and(|key| needed.mounted.contains(key)) {
                return Ok(None);
            }
            // What was committed of it and is still there has no tree but this one.
            if let Some(twin) = record.twin.as_ref().filter(|_| record.mutable)
                && Rows::has(rows, twin)?
            {
                return Ok(None);
            }
            Rows::delete(rows, &record);
            Ok(Some(id))
        })
        .await
    }

    /// Removes the bytes of records that stay.
    async fn lighten(&self, ids: Vec<RecordId>) -> Result<Lightened> {
        let (store, snapshots) = (self.manager.store().clone(), Arc::clone(self.manager.snapshots()));
        let removed = self
            .turns(ids, move |rows, needed, id| {
                let Some(record) = Rows::get(rows, &id)? else { return Ok(None) };
                let (mut blobs, mut trees, mut bytes) = (0, 0, 0);
                if let Some(blob) = &record.blob {
                    let digest = blob.descriptor.digest();
                    let owners = Rows::of_blob(rows, digest.as_ref())?;
                    if needed.spares(rows, owners)?
                        && !needed.has_blob(digest)
                        && store.remove(digest)?.is_some()
                    {
                        blobs += 1;
                        bytes += blob.descriptor.size();
                    }
                }
                if let Some(key) = &record.snapshot {
                    let owners = Rows::of_snapshot(rows, key.as_str())?;
                    if needed.spares(rows, owners)?
                        && !needed.mounted.contains(key)
                        && let Some(info) = snapshots.info(key)?
                    {
                        snapshots.remove(key)?;
                        trees += 1;
                        bytes += info.usage.bytes;
                    }
                }
                Ok((blobs + trees > 0).then_some((id, blobs, trees, bytes)))
            })
            .await?;
        let mut lightened = Lightened::default();
        for (id, blobs, snapshots, bytes) in removed {
            lightened.ids.push(id);
            lightened.pruned.blobs += blobs;
            lightened.pruned.snapshots += snapshots;
            lightened.pruned.bytes += bytes;
        }
        Ok(lightened)
    }

    /// Removes files that nobody refers to.
    async fn sweep(&self, pruned: &mut Pruned) -> Result<()> {
        for _ in 0..LOOKS {
            let index = self.manager.root().store().root().join("index.json");
            let before = read_index(&index)?;
            let survey = Survey::of(self.manager).await?;
            let unnamed = |digest: &&Digest| {
                !survey.named.blobs.contains(digest) && !survey.named.layers.contains(digest)
            };
            let blobs: Vec<Digest> = survey.blobs.keys().filter(unnamed).cloned().collect();
            let (store, path, seen) = (self.manager.store().clone(), index.clone(), before.clone());
            let removed = self
                .turns(blobs, move |rows, needed, digest| {
                    // Pins were read before: what is not pinned any more has its name by now, and the index is another.
                    if needed.has_blob(&digest)
                        || !Rows::of_blob(rows, digest.as_ref())?.is_empty()
                        || read_index(&path)? != seen
                    {
                        return Ok(None);
                    }
                    Origins::forget(rows, &digest);
                    Ok(store.remove(&digest)?.map(|_| digest))
                })
                .await?;
            pruned.blobs += u64::try_from(removed.len()).unwrap_or_default();
            pruned.bytes += removed.iter().filter_map(|digest| survey.blobs.get(digest)).sum::<u64>();
            let snapshots = Arc::clone(self.manager.snapshots());
            let keys: Vec<SnapshotKey> = survey.snapshots.keys().cloned().collect();
            let removed = self
                .turns(keys, move |rows, needed, key| {
                    let chain = key.as_chain().map(Pin::Chain);
                    if !Rows::of_snapshot(rows, key.as_str())?.is_empty()
                        || needed.mounted.contains(&key)
                        || chain.is_some_and(|pin| needed.pins.contains(&pin))
                    {
                        return Ok(None);
                    }
                    snapshots.remove(&key).map(|()| Some(key))
                })
                .await?;
            pruned.snapshots += u64::try_from(removed.len()).unwrap_or_default();
            let freed = removed.iter().filter_map(|key| survey.snapshots.get(key));
            pruned.bytes += freed.map(|usage| usage.bytes).sum::<u64>();
            self.actives(&survey, pruned).await?;
            if read_index(&index)? == before {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes trees that were to be changed, and whose record is gone.
    async fn actives(&self, survey: &Survey, pruned: &mut Pruned) -> Result<()> {
        let actives: Vec<SnapshotKey> = survey.actives.keys().cloned().collect();
        let snapshots = Arc::clone(self.manager.snapshots());
        let removed = self
            .turns(actives, move |rows, needed, key| {
                let id = RecordId::parse(key.as_str())?;
                if Rows::has(rows, &id)? || needed.has_record(&id) || needed.mounted.contains(&key) {
                    return Ok(None);
                }
                snapshots.remove_active(&key).map(|()| Some(key))
            })
            .await?;
        let freed = removed.iter().filter_map(|key| survey.actives.get(key));
        pruned.bytes += freed.map(|usage| usage.bytes).sum::<u64>();
        pruned.snapshots += u64::try_from(removed.len()).unwrap_or_default();
        Ok(())
    }

    async fn partials(&self, older_than: Option<Duration>, pruned: &mut Pruned) -> Result<()> {
        let ingests = self.manager.store().ingests();
        for partial in ingests.list().await? {
            if !is_free(&partial, older_than) {
                continue;
            }
            match ingests.abort(&partial.digest).await {
                Ok(()) => {
                    pruned.partials += 1;
                    pruned.bytes += partial.offset;
                }
                Err(error) => tracing::debug!(%error, "somebody goes on with it after all"),
            }
        }
        Ok(())
    }

    /// Removes what dead makers have left.
    async fn staging(&self, pruned: &mut Pruned) -> Result<()> {
        let (locks, trash) =
            (self.manager.root().staging_locks().clone(), self.manager.root().trash().clone());
        let what = || What::new("clear staging", self.manager.root().path().display());
        let (removed, bytes) = blocking(what, move || {
            let bytes: u64 = locks.left()?.iter().map(|path| measure_any(path)).sum();
            Ok((locks.sweep(&trash)?, bytes))
        })
        .await?;
        pruned.bytes += bytes;
        pruned.snapshots += u64::try_from(removed).unwrap_or_default();
        Ok(())
    }
}

fn read_index(path: &std::path::Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.during("read index.json", path.display(), path),
    }
}
