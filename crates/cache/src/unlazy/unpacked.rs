//! Layers that are settled, and how a stack of them becomes visible.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::blocking::blocking;
use crate::error::{IoContext as _, Result, What};
use crate::manager::Manager;
use crate::root::Claim;
use crate::snapshot::{About, SnapshotKey, Staged};

/// A layer that is settled: its tree, and those of all below.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The bottom one first. As long as this lives, they do, and what of them has no name yet is not lost.
    pub(super) below: Vec<Arc<Unpacked>>,
    pub(super) key: SnapshotKey,
    pub(super) tree: Tree,
    /// Whether it is visible. Locked by whoever makes it so; several are locked in the order of their keys.
    pub(super) state: Mutex<State>,
}

/// The directory of one layer's diff. Opened, so that it is the same one before and after it gets its name.
#[derive(Debug)]
pub(super) struct Tree(File);

#[derive(Debug)]
pub(super) enum State {
    /// It has no name yet.
    Waiting(Box<Unpublished>),
    /// Somebody makes it visible; where nobody does any more, that has failed.
    Taken,
    Published,
}

/// A settled layer that has no name yet, and the right to make it.
#[derive(Debug)]
pub(super) struct Unpublished {
    pub(super) staged: Staged,
    pub(super) about: About,
    pub(super) claim: Claim,
}

impl Tree {
    pub(super) fn open(path: &Path, key: &SnapshotKey) -> Result<Self> {
        Ok(Self(File::open(path).during("open snapshot", key, path)?))
    }

    /// A path that stays good when the directory is renamed.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

impl Manager {
    /// Makes a layer and all below it visible, with one sync for all that are not: the bottom one first. Says whether they
    /// are; others may have failed to make one visible that they had taken.
    pub(super) async fn publish(&self, top: &Arc<Unpacked>) -> Result<bool> {
        let mut stack: Vec<&Arc<Unpacked>> = top.below.iter().chain([top]).collect();
        let order: HashMap<SnapshotKey, usize> =
            stack.iter().enumerate().map(|(at, layer)| (layer.key.clone(), at)).collect();
        // Stacks of merges may have the same layers in another order: who locks by key waits for nobody who waits for it.
        stack.sort_by(|one, other| one.key.cmp(&other.key));
        stack.dedup_by(|one, other| one.key == other.key);
        let mut taken = Vec::new();
        for layer in stack {
            let mut state = layer.state.lock().await;
            match std::mem::replace(&mut *state, State::Taken) {
                State::Waiting(unpublished) => taken.push((order.get(&layer.key), state, *unpublished)),
                State::Published => *state = State::Published,
                State::Taken => return Ok(false),
            }
        }
        if taken.is_empty() {
            return Ok(true);
        }
        taken.sort_by_key(|(at, ..)| *at);
        let (mut states, mut staged, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for (_, state, unpublished) in taken {
            states.push(state);
            staged.push(unpublished.staged);
            rest.push((unpublished.about, unpublished.claim));
        }
        let synced = self.0.syncs.sync(self.snapshots(), &self.0.tasks, staged).await?;
        let snapshots = Arc::clone(self.snapshots());
        let what = || What::new("publish snapshot", &top.key);
        blocking(what, move || {
            for (synced, (about, claim)) in synced.into_iter().zip(rest) {
                snapshots.publish(synced, about)?;
                // Only now may other processes look whether it is there.
                drop(claim);
            }
            Ok(())
        })
        .await?;
        for mut state in states {
            *state = State::Published;
        }
        Ok(true)
    }
}
