//! Commands.

use std::sync::Arc;

use super::mount::{Mount, Secret, Ssh};
use super::node::{Kind, Node, Output};
use super::state::{State, Surroundings};
use crate::llb::pb::{HostIp, NetMode, SecretEnv, SecurityMode, Ulimit};

/// Which network a command has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// The builder's default.
    #[default]
    Default,
    /// The host's, if it is allowed.
    Host,
    /// Loopback alone.
    None,
}

/// How much a command may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// What containers may.
    #[default]
    Sandbox,
    /// Everything, if it is allowed.
    Insecure,
}

/// What is written of a command.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) args: Vec<String>,
    pub(super) around: Surroundings,
    /// By path, since their order is part of the digest; one is at `/`.
    pub(super) mounts: Vec<(String, Mount)>,
    pub(super) secrets: Vec<(String, Secret)>,
    pub(super) secret_env: Vec<SecretEnv>,
    pub(super) ssh: Vec<Ssh>,
    pub(super) extra_hosts: Vec<HostIp>,
    pub(super) hostname: String,
    pub(super) ulimits: Vec<Ulimit>,
    pub(super) cgroup_parent: String,
    pub(super) valid_exit_codes: Vec<i32>,
    pub(super) network: NetMode,
    pub(super) security: SecurityMode,
}

/// A command that is being described.
#[derive(Clone, Debug)]
#[must_use = "a command is part of a build only through its outputs"]
pub struct Exec {
    base: State,
    command: Command,
}

/// A command, described: its outputs.
#[derive(Clone, Debug)]
pub struct Ran {
    base: State,
    node: Arc<Node>,
}

impl Exec {
    pub(super) fn new(base: &State, args: Vec<String>) -> Self {
        let command = Command {
            args,
            around: base.around.as_ref().clone(),
            mounts: vec![("/".to_owned(), Mount::bind(base))],
            secrets: Vec::new(),
            secret_env: Vec::new(),
            ssh: Vec::new(),
            extra_hosts: Vec::new(),
            hostname: String::new(),
            ulimits: Vec::new(),
            cgroup_parent: String::new(),
            valid_exit_codes: Vec::new(),
            network: NetMode::Unset,
            security: SecurityMode::Sandbox,
        };
        Self { base: base.clone(), command }
    }

    /// Sets a variable for this command.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.command.around.env.retain(|(known, _)| *known != key);
        self.command.around.env.push((key, value));
        self
    }

    /// Sets the directory of this command. It may be relative to that of the tree it runs in.
    pub fn cwd(mut self, path: impl AsRef<str>) -> Self {
        self.command.around.enter(path.as_ref());
        self
    }

    /// Sets the user of this command.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.command.around.user = user.into();
        self
    }

    /// Shows something at a path; at one that has something, in its place.
    pub fn mount(mut self, dest: impl Into<String>, mount: Mount) -> Self {
        let dest = dest.into();
        match self.command.mounts.binary_search_by(|(known, _)| known.as_str().cmp(&dest)) {
            Ok(at) => {
                if let Some(known) = self.command.mounts.get_mut(at) {
                    known.1 = mount;
                }
            }
            Err(at) => self.command.mounts.insert(at, (dest, mount)),
        }
        self
    }

    /// Keeps the command from writing to its root: it has no output there, and [`Ran::root`] is what it ran in.
    pub fn read_only_root(mut self) -> Self {
        for (_, root) in self.command.mounts.iter_mut().filter(|(dest, _)| dest == "/") {
            root.read_only = true;
        }
        self
    }

    /// Shows a file with a secret in it.
    pub fn secret(mut self, dest: impl Into<String>, secret: Secret) -> Self {
        self.command.secrets.push((dest.into(), secret));
        self
    }

    /// Sets a variable to a secret.
    pub fn secret_env(mut self, name: impl Into<String>, secret: Secret) -> Self {
        let (id, optional) = (secret.id, secret.optional);
        self.command.secret_env.push(SecretEnv { id, name: name.into(), optional });
        self
    }

    /// Shows the socket of an agent.
    pub fn ssh(mut self, ssh: Ssh) -> Self {
        self.command.ssh.push(ssh);
        self
    }

    /// Adds a line to `/etc/hosts`.
    pub fn extra_host(mut self, host: impl Into<String>, ip: std::net::IpAddr) -> Self {
        self.command.extra_hosts.push(HostIp { host: host.into(), ip: ip.to_string() });
        self
    }

    /// Sets the machine's name.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.command.hostname = name.into();
        self
    }

    /// Limits a resource, `nofile` say.
    pub fn ulimit(mut self, name: impl Into<String>, soft: i64, hard: i64) -> Self {
        self.command.ulimits.push(Ulimit { name: name.into(), soft, hard });
        self
    }

    /// Runs below this cgroup.
    pub fn cgroup_parent(mut self, path: impl Into<String>) -> Self {
        self.command.cgroup_parent = path.into();
        self
    }

    /// Takes these exit codes, and no others, for no failure.
    pub fn valid_exit_codes(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.command.valid_exit_codes = codes.into_iter().collect();
        self
    }

    /// Sets the network.
    pub fn network(mut self, network: Network) -> Self {
        self.command.network = match network {
            Network::Default => NetMode::Unset,
            Network::Host => NetMode::Host,
            Network::None => NetMode::None,
        };
        self
    }

    /// Sets how much it may.
    pub fn security(mut self, security: Security) -> Self {
        self.command.security = match security {
            Security::Sandbox => SecurityMode::Sandbox,
            Security::Insecure => SecurityMode::Insecure,
        };
        self
    }

    /// What it leaves at its root.
    pub fn root(self) -> State {
        self.done().root()
    }

    /// All it leaves.
    #[must_use]
    pub fn done(self) -> Ran {
        let platform = self.command.around.platform.clone();
        let node = Arc::new(Node::new(Kind::Exec(Box::new(self.command)), platform));
        Ran { base: self.base, node }
    }
}

impl Ran {
    /// What it leaves at its root; what it ran in, if it could not write there.
    pub fn root(&self) -> State {
        self.mounted("/").unwrap_or_else(|| self.base.clone())
    }

    /// What it leaves of the tree mounted there; `None` if there is none, or nothing is kept of it.
    #[must_use]
    pub fn mounted(&self, dest: &str) -> Option<State> {
        let Kind::Exec(command) = &self.node.kind else { return None };
        let mut outputs = command.mounts.iter().filter(|(_, mount)| mount.is_output());
        let index = u32::try_from(outputs.position(|(known, _)| known == dest)?).ok()?;
        let output = Output { node: Arc::clone(&self.node), index };
        Some(State { output: Some(output), around: Arc::clone(&self.base.around) })
    }
}
