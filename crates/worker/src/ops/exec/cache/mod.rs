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
use crate::llb::pb::{CacheOpt, CacheSharingOpt, ExecOp, Mount, MountType};

/// Those of this process who wait for a cache, by what they wait for.
#[derive(Debug, Default)]
pub(crate) struct CacheMounts(PerKey<String, Notify>);

/// A cache that a command wants.
#[derive(Debug)]
struct Wanted {
    /// As the definition has it.
    id: String,
    /// What it is found by; there is one at least.
    keys: Vec<String>,
    /// The numbers of the mounts that are of it.
    mounts: Vec<usize>,
    /// The strongest of those who mount it.
    sharing: CacheSharingOpt,
    /// What it begins as, and which input that is.
    seed: Option<(usize, ImmutableRef)>,
}

/// Whether a command wants a cache for which it may have to wait.
pub(super) fn is_waited_for(op: &ExecOp) -> bool {
    let is_locked = |mount: &Mount| {
        mount.mount_type() == MountType::Cache
            && mount.cache_opt.as_ref().is_some_and(|opt| opt.sharing() == CacheSharingOpt::Locked)
    };
    op.mounts.iter().any(is_locked)
}

/// Whether others may have the cache of a mount at the same time.
pub(super) fn is_shared(opt: &CacheOpt) -> bool {
    opt.sharing() == CacheSharingOpt::Shared
}

/// What the cache of a mount is found by, the best first.
fn keys(id: &str, seed: Option<(usize, &ImmutableRef)>) -> Vec<String> {
    // The same image is another record once it was pruned; what is no image yet may become part of one.
    let chain = seed.and_then(|(_, tree)| tree.chain());
    let by_chain = chain.map(|chain| hashed(&[id, &chain.to_string()]));
    let by_record = hashed(&[id, seed.map(|(_, tree)| tree.id()).as_ref().map_or("", RecordId::as_str)]);
    by_chain.into_iter().chain([by_record]).collect()
}

fn hashed(parts: &[&str]) -> String {
    digest::sha256(parts.join("\0").as_bytes()).digest().to_owned()
}

/// Takes all caches of a command, waiting for those that it wants locked.
pub(super) async fn lease_all(mounts: &mut Mounts<'_>, op: &ExecOp) -> Result<(), OpError> {
    let mut all: Vec<Wanted> = Vec::new();
    for (number, mount) in op.mounts.iter().enumerate() {
        if mount.mount_type() != MountType::Cache {
            continue;
        }
        let seed = mounts.input(mount);
        let opt = mount.cache_opt.clone().unwrap_or_default();
        all.push(Wanted {
            keys: keys(&opt.id, seed),
            sharing: opt.sharing(),
            seed: seed.map(|(input, tree)| (input, tree.clone())),
            id: opt.id,
            mounts: vec![number],
        });
    }
    for wanted in grouped(all) {
        let numbers = wanted.mounts.clone();
        let lease = Arc::new(lease(mounts, wanted).await?);
        mounts.held.caches.extend(numbers.into_iter().map(|number| (number, Arc::clone(&lease))));
    }
    Ok(())
}

/// Each cache once, however many mounts are of it, in an order that is the same for all commands. Two that have a key in
/// common are one: they would be found by that, and who waited for the second would wait for itself.
fn grouped(all: Vec<Wanted>) -> Vec<Wanted> {
    let mut groups: Vec<Wanted> = Vec::new();
    for mut wanted in all {
        let is_same = |group: &mut Wanted| group.keys.iter().any(|key| wanted.keys.contains(key));
        let same: Vec<Wanted> = groups.extract_if(.., is_same).collect();
        for group in same.into_iter().rev() {
            let keys = wanted.keys.into_iter().filter(|key| !group.keys.contains(key));
            wanted = Wanted {
                keys: group.keys.iter().cloned().chain(keys).collect(),
                mounts: group.mounts.into_iter().chain(wanted.mounts).collect(),
                // In the order of how much they keep others out.
                sharing: wanted.sharing.max(group.sharing),
                ..group
            };
        }
        groups.push(wanted);
    }
    groups.sort_by(|one, other| one.keys.cmp(&other.keys));
    groups
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(number: usize, keys: &[&str], sharing: CacheSharingOpt) -> Wanted {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Wanted { id: "id".to_owned(), keys, mounts: vec![number], sharing, seed: None }
    }

    #[test]
    fn two_records_of_one_chain_are_one_cache() {
        use CacheSharingOpt::{Locked, Private, Shared};
        let all = vec![
            wanted(0, &["z"], Shared),
            wanted(1, &["chain", "one"], Shared),
            wanted(2, &["chain", "two"], Locked),
            wanted(4, &["two"], Shared),
            wanted(5, &["other"], Private),
        ];
        let groups = grouped(all);
        let found: Vec<(&[usize], usize, CacheSharingOpt)> =
            groups.iter().map(|group| (&*group.mounts, group.keys.len(), group.sharing)).collect();
        assert_eq!(found, [(&[1, 2, 4][..], 3, Locked), (&[5], 1, Private), (&[0], 1, Shared)]);
    }

    /// Two that have nothing in common until a third comes are one then.
    #[test]
    fn a_mount_that_is_of_two_caches_makes_them_one() {
        let keys = [&["one"][..], &["two"], &["one", "two"]];
        let all = keys.iter().enumerate().map(|(at, keys)| wanted(at, keys, CacheSharingOpt::Locked));
        let groups = grouped(all.collect());
        let [group] = &*groups else { panic!("{groups:?}") };
        assert_eq!((group.mounts.as_slice(), group.keys.len()), (&[0, 1, 2][..], 2));
    }
}
