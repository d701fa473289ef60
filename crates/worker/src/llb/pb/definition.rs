//! The whole of a definition, and what is said of its vertices.

use std::collections::BTreeMap;

/// What a client sends.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Definition {
    /// Marshalled [`Op`](super::Op)s; the last has no kind, and its only input is what is to be built.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub def: Vec<Vec<u8>>,
    /// By digest of the op.
    #[prost(btree_map = "string, message", tag = "2")]
    pub metadata: BTreeMap<String, OpMetadata>,
    /// Which lines of which source file the vertices come from; not looked into.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub source: Option<Vec<u8>>,
}

/// What is said of a vertex without being part of it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OpMetadata {
    /// Whether it is run whatever the cache has.
    #[prost(bool, tag = "1")]
    pub ignore_cache: bool,
    /// Words for people, by key; `llb.customname` is the name.
    #[prost(btree_map = "string, string", tag = "2")]
    pub description: BTreeMap<String, String>,
    /// Whether its records go into exported caches; absent is yes.
    #[prost(message, optional, tag = "4")]
    pub export_cache: Option<ExportCache>,
    /// What a builder must be able to do.
    #[prost(btree_map = "string, bool", tag = "5")]
    pub caps: BTreeMap<String, bool>,
    /// With which others it is shown.
    #[prost(message, optional, tag = "6")]
    pub progress_group: Option<ProgressGroup>,
}

/// Whether records go into exported caches.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ExportCache {
    /// Yes or no.
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// Vertices that are shown as one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProgressGroup {
    /// What tells groups apart.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What people call it.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Whether a vertex that is in another group, too, is shown there.
    #[prost(bool, tag = "3")]
    pub weak: bool,
}
