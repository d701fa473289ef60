//! A vertex.

use prost::Message as _;

use super::{DiffOp, ExecOp, FileOp, MergeOp, SourceOp};

/// A vertex. It is not a message to `prost`, because the order of its fields on the wire is not that of their numbers:
/// the kind comes last, and the digest depends on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Op {
    /// What it works on.
    pub inputs: Vec<Input>,
    /// For which platform; absent is the builder's own.
    pub platform: Option<Platform>,
    /// Which workers may run it; written by clients, not looked at.
    pub constraints: Option<WorkerConstraints>,
    /// What it does; absent in the last vertex of a definition, and where the kind is unknown.
    pub kind: Option<Kind>,
}

/// What a vertex does.
#[derive(Clone, PartialEq, prost::Oneof)]
#[non_exhaustive]
pub enum Kind {
    /// Runs a command.
    #[prost(message, boxed, tag = "2")]
    Exec(Box<ExecOp>),
    /// Brings something in.
    #[prost(message, tag = "3")]
    Source(SourceOp),
    /// Copies, makes and removes files.
    #[prost(message, tag = "4")]
    File(FileOp),
    /// A build within the build, undecoded.
    #[prost(bytes, tag = "5")]
    Build(Vec<u8>),
    /// Lays trees over one another.
    #[prost(message, tag = "6")]
    Merge(MergeOp),
    /// What one tree has over another.
    #[prost(message, tag = "7")]
    Diff(DiffOp),
    /// Hands its inputs on, undecoded.
    #[prost(bytes, tag = "8")]
    Passthrough(Vec<u8>),
}

/// What a vertex works on: one output of another.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Input {
    /// The digest of the other's bytes.
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Which of its outputs, from 0.
    #[prost(int64, tag = "2")]
    pub index: i64,
}

/// What a result is for, in the words of the image specification.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Platform {
    /// `amd64`, say.
    #[prost(string, tag = "1")]
    pub architecture: String,
    /// `linux`, say.
    #[prost(string, tag = "2")]
    pub os: String,
    /// `v7`, say.
    #[prost(string, tag = "3")]
    pub variant: String,
    /// For systems whose images depend on it.
    #[prost(string, tag = "4")]
    pub os_version: String,
    /// Likewise.
    #[prost(string, repeated, tag = "5")]
    pub os_features: Vec<String>,
}

/// Which workers may run a vertex.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WorkerConstraints {
    /// Filters in containerd's syntax.
    #[prost(string, repeated, tag = "1")]
    pub filter: Vec<String>,
}

/// The fields of an op that are written first.
#[derive(Clone, PartialEq, prost::Message)]
struct Head {
    #[prost(message, repeated, tag = "1")]
    inputs: Vec<Input>,
    #[prost(message, optional, tag = "10")]
    platform: Option<Platform>,
    #[prost(message, optional, tag = "11")]
    constraints: Option<WorkerConstraints>,
}

/// The field that is written last.
#[derive(Clone, PartialEq, prost::Message)]
struct Tail {
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 6, 7, 8")]
    kind: Option<Kind>,
}

impl Op {
    /// The op that these bytes are.
    ///
    /// # Errors
    /// [`prost::DecodeError`] where they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        let Head { inputs, platform, constraints } = Head::decode(bytes)?;
        Ok(Self { inputs, platform, constraints, kind: Tail::decode(bytes)?.kind })
    }

    /// The bytes BuildKit's client would write for it.
    #[must_use]
    pub fn encode_to_vec(self) -> Vec<u8> {
        let Self { inputs, platform, constraints, kind } = self;
        let (head, tail) = (Head { inputs, platform, constraints }, Tail { kind });
        let mut bytes = Vec::with_capacity(head.encoded_len() + tail.encoded_len());
        // Writing to a Vec cannot fail: it grows.
        let _ = head.encode(&mut bytes);
        let _ = tail.encode(&mut bytes);
        bytes
    }
}
