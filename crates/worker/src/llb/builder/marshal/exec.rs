//! A command.

use super::Inputs;
use crate::llb::builder::exec::Command;
use crate::llb::builder::mount::{Mount, What};
use crate::llb::pb;

/// The environment variable by which programs find their agent.
const SSH_SOCKET: &str = "SSH_AUTH_SOCK";

pub(super) fn op(command: &Command, inputs: &Inputs, caps: &mut Vec<&'static str>) -> pb::ExecOp {
    let around = &command.around;
    caps.push("exec.meta.base");
    for (cap, needed) in [
        ("exec.meta.network", command.network != pb::NetMode::Unset),
        ("exec.meta.security", command.security != pb::SecurityMode::Sandbox),
        ("exec.meta.ulimit", !command.ulimits.is_empty()),
        ("exec.meta.cgroup.parent", !command.cgroup_parent.is_empty()),
        ("exec.validexitcode", !command.valid_exit_codes.is_empty()),
        ("exec.secretenv", !command.secret_env.is_empty()),
        ("exec.mount.secret", !command.secrets.is_empty()),
        ("exec.mount.ssh", !command.ssh.is_empty()),
    ] {
        if needed {
            caps.push(cap);
        }
    }
    let mut mounts = Vec::new();
    let mut outputs = 0_i64;
    for (dest, one) in &command.mounts {
        let output = if one.is_output() {
            outputs += 1;
            outputs - 1
        } else {
            -1
        };
        mounts.push(mount(dest, one, inputs.number(one.source.as_ref()), output, caps));
    }
    for (dest, secret) in &command.secrets {
        let (id, optional) = (secret.id.clone(), secret.optional);
        let (uid, gid, mode) = (secret.uid, secret.gid, secret.mode);
        mounts.push(pb::Mount {
            input: -1,
            dest: dest.clone(),
            mount_type: pb::MountType::Secret.into(),
            secret_opt: Some(pb::SecretOpt { id, uid, gid, mode, optional }),
            ..pb::Mount::default()
        });
    }
    let mut env = around.env.clone();
    for (at, ssh) in command.ssh.iter().enumerate() {
        let dest = ssh.dest.clone().unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{at}"));
        if !env.iter().any(|(key, _)| key == SSH_SOCKET) {
            env.push((SSH_SOCKET.to_owned(), dest.clone()));
        }
        let (id, optional) = (ssh.id.clone(), ssh.optional);
        let (uid, gid, mode) = (ssh.uid, ssh.gid, ssh.mode);
        mounts.push(pb::Mount {
            input: -1,
            dest,
            mount_type: pb::MountType::Ssh.into(),
            ssh_opt: Some(pb::SshOpt { id, uid, gid, mode, optional }),
            ..pb::Mount::default()
        });
    }
    let meta = pb::Meta {
        args: command.args.clone(),
        env: env.into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
        cwd: around.cwd().to_owned(),
        user: around.user.clone(),
        extra_hosts: command.extra_hosts.clone(),
        hostname: command.hostname.clone(),
        ulimit: command.ulimits.clone(),
        cgroup_parent: command.cgroup_parent.clone(),
        remove_mount_stubs_recursive: true,
        valid_exit_codes: command.valid_exit_codes.clone(),
        ..pb::Meta::default()
    };
    pb::ExecOp {
        meta: Some(meta),
        mounts,
        network: command.network.into(),
        security: command.security.into(),
        secretenv: command.secret_env.clone(),
        ..pb::ExecOp::default()
    }
}

fn mount(dest: &str, mount: &Mount, input: i64, output: i64, caps: &mut Vec<&'static str>) -> pb::Mount {
    let mut written = pb::Mount {
        input,
        selector: mount.selector.clone(),
        dest: dest.to_owned(),
        output,
        readonly: mount.read_only,
        content_cache: mount.content.into(),
        ..pb::Mount::default()
    };
    if !mount.selector.is_empty() {
        caps.push("exec.mount.selector");
    }
    if mount.content != pb::MountContentCache::Default {
        caps.push("exec.mount.cache.content");
    }
    match &mount.what {
        What::Tree => {
            if mount.source.is_some() {
                caps.push("exec.mount.bind");
            }
            if mount.no_output {
                caps.push("exec.mount.bind.readwrite-nooutput");
            }
        }
        What::Cache { id, sharing } => {
            caps.extend(["exec.mount.cache", "exec.mount.cache.sharing"]);
            written.mount_type = pb::MountType::Cache.into();
            written.cache_opt = Some(pb::CacheOpt { id: id.clone(), sharing: (*sharing).into() });
        }
        What::Tmpfs { size } => {
            caps.push("exec.mount.tmpfs");
            if *size > 0 {
                caps.push("exec.mount.tmpfs.size");
            }
            written.mount_type = pb::MountType::Tmpfs.into();
            written.tmpfs_opt = Some(pb::TmpfsOpt { size: *size });
        }
    }
    written
}
