//! Commands.

/// Runs a command.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExecOp {
    /// The command and its surroundings.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// What it sees; one is at `/`.
    #[prost(message, repeated, tag = "2")]
    pub mounts: Vec<Mount>,
    /// Which network.
    #[prost(enumeration = "NetMode", tag = "3")]
    pub network: i32,
    /// How much it may.
    #[prost(enumeration = "SecurityMode", tag = "4")]
    pub security: i32,
    /// Secrets in environment variables.
    #[prost(message, repeated, tag = "5")]
    pub secretenv: Vec<SecretEnv>,
    /// Devices.
    #[prost(message, repeated, tag = "6")]
    pub cdi_devices: Vec<CdiDevice>,
}

/// A command and its surroundings.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Meta {
    /// The program and its arguments.
    #[prost(string, repeated, tag = "1")]
    pub args: Vec<String>,
    /// `KEY=VALUE`.
    #[prost(string, repeated, tag = "2")]
    pub env: Vec<String>,
    /// Where it runs.
    #[prost(string, tag = "3")]
    pub cwd: String,
    /// As whom; empty is root.
    #[prost(string, tag = "4")]
    pub user: String,
    /// Proxies; never part of a key.
    #[prost(message, optional, tag = "5")]
    pub proxy_env: Option<ProxyEnv>,
    /// Names for `/etc/hosts`; the addresses are never part of a key.
    #[prost(message, repeated, tag = "6")]
    pub extra_hosts: Vec<HostIp>,
    /// The machine's name.
    #[prost(string, tag = "7")]
    pub hostname: String,
    /// Limits of resources.
    #[prost(message, repeated, tag = "9")]
    pub ulimit: Vec<Ulimit>,
    /// Below which cgroup it runs.
    #[prost(string, tag = "10")]
    pub cgroup_parent: String,
    /// Whether the directories made for mount points are removed with those above them.
    #[prost(bool, tag = "11")]
    pub remove_mount_stubs_recursive: bool,
    /// Exit codes that are no failure; none is 0 alone.
    #[prost(int32, repeated, tag = "12")]
    pub valid_exit_codes: Vec<i32>,
}

/// Proxies.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProxyEnv {
    /// `http_proxy`.
    #[prost(string, tag = "1")]
    pub http_proxy: String,
    /// `https_proxy`.
    #[prost(string, tag = "2")]
    pub https_proxy: String,
    /// `ftp_proxy`.
    #[prost(string, tag = "3")]
    pub ftp_proxy: String,
    /// `no_proxy`.
    #[prost(string, tag = "4")]
    pub no_proxy: String,
    /// `all_proxy`.
    #[prost(string, tag = "5")]
    pub all_proxy: String,
}

/// A line of `/etc/hosts`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HostIp {
    /// The name.
    #[prost(string, tag = "1")]
    pub host: String,
    /// The address.
    #[prost(string, tag = "2")]
    pub ip: String,
}

/// A limit of a resource.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Ulimit {
    /// `nofile`, say.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What holds at first.
    #[prost(int64, tag = "2")]
    pub soft: i64,
    /// How far it may be raised.
    #[prost(int64, tag = "3")]
    pub hard: i64,
}

/// A secret in an environment variable.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SecretEnv {
    /// Which secret.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The variable.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Whether it may be absent.
    #[prost(bool, tag = "3")]
    pub optional: bool,
}

/// A device.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CdiDevice {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Whether it may be absent.
    #[prost(bool, tag = "2")]
    pub optional: bool,
}

/// Something a command sees at a path.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Mount {
    /// What it is made of; -1 starts empty.
    #[prost(int64, tag = "1")]
    pub input: i64,
    /// Which path of the input; empty is all of it.
    #[prost(string, tag = "2")]
    pub selector: String,
    /// Where it is seen.
    #[prost(string, tag = "3")]
    pub dest: String,
    /// Which output of the op it becomes; -1 is thrown away.
    #[prost(int64, tag = "4")]
    pub output: i64,
    /// Whether it cannot be written to.
    #[prost(bool, tag = "5")]
    pub readonly: bool,
    /// What it is.
    #[prost(enumeration = "MountType", tag = "6")]
    pub mount_type: i32,
    /// Settings of a tmpfs.
    #[prost(message, optional, tag = "19")]
    pub tmpfs_opt: Option<TmpfsOpt>,
    /// Settings of a cache.
    #[prost(message, optional, tag = "20")]
    pub cache_opt: Option<CacheOpt>,
    /// Settings of a secret.
    #[prost(message, optional, tag = "21")]
    pub secret_opt: Option<SecretOpt>,
    /// Settings of an agent's socket.
    #[prost(message, optional, tag = "22")]
    pub ssh_opt: Option<SshOpt>,
    /// A result that is running elsewhere; never run.
    #[prost(string, tag = "23")]
    pub result_id: String,
    /// Whether what the input contains makes a key.
    #[prost(enumeration = "MountContentCache", tag = "24")]
    pub content_cache: i32,
}

/// Settings of a tmpfs.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TmpfsOpt {
    /// In bytes; 0 is the system's default.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// Settings of a cache.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CacheOpt {
    /// Which cache.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Who may have it at once.
    #[prost(enumeration = "CacheSharingOpt", tag = "2")]
    pub sharing: i32,
}

/// Settings of a secret.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SecretOpt {
    /// Which secret.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Whose the file is.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Its group.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
    /// Its permission bits.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// Whether it may be absent.
    #[prost(bool, tag = "5")]
    pub optional: bool,
}

/// Settings of an agent's socket.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SshOpt {
    /// Which agent.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Whose the socket is.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Its group.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
    /// Its permission bits.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// Whether it may be absent.
    #[prost(bool, tag = "5")]
    pub optional: bool,
}

/// Which network a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum NetMode {
    /// The builder's default.
    Unset = 0,
    /// The host's, if it is allowed.
    Host = 1,
    /// Loopback alone.
    None = 2,
}

/// How much a command may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum SecurityMode {
    /// What containers may.
    Sandbox = 0,
    /// Everything, if it is allowed.
    Insecure = 1,
}

/// What a mount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum MountType {
    /// A tree.
    Bind = 0,
    /// A file with a secret in it.
    Secret = 1,
    /// The socket of an agent.
    Ssh = 2,
    /// A tree that outlives the build.
    Cache = 3,
    /// Memory.
    Tmpfs = 4,
}

/// Who may have a cache at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CacheSharingOpt {
    /// Everybody.
    Shared = 0,
    /// Whoever comes second gets a new one.
    Private = 1,
    /// Whoever comes second waits.
    Locked = 2,
}

/// Whether what a mount contains makes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum MountContentCache {
    /// Where it is safe, except at `/`.
    Default = 0,
    /// Yes, and it is an error where it is not safe.
    On = 1,
    /// No.
    Off = 2,
}
