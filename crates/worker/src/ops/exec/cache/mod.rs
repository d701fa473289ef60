//! Trees that outlive the build.
//!
//! A cache is known by its id and, where it begins as a tree, by that. It is a pool of trees, since whoever wants one for
//! himself while another has it gets a new one, which stays for the next ones. Each tree is a mutable record that is retained
//! until it is pruned, found by rows of its own:
//!
//! ```text
//! exec-cache/<sha256 of id and what it begins as>/<record>    "ready", or "new" until it is filled
//! staging/cache-<sha256 of id>.lock                           whoever chooses, makes or fills a tree of this id
//! snapshots/active-<record>/                                  flocked by whoever uses the tree, fs/ is shown
//! ```
//!
//! **Who has it.** Everybody who has a tree of a shared cache holds a shared flock of its directory; who wants it alone,
//! private or locked, an exclusive one. That holds within a process and between processes, and goes with a process that is
//! killed. `shared` takes the first tree that nobody has alone, `private` the first that nobody has, and both make a new one
//! where there is none; `locked` waits for one, and makes none while there is any. A command takes its caches in the order of
//! their keys, so that two commands never wait for each other.
//!
//! **Nothing below.** A cache that begins as a tree is a copy of it and does not stand on it: so the tree of every cache is a
//! plain directory, which any number of processes may have at once (two overlayfs mounts of one upper directory are
//! undefined); and what it began as may be pruned, or become lazy again, without anything being lost or pulled. It is read
//! once, when the cache is made.
//!
//! A tree in use is pinned as records are, so that no prune takes it.

mod find;
mod index;
mod lease;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lazyblob_cache::{ImmutableRef, RecordId};
use lazyblob_remote::digest;
use lazyblob_remote::layout::flock::{self, PerKey};
use lazyblob_solver::{OpError, Progress};
use tokio::sync::Notify;

pub(super) use self::lease::Lease;

use self::find::Finder;
use super::mounts::Mounts;
use crate::llb::pb::{CacheSharingOpt, ExecOp, Mount, MountType};

/// Those of this process who wait for a cache, by what they wait for.
#[derive(Debug, Default)]
pub(crate) struct CacheMounts(PerKey<String, Notify>);

/// A cache that a command wants.
#[derive(Debug)]
struct Wanted {
    /// As the definition has it.
    id: String,
    /// What it is found by; the last one is always there.
    keys: Vec<String>,
    /// The strongest of those who mount it.
    sharing: CacheSharingOpt,
    /// What it begins as, and which input that is.
    seed: Option<(usize, ImmutableRef)>,
}

/// What [`Held`](super::cleanup::Held) has the cache of a mount by.
pub(super) fn key(mount: &Mount, seed: Option<(usize, &ImmutableRef)>) -> String {
    let id = mount.cache_opt.as_ref().map_or("", |opt| opt.id.as_str());
    hashed(&[id, seed.map(|(_, tree)| tree.id()).as_ref().map_or("", RecordId::as_str)])
}

fn keys(mount: &Mount, seed: Option<(usize, &ImmutableRef)>) -> Vec<String> {
    let id = mount.cache_opt.as_ref().map_or("", |opt| opt.id.as_str());
    // The same image is another record once it was pruned; what is no image yet may become part of one.
    let chain = seed.and_then(|(_, tree)| tree.chain());
    let by_chain = chain.map(|chain| hashed(&[id, &chain.to_string()]));
    by_chain.into_iter().chain([key(mount, seed)]).collect()
}

fn hashed(parts: &[&str]) -> String {
    digest::sha256(parts.join("\0").as_bytes()).digest().to_owned()
}

/// Takes all caches of a command, waiting for those that it wants locked.
pub(super) async fn lease_all(mounts: &mut Mounts<'_>, op: &ExecOp) -> Result<(), OpError> {
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    for mount in op.mounts.iter().filter(|mount| mount.mount_type() == MountType::Cache) {
        let seed = mounts.input(mount);
        let opt = mount.cache_opt.clone().unwrap_or_default();
        let wanted = all.entry(key(mount, seed)).or_insert_with(|| Wanted {
            id: opt.id.clone(),
            keys: keys(mount, seed),
            sharing: opt.sharing(),
            seed: seed.map(|(input, tree)| (input, tree.clone())),
        });
        // In the order of how much they keep others out.
        wanted.sharing = wanted.sharing.max(opt.sharing());
    }
    for (key, wanted) in all {
        let lease = lease(mounts, wanted).await?;
        mounts.held.caches.insert(key, lease);
    }
    Ok(())
}

async fn lease(mounts: &Mounts<'_>, wanted: Wanted) -> Result<Lease, OpError> {
    let (worker, cx) = (mounts.worker, mounts.cx);
    let released = worker.cache_mounts().0.of(&hashed(&[&wanted.id]));
    let part: Arc<str> = format!("cache mount {}", wanted.id).into();
    let was_told = AtomicBool::new(false);
    let tell = |done: bool| {
        let action = "waiting for another command that has it locked".into();
        cx.progress(Progress { id: Arc::clone(&part), action, current: 0, total: None, done });
    };
    let finder = Finder { manager: worker.manager(), access: worker.access(cx), cx, wanted, released };
    let wait = flock::wait(
        &finder.released,
        worker.manager().root().settings().poll,
        || finder.attempt(),
        |_| {
            was_told.store(true, Ordering::Relaxed);
            tell(false);
        },
    );
    let leased = cx.cancellation().run_until_cancelled(wait).await;
    if was_told.load(Ordering::Relaxed) {
        tell(true);
    }
    leased.ok_or(OpError::Cancelled)?
}
