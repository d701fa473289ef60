//! Commands.

use crate::keys::{ContentUse, content_use};
use crate::llb::pb::{
    self, CacheSharingOpt, ExecOp, Meta, Mount, MountContentCache, MountType, NetMode, SecurityMode,
};
use crate::llb::{Fault, paths};

pub(super) fn outputs(exec: &ExecOp, inputs: usize) -> Result<usize, Fault> {
    let meta = exec.meta.as_ref().ok_or(Fault::Missing("command"))?;
    if meta.args.is_empty() {
        return Err(Fault::Missing("arguments of the command"));
    }
    let strings = meta.args.iter().chain(&meta.env).chain([&meta.user, &meta.hostname]);
    if strings.into_iter().any(|text| text.contains('\0')) {
        return Err(Fault::Path { what: "command", reason: "a NUL in an argument, variable or name" });
    }
    super::path("working directory", &meta.cwd)?;
    super::known::<NetMode>("network", exec.network)?;
    super::known::<SecurityMode>("security mode", exec.security)?;
    root(exec)?;
    surroundings(exec, meta)?;
    for one in &exec.mounts {
        mount(one, inputs)?;
    }
    // All others carry output 0, which is not meant.
    let kept = exec.mounts.iter().filter(|mount| mount.mount_type() == MountType::Bind);
    super::count_outputs(kept.map(|mount| mount.output))
}

/// A command runs in one tree.
fn root(exec: &ExecOp) -> Result<(), Fault> {
    let mut roots = exec.mounts.iter().filter(|mount| mount.dest == "/");
    let root = roots.next().ok_or(Fault::Missing("mount at /"))?;
    if roots.next().is_some() || exec.mounts.iter().any(|mount| mount.dest != "/" && is_at_root(mount)) {
        return Err(Fault::Conflict("two mounts at /".to_owned()));
    }
    match root.mount_type() {
        MountType::Bind | MountType::Cache => Ok(()),
        MountType::Secret | MountType::Ssh | MountType::Tmpfs => {
            Err(Fault::Conflict("the mount at / is no tree".to_owned()))
        }
    }
}

fn is_at_root(mount: &Mount) -> bool {
    mount.dest.starts_with('/') && paths::rooted(&mount.dest) == "/"
}

fn surroundings(exec: &ExecOp, meta: &Meta) -> Result<(), Fault> {
    super::path("cgroup", &meta.cgroup_parent)?;
    for limit in &meta.ulimit {
        // Below 0 is without end.
        if limit.hard >= 0 && (limit.soft < 0 || limit.soft > limit.hard) {
            let pb::Ulimit { name, soft, hard } = limit;
            let reason = format!("limit {name}: the soft one, {soft}, is above the hard one, {hard}");
            return Err(Fault::Conflict(reason));
        }
    }
    for secret in &exec.secretenv {
        if secret.name.is_empty() || secret.name.contains(['=', '\0']) {
            let reason = format!("secret {}: {:?} is no name of a variable", secret.id, secret.name);
            return Err(Fault::Conflict(reason));
        }
    }
    Ok(())
}

fn mount(mount: &Mount, inputs: usize) -> Result<(), Fault> {
    super::path("mount point", &mount.dest)?;
    super::path("mounted path", &mount.selector)?;
    if mount.dest.is_empty() {
        return Err(Fault::Missing("mount point"));
    }
    let input = super::number("input of the mount", mount.input, inputs)?;
    super::known::<MountContentCache>("content key mode", mount.content_cache)?;
    match super::known("mount type", mount.mount_type)? {
        MountType::Bind => {}
        MountType::Cache => {
            let cache = mount.cache_opt.as_ref().ok_or(Fault::Missing("settings of the cache mount"))?;
            super::known::<CacheSharingOpt>("sharing of the cache", cache.sharing)?;
            if mount.output != -1 {
                let reason =
                    format!("the cache at {} is output {}: caches are none", mount.dest, mount.output);
                return Err(Fault::Conflict(reason));
            }
        }
        MountType::Secret => {
            mount.secret_opt.as_ref().ok_or(Fault::Missing("settings of the secret mount"))?;
        }
        MountType::Ssh => {
            mount.ssh_opt.as_ref().ok_or(Fault::Missing("settings of the agent's socket"))?;
        }
        MountType::Tmpfs => {
            if let Some(pb::TmpfsOpt { size: value @ ..0 }) = mount.tmpfs_opt {
                return Err(Fault::UnknownValue { what: "size of the tmpfs", value });
            }
        }
    }
    if input.is_some() && content_use(mount) == ContentUse::Refused {
        return Err(Fault::ContentCache(mount.dest.clone()));
    }
    Ok(())
}
