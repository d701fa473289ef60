//! The system calls that a sandboxed process may make: those of [`syscalls`], and some more depending on their arguments.
//! All others fail with EPERM.

use serde::Serialize;

use super::syscalls;

const ALLOW: &str = "SCMP_ACT_ALLOW";
const ERRNO: &str = "SCMP_ACT_ERRNO";
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// `CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}`: a process does not make namespaces of its own.
const NAMESPACES: u64 = 0x7e02_0000;
/// Sockets to the hypervisor know no namespaces.
const AF_VSOCK: u64 = 40;
/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the question which one it is.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seccomp {
    default_action: &'static str,
    default_errno_ret: u32,
    architectures: &'static [&'static str],
    pub(super) syscalls: Vec<Rule>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    pub(super) names: Vec<&'static str>,
    pub(super) action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Arg {
    index: u32,
    value: u64,
    #[serde(skip_serializing_if = "is_zero")]
    value_two: u64,
    op: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Whether there is a filter for an architecture (as Rust calls it).
pub(in super::super) fn is_known(architecture: &str) -> bool {
    of(architecture).is_some()
}

/// The filter for programs of this machine's architecture and of those it runs as well; none where it is not known what
/// calls there are.
pub(super) fn default() -> Option<Seccomp> {
    of(std::env::consts::ARCH)
}

pub(super) fn of(architecture: &str) -> Option<Seccomp> {
    let (architectures, own): (&'static [&'static str], &[&'static str]) = match architecture {
        "x86_64" => (&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], syscalls::X86),
        "aarch64" => (&["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], syscalls::ARM),
        _ => return None,
    };
    let names = syscalls::ALLOWED.iter().flat_map(|group| group.iter()).chain(own).copied().collect();
    let mut rules = vec![
        Rule { names, action: ALLOW, errno_ret: None, args: Vec::new() },
        allow_if("socket", "SCMP_CMP_NE", AF_VSOCK, 0),
        // The mask comes first: none of these bits is set.
        allow_if("clone", "SCMP_CMP_MASKED_EQ", NAMESPACES, 0),
        // Its flags are in memory, where a filter does not see them: a C library that is told that there is no such call
        // takes the older one.
        Rule { names: vec!["clone3"], action: ERRNO, errno_ret: Some(ENOSYS), args: Vec::new() },
    ];
    rules.extend(PERSONALITIES.map(|one| allow_if("personality", "SCMP_CMP_EQ", one, 0)));
    Some(Seccomp { default_action: ERRNO, default_errno_ret: EPERM, architectures, syscalls: rules })
}

/// Allowed if the first argument compares so.
fn allow_if(name: &'static str, op: &'static str, value: u64, value_two: u64) -> Rule {
    Rule {
        names: vec![name],
        action: ALLOW,
        errno_ret: None,
        args: vec![Arg { index: 0, value, value_two, op }],
    }
}
