//! What a process may do that only root may.

use serde::Serialize;

use crate::executor::Security;

/// Those of a sandboxed process: what BuildKit leaves it, which is what Docker does.
const SANDBOX: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// All there are, at the place of their number in the kernel.
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The sets of a process. Nothing is inheritable or ambient: what a user who is not root runs has none of them.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Capabilities {
    pub(super) bounding: Vec<&'static str>,
    pub(super) effective: Vec<&'static str>,
    pub(super) permitted: Vec<&'static str>,
}

/// The capabilities of a process where those of `bounding` can be had: a runtime fails on others.
pub(super) fn of(security: Security, bounding: u64) -> Capabilities {
    let had = ALL.iter().enumerate().filter(|(bit, _)| bounding >> bit & 1 == 1).map(|(_, name)| *name);
    let all: Vec<_> = match security {
        Security::Sandbox => had.filter(|name| SANDBOX.contains(name)).collect(),
        Security::Insecure => had.collect(),
    };
    Capabilities { bounding: all.clone(), effective: all.clone(), permitted: all }
}

/// What the programs that this process starts may have at most, from the text of its `/proc/self/status`.
pub(in super::super) fn bounding(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}
