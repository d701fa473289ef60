//! The OCI runtime specification's `config.json`, as far as it is used here.
//!
//! Only written, never read: a runtime is told everything each time, so what it does by default does not matter.

mod capabilities;
mod devices;
mod mounts;
mod namespaces;
mod paths;
mod resources;
mod rlimits;
mod seccomp;
mod syscalls;

use std::path::Path;

use serde::Serialize;

pub(super) use capabilities::bounding;
pub(super) use mounts::Given;
pub(super) use rlimits::is_known as is_rlimit;
pub(super) use seccomp::is_known as has_filter;

use super::user::User;
use crate::executor::{Process, Security};

/// The host name of processes that have none of their own.
pub(super) const HOSTNAME: &str = "buildkitsandbox";

/// What a config is made from.
pub(super) struct Input<'a> {
    pub(super) process: &'a Process,
    /// The root as an absolute path of the host.
    pub(super) root: &'a Path,
    pub(super) user: &'a User,
    /// Where it begins, absolute and clean.
    pub(super) cwd: &'a str,
    /// Files that are bound in besides what the process names.
    pub(super) given: &'a [Given],
    pub(super) machine: &'a Machine,
    /// The path below the root of each cgroup hierarchy; none where there are none to write to.
    pub(super) cgroup: Option<&'a str>,
}

/// What of the machine a config depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// A bit for each capability that a process here may ever have.
    pub(super) bounding: u64,
    /// Whether the kernel has namespaces for cgroups.
    pub(super) cgroup_namespaces: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    oci_version: &'static str,
    process: Command<'a>,
    root: Root<'a>,
    hostname: &'a str,
    mounts: Vec<mounts::Mount>,
    linux: Linux<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Command<'a> {
    terminal: bool,
    user: &'a User,
    args: &'a [String],
    env: &'a [String],
    cwd: &'a str,
    capabilities: capabilities::Capabilities,
    rlimits: Vec<rlimits::Rlimit>,
    no_new_privileges: bool,
}

#[derive(Debug, Serialize)]
struct Root<'a> {
    path: &'a Path,
    readonly: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux<'a> {
    namespaces: Vec<namespaces::Namespace>,
    devices: Vec<devices::Device>,
    resources: resources::Resources,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroups_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp: Option<seccomp::Seccomp>,
    masked_paths: &'static [&'static str],
    readonly_paths: &'static [&'static str],
}

/// The config of a process.
pub(super) fn spec<'a>(input: &Input<'a>) -> Spec<'a> {
    let Input { process, machine, .. } = *input;
    let is_insecure = process.security == Security::Insecure;
    Spec {
        oci_version: "1.0.2",
        process: Command {
            terminal: false,
            user: input.user,
            args: &process.args,
            env: &process.env,
            cwd: input.cwd,
            capabilities: capabilities::of(process.security, machine.bounding),
            rlimits: rlimits::of(&process.ulimits),
            // Programs like `sudo` and `ping` are allowed to be what they are, as with BuildKit.
            no_new_privileges: false,
        },
        root: Root { path: input.root, readonly: process.read_only_root },
        hostname: hostname(process),
        mounts: mounts::of(process, input.given, input.cgroup.is_some()),
        linux: Linux {
            namespaces: namespaces::of(process.network, machine.cgroup_namespaces && input.cgroup.is_some()),
            devices: if is_insecure { devices::insecure() } else { Vec::new() },
            resources: resources::of(process.security),
            cgroups_path: input.cgroup,
            seccomp: if is_insecure { None } else { seccomp::default() },
            masked_paths: if is_insecure { &[] } else { paths::MASKED },
            readonly_paths: if is_insecure { &[] } else { paths::READ_ONLY },
        },
    }
}

/// The host name of a process.
pub(super) fn hostname(process: &Process) -> &str {
    if process.hostname.is_empty() { HOSTNAME } else { &process.hostname }
}

#[cfg(test)]
mod tests;
