//! The messages of the wire format, field by field as in `proto/ops.proto`.
//!
//! They are written by hand, so that building needs no protobuf compiler. Fields that this crate does not know are skipped
//! when read: the digest of a vertex is always that of the bytes that came, never of a message written again.

mod definition;
mod exec;
mod file;
mod op;
mod plain;

pub use definition::{Definition, ExportCache, OpMetadata, ProgressGroup};
pub use exec::{
    CacheOpt, CacheSharingOpt, CdiDevice, ExecOp, HostIp, Meta, Mount, MountContentCache, MountType, NetMode,
    ProxyEnv, SecretEnv, SecretOpt, SecurityMode, SshOpt, TmpfsOpt, Ulimit,
};
pub use file::{
    Action, ChownOpt, FileAction, FileActionCopy, FileActionMkDir, FileActionMkFile, FileActionRm,
    FileActionSymlink, FileOp, NamedUserOpt, User, UserOpt,
};
pub use op::{Input, Kind, Op, Platform, WorkerConstraints};
pub use plain::{DiffInput, DiffOp, MergeInput, MergeOp, SourceOp};
