//! Ops of few fields: sources, merge and diff.

use std::collections::BTreeMap;

/// Brings something in from outside.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SourceOp {
    /// `SCHEME://REST`.
    #[prost(string, tag = "1")]
    pub identifier: String,
    /// What the scheme has settings for.
    #[prost(btree_map = "string, string", tag = "2")]
    pub attrs: BTreeMap<String, String>,
}

/// Lays trees over one another.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MergeOp {
    /// The lowest first.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<MergeInput>,
}

/// One of the trees of a merge.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MergeInput {
    /// The position among the inputs of the op.
    #[prost(int64, tag = "1")]
    pub input: i64,
}

/// What one tree has over another.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DiffOp {
    /// What is left out.
    #[prost(message, optional, tag = "1")]
    pub lower: Option<DiffInput>,
    /// What is looked at.
    #[prost(message, optional, tag = "2")]
    pub upper: Option<DiffInput>,
}

/// A side of a diff.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DiffInput {
    /// The position among the inputs of the op; -1 for an empty tree.
    #[prost(int64, tag = "1")]
    pub input: i64,
}
