//! Keys of commands.

use super::exec_json;
use super::json::Object;
use super::{ContentSelector, DepKeys, OpKeys, dedupe, platform};
use crate::llb::paths;
use crate::llb::pb::{CacheSharingOpt, ExecOp, Mount, MountContentCache, MountType, Platform};

/// Whether what a mount's input contains makes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentUse {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It would have to, but cannot.
    Refused,
}

/// Whether what a mount's input contains makes a key. It cannot where a part of the input is written to and becomes an
/// output: the output has the rest of the input, too.
pub(crate) fn content_use(mount: &Mount) -> ContentUse {
    let safe = mount.output == -1 || mount.readonly || paths::rooted(&mount.selector) == "/";
    match mount.content_cache() {
        MountContentCache::Off => ContentUse::No,
        MountContentCache::On if safe => ContentUse::Yes,
        MountContentCache::On => ContentUse::Refused,
        // What stands at the root is the result of other commands as a rule, and nobody hashes a whole system for that.
        MountContentCache::Default if mount.dest == "/" || !safe => ContentUse::No,
        MountContentCache::Default => ContentUse::Yes,
    }
}

pub(super) fn keys(exec: &ExecOp, inputs: usize, platform: &Platform) -> OpKeys {
    let mut object = Object::new();
    object.always("Type", "buildkit.exec.v0");
    object.object("Exec", Some(&normal(exec)), exec_json::exec);
    platform::write(&mut object, platform);
    OpKeys { preimage: object.finish(), deps: deps(exec, inputs) }
}

/// The command without what its result does not depend on.
fn normal(exec: &ExecOp) -> ExecOp {
    let mut exec = exec.clone();
    if let Some(meta) = &mut exec.meta {
        meta.proxy_env = None;
        for host in &mut meta.extra_hosts {
            host.ip.clear();
        }
    }
    for mount in &mut exec.mounts {
        mount.selector.clear();
        let dest = mount.dest.clone();
        if let Some(cache) = &mut mount.cache_opt {
            let below = cache.id.split_once('/').map(|(_, below)| below);
            let default_id = cache.id == dest || below == Some(dest.as_str());
            if cache.sharing != i32::from(CacheSharingOpt::Shared) || !default_id {
                cache.id.clear();
                cache.sharing = 0;
            }
        }
    }
    if let [only] = exec.mounts.as_slice()
        && is_plain_root(only)
    {
        exec.mounts.clear();
    }
    exec
}

fn is_plain_root(mount: &Mount) -> bool {
    mount.dest == "/"
        && !mount.readonly
        && mount.mount_type == i32::from(MountType::Bind)
        && mount.cache_opt.is_none()
        && mount.ssh_opt.is_none()
        && mount.secret_opt.is_none()
        && mount.result_id.is_empty()
}

fn deps(exec: &ExecOp, inputs: usize) -> Vec<DepKeys> {
    let mut used: Vec<(Vec<String>, ContentUse)> = vec![(Vec::new(), ContentUse::No); inputs];
    for mount in &exec.mounts {
        if matches!(mount.mount_type(), MountType::Secret | MountType::Ssh | MountType::Tmpfs) {
            continue;
        }
        let Some((paths, content)) = usize::try_from(mount.input).ok().and_then(|input| used.get_mut(input))
        else {
            continue;
        };
        paths.push(paths::rooted(&mount.selector));
        *content = content_use(mount);
    }
    used.into_iter().map(|(paths, content)| dep(paths, content)).collect()
}

fn dep(paths: Vec<String>, content: ContentUse) -> DepKeys {
    if paths.is_empty() {
        return DepKeys::default();
    }
    let mut keys = DepKeys::reading(paths);
    if content == ContentUse::Yes {
        let paths = dedupe::dedupe(keys.paths.clone());
        keys.content = Some(if paths.iter().any(|path| path == "/") {
            vec![ContentSelector::whole()]
        } else {
            paths.into_iter().map(|path| ContentSelector::path(path, true)).collect()
        });
    }
    keys
}
