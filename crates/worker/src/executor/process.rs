//! A command, with everything it sees.

use std::fmt;
use std::path::PathBuf;

/// A command to be run, with everything it sees. Of its variables only the names are shown.
#[derive(Clone)]
pub struct Process {
    /// Names it among those of this executor; letters, digits and dashes.
    pub id: String,
    /// The directory that is its `/`. It is written to unless [`read_only_root`](Self::read_only_root), and nobody else's
    /// while the process runs: mount points that are made in it are taken away again.
    pub root: PathBuf,
    /// Whether nothing in its root can be changed.
    pub read_only_root: bool,
    /// What it sees besides its root, outer ones before those within them.
    pub mounts: Vec<Mounted>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`. The caller decides on `PATH` and on secrets, which must not be shown.
    pub env: Vec<String>,
    /// Where it begins; made if it is not there.
    pub cwd: String,
    /// `USER[:GROUP]`, names or numbers; looked up in its root. Empty is root.
    pub user: String,
    /// Its host name; `buildkitsandbox` where empty, as with BuildKit.
    pub hostname: String,
    /// Lines for `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// What of the network it sees.
    pub network: Network,
    /// How far it is kept in.
    pub security: Security,
    /// Limits that are not the default ones.
    pub ulimits: Vec<Ulimit>,
    /// The cgroup it is put under, if not the executor's own.
    pub cgroup_parent: Option<String>,
    /// Whether directories above a mount point that had to be made go as well, and not only the mount point.
    pub remove_stubs_recursively: bool,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One that has no name may be all value.
        let name = |variable: &String| variable.split_once('=').map_or("…", |(name, _)| name).to_owned();
        let env: Vec<String> = self.env.iter().map(name).collect();
        f.debug_struct("Process")
            .field("id", &self.id)
            .field("root", &self.root)
            .field("read_only_root", &self.read_only_root)
            .field("mounts", &self.mounts)
            .field("args", &self.args)
            .field("env", &env)
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .field("hostname", &self.hostname)
            .field("extra_hosts", &self.extra_hosts)
            .field("network", &self.network)
            .field("security", &self.security)
            .field("ulimits", &self.ulimits)
            .field("cgroup_parent", &self.cgroup_parent)
            .field("remove_stubs_recursively", &self.remove_stubs_recursively)
            .finish()
    }
}

/// Something mounted in a root.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// Where, absolute and clean.
    pub dest: String,
    /// What.
    pub source: MountSource,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// Whether it is nobody else's while the process runs: mount points that are made in it are taken away again. In what
    /// others use they stay.
    pub is_own: bool,
}

/// What is mounted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MountSource {
    /// A directory, file or socket of the host.
    Bind(PathBuf),
    /// Memory, of so many bytes at most if that is said.
    Tmpfs {
        /// The most it holds.
        size: Option<u64>,
    },
}

/// What of the network a process sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// The loopback device of its own.
    None,
}

/// How far a process is kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// BuildKit's default capabilities, masked paths, seccomp.
    #[default]
    Sandbox,
    /// All capabilities and devices, nothing masked, no seccomp.
    Insecure,
}

/// A limit of a process (`setrlimit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Its name in small letters, without `RLIMIT_`.
    pub name: String,
    /// What it is.
    pub soft: u64,
    /// What it may be raised to.
    pub hard: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_are_not_shown() {
        let process = Process {
            id: "test".to_owned(),
            root: "/root".into(),
            read_only_root: false,
            mounts: Vec::new(),
            args: vec!["sh".to_owned()],
            env: vec!["TOKEN=hunter2=x".to_owned(), "swordfish".to_owned()],
            cwd: "/work".to_owned(),
            user: "me".to_owned(),
            hostname: String::new(),
            extra_hosts: Vec::new(),
            network: Network::Host,
            security: Security::Sandbox,
            ulimits: Vec::new(),
            cgroup_parent: None,
            remove_stubs_recursively: false,
        };
        for shown in [format!("{process:?}"), format!("{process:#?}")] {
            assert!(shown.contains("TOKEN") && shown.contains("/work"), "{shown}");
            assert!(!shown.contains("hunter2") && !shown.contains("swordfish"), "{shown}");
        }
    }
}
