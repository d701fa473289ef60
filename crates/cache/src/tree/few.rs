//! As few layers as overlayfs takes, and takes quickly.
//!
//! A stack that is higher than [`ENOUGH`] has runs of [`RUN`] small layers replaced, each by a snapshot that is [all of
//! them](crate::snapshot::squash), and if that is not enough runs of those, and so on: a chain of n layers has some
//! `log n` times n files linked for all the trees that it was on its way. Runs begin at the same layers whatever is on
//! top, so that the next layer's tree shares them.
//!
//! Such a snapshot is a cache. It is named after what it is made of, and no record refers to it: prune takes it unless
//! somebody has it pinned.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lazyblob_remote::digest;
use lazyblob_remote::progress::Silent;
use tokio_util::sync::CancellationToken;

use super::shown::SHOW;
use crate::ChainId;
use crate::blocking::blocking;
use crate::error::{Error, Result, What};
use crate::layer::Form;
use crate::manager::Manager;
use crate::mount::overlayfs::MAX_LAYERS;
use crate::root::{Pin, Pinned};
use crate::snapshot::{About, SnapshotKey, squash};

/// As few layers are mounted as they are.
const ENOUGH: usize = 64;
/// So many become one.
const RUN: usize = 32;
/// A layer of more files and directories is worth a mount of its own, as long as there are fewer than [`MOST`] in all.
const SMALL: u64 = 256;
/// Beside them there are an upper directory and layers of nothing.
const MOST: usize = MAX_LAYERS - 50;
/// How large the snapshots of so many keys are is remembered.
const REMEMBERED: usize = 100_000;

/// What is known of snapshots, which never change: how many files and directories they have.
#[derive(Debug, Default)]
pub(crate) struct Sizes(Mutex<HashMap<SnapshotKey, u64>>);

/// A stack that shows what another one does.
#[derive(Debug)]
pub(crate) struct Few {
    /// The bottom one first.
    pub(crate) stack: Vec<SnapshotKey>,
    /// What of it is only a cache stays until this goes.
    pub(crate) pins: Option<Pinned>,
}

/// Layers that are mounted as one.
type Part = Range<usize>;

impl Manager {
    /// A stack of not too many layers that shows what `stack`, the bottom one first, does, whose layers somebody pins.
    pub(crate) async fn few(&self, stack: Vec<SnapshotKey>, cancel: &CancellationToken) -> Result<Few> {
        if stack.len() <= ENOUGH || self.snapshots().form() != Form::Overlay {
            return Ok(Few { stack, pins: None });
        }
        let sizes = self.sizes(&stack).await?;
        // Named once: a name is a digest of all that it is made of.
        let parts: Vec<(&[SnapshotKey], Option<ChainId>)> = plan(&sizes)
            .into_iter()
            .filter_map(|part| stack.get(part))
            .map(|run| (run, (run.len() > 1).then(|| chain(run))))
            .collect();
        // Pinned first: what is there then stays.
        let pins: Vec<Pin> = parts.iter().filter_map(|(_, chain)| chain.clone().map(Pin::Chain)).collect();
        let pins = self.root().live().pin(&pins)?;
        let mut few = Vec::with_capacity(parts.len());
        for (run, chain) in parts {
            match chain {
                Some(chain) => {
                    let key = SnapshotKey::chain(&chain);
                    self.squashed(&key, run, cancel).await?;
                    few.push(key);
                }
                None => few.extend_from_slice(run),
            }
        }
        tracing::debug!(from = stack.len(), to = few.len(), "layers are mounted as fewer");
        Ok(Few { stack: few, pins: Some(pins) })
    }

    /// Sees to it that there is a snapshot of all of a run.
    async fn squashed(
        &self,
        key: &SnapshotKey,
        run: &[SnapshotKey],
        cancel: &CancellationToken,
    ) -> Result<()> {
        if self.is_snapshot(key).await? {
            return Ok(());
        }
        let claim = self.root().staging_locks().claim(&key.file_name(), &Silent, cancel).await?;
        // Whoever had it may have made it.
        if self.is_snapshot(key).await? {
            return Ok(());
        }
        let (snapshots, run, token) = (Arc::clone(self.snapshots()), run.to_vec(), cancel.clone());
        let name = key.clone();
        let make = move || {
            let roots = run.iter().map(|key| snapshots.directory(key)).collect::<Result<Vec<PathBuf>>>()?;
            let staged = snapshots.stage(&name)?;
            let usage = squash(&roots, staged.directory(), &token)?;
            Ok((staged, About { usage, ..About::default() }))
        };
        let (staged, about) = blocking(|| What::new(SHOW, key), make).await?;
        let synced = self.0.syncs.sync(self.snapshots(), &self.0.tasks, vec![staged]).await?;
        let snapshots = Arc::clone(self.snapshots());
        let publish = move || {
            for synced in synced {
                snapshots.publish(synced, about.clone())?;
            }
            drop(claim);
            Ok(())
        };
        blocking(|| What::new(SHOW, key), publish).await
    }

