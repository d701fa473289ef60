//! A command as Go writes it.

use super::json::Object;
use crate::llb::pb::{ExecOp, Meta, Mount};

pub(super) fn exec(object: &mut Object, exec: &ExecOp) {
    object.object("meta", exec.meta.as_ref(), meta);
    object.objects("mounts", &exec.mounts, mount);
    object.number("network", exec.network.into());
    object.number("security", exec.security.into());
    object.objects("secretenv", &exec.secretenv, |object, secret| {
        object.text("ID", &secret.id);
        object.text("name", &secret.name);
        object.flag("optional", secret.optional);
    });
    object.objects("cdiDevices", &exec.cdi_devices, |object, device| {
        object.text("name", &device.name);
        object.flag("optional", device.optional);
    });
}

fn meta(object: &mut Object, meta: &Meta) {
    object.texts("args", &meta.args);
    object.texts("env", &meta.env);
    object.text("cwd", &meta.cwd);
    object.text("user", &meta.user);
    // `proxy_env` would stand here; it is taken out before.
    object.objects("extraHosts", &meta.extra_hosts, |object, host| {
        object.text("Host", &host.host);
        object.text("IP", &host.ip);
    });
    object.text("hostname", &meta.hostname);
    object.objects("ulimit", &meta.ulimit, |object, limit| {
        object.text("Name", &limit.name);
        object.number("Soft", limit.soft);
        object.number("Hard", limit.hard);
    });
    object.text("cgroupParent", &meta.cgroup_parent);
    object.flag("removeMountStubsRecursive", meta.remove_mount_stubs_recursive);
    if !meta.valid_exit_codes.is_empty() {
        let codes: Vec<String> = meta.valid_exit_codes.iter().map(i32::to_string).collect();
        object.raw("validExitCodes", &format!("[{}]", codes.join(",")));
    }
}

fn mount(object: &mut Object, mount: &Mount) {
    object.number("input", mount.input);
    object.text("selector", &mount.selector);
    object.text("dest", &mount.dest);
    object.number("output", mount.output);
    object.flag("readonly", mount.readonly);
    object.number("mountType", mount.mount_type.into());
    object.object("TmpfsOpt", mount.tmpfs_opt.as_ref(), |object, tmpfs| object.number("size", tmpfs.size));
    object.object("cacheOpt", mount.cache_opt.as_ref(), |object, cache| {
        object.text("ID", &cache.id);
        object.number("sharing", cache.sharing.into());
    });
    object.object("secretOpt", mount.secret_opt.as_ref(), |object, secret| {
        file(object, &secret.id, [secret.uid, secret.gid, secret.mode], secret.optional);
    });
    object.object("SSHOpt", mount.ssh_opt.as_ref(), |object, ssh| {
        file(object, &ssh.id, [ssh.uid, ssh.gid, ssh.mode], ssh.optional);
    });
    object.text("resultID", &mount.result_id);
    object.number("contentCache", mount.content_cache.into());
}

fn file(object: &mut Object, id: &str, [uid, gid, mode]: [u32; 3], optional: bool) {
    object.text("ID", id);
    object.number("uid", uid.into());
    object.number("gid", gid.into());
    object.number("mode", mode.into());
    object.flag("optional", optional);
}
