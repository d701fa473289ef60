//! Commands.

use crate::keys::{ContentUse, content_use};
use crate::llb::Fault;
use crate::llb::pb::{
    self, CacheSharingOpt, ExecOp, Mount, MountContentCache, MountType, NetMode, SecurityMode,
};

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
    if !exec.mounts.iter().any(|mount| mount.dest == "/") {
        return Err(Fault::Missing("mount at /"));
    }
    for one in &exec.mounts {
        mount(one, inputs)?;
    }
    // Secrets and sockets carry output 0, which is not meant.
    let kept =
        exec.mounts.iter().filter(|mount| matches!(mount.mount_type(), MountType::Bind | MountType::Cache));
    super::count_outputs(kept.map(|mount| mount.output))
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