    async fn is_snapshot(&self, key: &SnapshotKey) -> Result<bool> {
        let (snapshots, key) = (Arc::clone(self.snapshots()), key.clone());
        let name = key.clone();
        blocking(move || What::new(SHOW, name), move || Ok(snapshots.info(&key)?.is_some())).await
    }

    /// How many files and directories each layer of a stack has.
    async fn sizes(&self, stack: &[SnapshotKey]) -> Result<Vec<u64>> {
        let known = |sizes: &HashMap<SnapshotKey, u64>| {
            let found = stack.iter().map(|key| sizes.get(key).copied());
            found.collect::<Option<Vec<u64>>>()
        };
        if let Some(sizes) = known(&self.0.sizes.lock()) {
            return Ok(sizes);
        }
        let (snapshots, own, stack) =
            (Arc::clone(self.snapshots()), Arc::clone(&self.0.sizes), stack.to_vec());
        let what = || What::new(SHOW, self.root().path().display());
        blocking(what, move || {
            let mut found = Vec::with_capacity(stack.len());
            for key in stack {
                let known = own.lock().get(&key).copied();
                let size = match known {
                    Some(size) => size,
                    None => {
                        let info = snapshots.info(&key)?;
                        info.ok_or_else(|| Error::not_found(SHOW, &key, "a snapshot"))?.usage.inodes
                    }
                };
                found.push(size);
                if known.is_none() {
                    own.remember(key, size);
                }
            }
            Ok(found)
        })
        .await
    }
}

/// Which layers are one, the bottom one first. Nothing but their sizes, from the bottom up, decides.
fn plan(sizes: &[u64]) -> Vec<Part> {
    let mut parts: Vec<Part> = (0..sizes.len()).map(|layer| layer..layer + 1).collect();
    let is_small = |part: &Part| part.len() > 1 || sizes.get(part.start).is_some_and(|size| *size <= SMALL);
    while parts.len() > ENOUGH {
        let joined = join(&parts, is_small);
        if joined.len() == parts.len() {
            break;
        }
        parts = joined;
    }
    while parts.len() > MOST {
        parts = join(&parts, |_| true);
    }
    parts
}

/// Joins runs of parts that `may` be joined, counted from the first of those that are next to each other.
fn join(parts: &[Part], may: impl Fn(&Part) -> bool) -> Vec<Part> {
    let mut joined = Vec::with_capacity(parts.len());
    for stretch in parts.chunk_by(|one, other| may(one) == may(other)) {
        let joins = stretch.first().is_some_and(&may);
        let runs = stretch.chunks(if joins { RUN } else { 1 });
        for run in runs {
            match (run.first(), run.last()) {
                (Some(first), Some(last)) if run.len() == RUN => joined.push(first.start..last.end),
                _ => joined.extend(run.iter().cloned()),
            }
        }
    }
    joined
}

/// Names what a run of snapshots is together.
fn chain(run: &[SnapshotKey]) -> ChainId {
    let names: Vec<&str> = run.iter().map(SnapshotKey::as_str).collect();
    ChainId::from_digest(digest::sha256(format!("lazyblob squash 1\n{}", names.join("\n")).as_bytes()))
}

impl Sizes {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SnapshotKey, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, key: SnapshotKey, size: u64) {
        let mut sizes = self.lock();
        if sizes.len() >= REMEMBERED {
            sizes.clear();
        }
        sizes.insert(key, size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_stacks_become_low_and_the_same_runs_are_shared() {
        for height in [1, 64, 65, 100, 500, 1000, 1024, 1055, 5000, 40_000] {
            let parts = plan(&vec![3; height]);
            assert!(parts.len() <= ENOUGH, "{height}: {}", parts.len());
            let whole: Vec<usize> = parts.iter().cloned().flatten().collect();
            assert_eq!(whole, (0..height).collect::<Vec<_>>(), "each once, in order");
        }
        assert_eq!(plan(&[3; 64]).len(), 64);
        let several = |height: usize| -> Vec<Part> {
            plan(&vec![3; height]).into_iter().filter(|part| part.len() > 1).collect()
        };
        let (low, high) = (several(1000), several(1001));
        assert_eq!(low, high);
        assert_eq!(low.len(), 31);
    }

    #[test]
    fn large_layers_stay_what_they_are_until_there_are_too_many() {
        let mut sizes = vec![3; 100];
        sizes[0] = 50_000;
        let parts = plan(&sizes);
        assert_eq!(parts[..3], [0..1, 1..33, 33..65]);
        assert_eq!(plan(&[50_000; 300]).len(), 300);
        assert!(plan(&[50_000; 499]).len() < MOST);
        assert!(plan(&[50_000; 100_000]).len() < MOST);
        // Every other one is large: none has a small one beside it.
        let mixed: Vec<u64> = (0..2000).map(|at| if at % 2 == 0 { 3 } else { 50_000 }).collect();
        assert!(plan(&mixed).len() < MOST);
    }
}
